//! `plugward get instance NAME -o reattach`: what go-plugin hosts take to use a plugin that they did not start.
//!
//! The shape is that of `TF_REATTACH_PROVIDERS`, an object of go-plugin's `ReattachConfig`s by name; here the names are
//! those of the mounts.

use std::path::{Path, PathBuf};

use plugward_api::Name;
use serde_json::{Map, Value, json};

use super::Failed;

/// The reattach configurations of an instance's mounts. `mounts` is the directory of all mounts' sockets; `pid` is the
/// process that a host watches in the plugin's place.
pub(super) fn configurations(
    instance: &Name,
    object: &Value,
    mounts: &Path,
    pid: i32,
) -> Result<Value, Failed> {
    let version = protocol_version(object).ok_or_else(|| {
        format!(
            "the protocol version of {instance} is not known before its first start: `plugward describe \
             instance {instance}` says how it stands"
        )
    })?;
    let declared = object.pointer("/spec/mounts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let configuration = |mount: &Value| {
        let name = mount.get("name").and_then(Value::as_str)?;
        let socket: PathBuf = mounts.join(instance.as_str()).join(format!("{name}.sock"));
        let configuration = json!({
            "Protocol": "grpc",
            "ProtocolVersion": version,
            // Under Test a host neither kills this process nor asks the plugin to end; it polls whether it is there.
            "Pid": pid,
            "Test": true,
            "Addr": { "Network": "unix", "String": socket },
        });
        Some((name.to_owned(), configuration))
    };
    Ok(Value::Object(declared.iter().filter_map(configuration).collect::<Map<_, _>>()))
}

/// What the plugin chose of the versions that it was offered.
fn protocol_version(object: &Value) -> Option<u64> {
    let slots = object.pointer("/status/slots").and_then(Value::as_array)?;
    slots.iter().find_map(|slot| slot.get("protocolVersion")?.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Name {
        "orders".parse().unwrap()
    }

    #[test]
    fn each_mount_is_a_configuration() {
        let object = json!({
            "spec": { "mounts": [{ "name": "eu" }, { "name": "us" }] },
            "status": { "slots": [{ "name": "shared", "protocolVersion": 6 }] },
        });
        let found = configurations(&orders(), &object, Path::new("/run/plugward/a/mounts"), 7).unwrap();
        assert_eq!(
            found,
            json!({
                "eu": {
                    "Protocol": "grpc", "ProtocolVersion": 6, "Pid": 7, "Test": true,
                    "Addr": { "Network": "unix", "String": "/run/plugward/a/mounts/orders/eu.sock" },
                },
                "us": {
                    "Protocol": "grpc", "ProtocolVersion": 6, "Pid": 7, "Test": true,
                    "Addr": { "Network": "unix", "String": "/run/plugward/a/mounts/orders/us.sock" },
                },
            })
        );
    }

    #[test]
    fn a_plugin_that_was_never_started_has_none() {
        let object = json!({ "spec": { "mounts": [{ "name": "eu" }] }, "status": { "slots": [] } });
        let error = configurations(&orders(), &object, Path::new("/m"), 7).unwrap_err();
        assert!(error.to_string().contains("not known before its first start"), "{error}");
    }
}
