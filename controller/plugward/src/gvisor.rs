//! gVisor, which hides what others show unless it is told otherwise.

/// What its program is called, and what it is called itself: names of OCI runtimes hold one of them.
const NAMES: [&str; 2] = ["runsc", "gvisor"];

/// Whether an OCI runtime is gVisor, as far as its name tells.
pub fn is_gvisor(oci_runtime: &str) -> bool {
    let name = oci_runtime.to_ascii_lowercase();
    NAMES.iter().any(|known| name.contains(known))
}

/// What is said of a plugin there whose socket does not appear on this machine.
pub fn hides_the_socket(oci_runtime: &str) -> String {
    format!(
        "the plugin's socket does not appear outside of its sandbox: the OCI runtime {oci_runtime} is gVisor, which has to be told to let a \
         plugin make sockets. Add \"--host-uds=create\" (or \"--host-uds=all\", for plugins whose broker connects to sockets of their host) to \
         the runtimeArgs of {oci_runtime} in the engine's daemon.json (/etc/docker/daemon.json), and restart the engine"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gvisor_is_known_by_its_usual_names() {
        for name in ["runsc", "runsc-kvm", "gvisor", "gVisor-debug", "io.containerd.runsc.v1"] {
            assert!(is_gvisor(name), "{name}");
        }
        for name in ["runc", "crun", "kata", "io.containerd.runc.v2"] {
            assert!(!is_gvisor(name), "{name}");
        }
    }
}
