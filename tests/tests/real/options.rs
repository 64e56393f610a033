//! What a record says of its container, seen from inside of it: in what the kernel says of its process.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::slice;

use plugward_api::{InstanceCondition, SlotStatus};
use plugward_engine::ContainerState;
use plugward_tests::real::{Manifest, World, counter, database, on_each_engine, on_one_engine, runtime};
use serde_json::json;

/// The bit of the capability to lock memory.
const IPC_LOCK: u64 = 1 << 14;

/// The process of a container that is ready.
struct Process {
    pid: u32,
}

impl Process {
    async fn of(world: &World, slot: &SlotStatus) -> Self {
        let ContainerState::Running { pid, .. } = world.container(slot).await.state else {
            panic!("it runs")
        };
        Self { pid }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }

    /// What the kernel says of it.
    fn status(&self, field: &str) -> String {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
    }

    fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(&self.status(set), 16).unwrap()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let environment = self.file("environ");
        let variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment().into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The options with which a path of it is mounted.
    fn mounted(&self, path: &str) -> Option<String> {
        let mounts = self.file("mountinfo");
        let mut found = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        found.find(|fields| fields[4] == path).map(|fields| fields[5].to_owned())
    }
}

fn env_file(world: &World, text: &str) -> String {
    let path = world.path("orders.env");
    write(&path, text, 0o600);
    path.display().to_string()
}

fn write(path: &Path, text: &str, mode: u32) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::set_permissions(&next, Permissions::from_mode(mode)).unwrap();
    fs::rename(next, path).unwrap();
}

async fn replaced(world: &World, before: &SlotStatus, manifest: &str, record: Manifest) -> SlotStatus {
    world.declare(manifest, &[record]);
    world.until_ready_again("counter", before).await
}

#[tokio::test]
async fn a_container_may_do_no_more_than_it_has_to() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let process = Process::of(&world, &world.until_ready("counter").await).await;
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(process.capabilities(set), 0, "{set}");
        }
        assert_eq!(process.status("NoNewPrivs"), "1");
        assert_eq!(process.status("Seccomp"), "2", "the engine's own profile");
        let names: BTreeSet<String> = process.environment().into_iter().map(|(name, _)| name).collect();
        let expected = [
            "COUNTER_PLUGIN",
            "HOME",
            "HOSTNAME",
            "PATH",
            "PLUGIN_CLIENT_CERT",
            "PLUGIN_MAX_PORT",
            "PLUGIN_MIN_PORT",
            "PLUGIN_PROTOCOL_VERSIONS",
            "PLUGIN_UNIX_SOCKET_DIR",
            "PLUGIN_UNIX_SOCKET_GROUP",
        ];
        let strange: Vec<&String> = names.iter().filter(|name| !expected.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "nothing of the controller's environment gets there: {strange:?}");
        let status = world.status("counter").await.unwrap();
        for condition in [InstanceCondition::LimitsEnforced, InstanceCondition::NoNewPrivileges] {
            assert!(status.conditions.get(condition).is_none(), "{condition:?} says nothing");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_runtime_says_of_security_takes_effect_and_is_told() {
    on_each_engine(|world| async move {
        let plain = runtime(&world.engine.host);
        world.declare("runtime.yaml", slice::from_ref(&plain));
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let first = world.until_ready("counter").await;

        let security = json!({ "readOnlyRootFilesystem": true, "seccompProfile": "unconfined" });
        let second =
            replaced(&world, &first, "runtime.yaml", plain.clone().with("/spec/security", security)).await;
        let process = Process::of(&world, &second).await;
        assert_eq!(process.status("Seccomp"), "0");
        assert!(process.mounted("/").unwrap().starts_with("ro"), "{:?}", process.mounted("/"));
        assert!(process.mounted("/tmp").unwrap().starts_with("rw"), "{:?}", process.mounted("/tmp"));

        let profile = world.path("profile.json");
        write(&profile, r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#, 0o644);
        let security = json!({ "noNewPrivileges": false, "seccompProfile": profile });
        let third = replaced(&world, &second, "runtime.yaml", plain.with("/spec/security", security)).await;
        let process = Process::of(&world, &third).await;
        assert_eq!(process.status("NoNewPrivs"), "0");
        assert!(process.mounted("/").unwrap().starts_with("rw"));
        world.until_condition("counter", InstanceCondition::NoNewPrivileges, "Declared").await;

        // Of a profile what it says counts, not what it is called.
        let other = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [] }"#;
        write(&profile, other, 0o644);
        world.until_ready_again("counter", &third).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_is_to_lock_its_memory_may_and_is_told() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("orders.yaml", &[database("orders").with("/spec/mlock", json!(true))]);
        world.start().await;
        let process = Process::of(&world, &world.until_ready("orders").await).await;
        assert_eq!(process.capabilities("CapEff"), IPC_LOCK);
        assert_eq!(process.variable("VAULT_PLUGIN_MLOCK_ENABLED").as_deref(), Some("true"));
    })
    .await;
}

#[tokio::test]
async fn variables_come_from_files_too_and_a_change_of_one_replaces_the_container() {
    on_each_engine(|world| async move {
        let file = env_file(&world, "FROM_FILE=one\nBOTH=file\nSECRET=s3cr3t-value\n");
        let record = counter("counter").with("/spec/envFrom", json!([{ "file": file }]));
        world.declare_runtime();
        world.declare("counter.yaml", &[record.with("/spec/env/BOTH", json!("record"))]);
        world.start().await;
        let first = world.until_ready("counter").await;
        let process = Process::of(&world, &first).await;
        assert_eq!(process.variable("FROM_FILE").as_deref(), Some("one"));
        assert_eq!(process.variable("BOTH").as_deref(), Some("record"));
        assert_eq!(process.variable("SECRET").as_deref(), Some("s3cr3t-value"));

        env_file(&world, "FROM_FILE=two\nSECRET=s3cr3t-value\n");
        let second = world.until_ready_again("counter", &first).await;
        assert_eq!(Process::of(&world, &second).await.variable("FROM_FILE").as_deref(), Some("two"));

        for arguments in [["describe", "instance", "counter"], ["get", "instance", "counter"]] {
            let said = world.cli(&arguments).await;
            assert!(!said.stdout.contains("s3cr3t") && !said.stderr.contains("s3cr3t"), "{arguments:?}");
        }
        assert!(!world.log().contains("s3cr3t"));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_and_harms_nothing_that_runs() {
    on_one_engine(|world| async move {
        let file = env_file(&world, "A=b\n");
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter").with("/spec/envFrom", json!([{ "file": file }]))]);
        world.start().await;
        let before = world.until_ready("counter").await;
        for (text, mode, expected) in [
            ("A=b\n", 0o644, "has mode 0644, and others than its owner could use it: chmod 0600"),
            ("A=b\nnonsense\n", 0o600, "orders.env:2:1: there is no '=': write NAME=value"),
        ] {
            write(Path::new(&file), text, mode);
            let told = world.until_condition("counter", InstanceCondition::Accepted, "FileUnusable").await;
            assert!(told.starts_with("spec.envFrom[0].file: ") && told.contains(expected), "{told}");
            write(Path::new(&file), "A=b\n", 0o600);
            world.until_condition("counter", InstanceCondition::Accepted, "Accepted").await;
        }
        assert_eq!(world.until_ready("counter").await.container_id, before.container_id);
    })
    .await;
}

#[tokio::test]
async fn limits_are_in_the_cgroup_that_was_asked_for() {
    on_each_engine(|world| async move {
        let limits = json!({ "memory": "64Mi", "cpu": "250m", "pids": 200 });
        let runtime = runtime(&world.engine.host).with("/spec/resources", limits);
        world.declare("runtime.yaml", &[runtime.with("/spec/cgroupParent", json!("/plugward-test"))]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let slot = world.until_ready("counter").await;
        let process = Process::of(&world, &slot).await;
        let told = world.until_condition("counter", InstanceCondition::LimitsEnforced, "Enforced").await;
        assert_eq!(told, "cpu, memory, pids, cgroupParent");
        for (controller, file, expected) in [
            ("memory", "memory.limit_in_bytes", 64 << 20),
            ("cpu", "cpu.cfs_quota_us", 25_000),
            ("pids", "pids.max", 200),
        ] {
            let cgroups = process.file("cgroup");
            let cgroup = cgroups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            });
            let cgroup = cgroup.unwrap_or_else(|| panic!("no {controller} in {cgroups}"));
            assert!(cgroup.contains("/plugward-test/"), "{cgroup}");
            let path = format!("/sys/fs/cgroup/{controller}{cgroup}/{file}");
            let limit: i64 = fs::read_to_string(&path).expect(&path).trim().parse().unwrap();
            assert_eq!(limit, expected, "{path}");
        }
    })
    .await;
}
