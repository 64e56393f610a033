use super::{Bench, LABEL};
use crate::container::{Bind, ContainerSpec, Resources, Security};
use crate::error::{ErrorKind, Operation};
use crate::log::LogQuery;
use crate::port::Created;

pub(super) async fn a_name_is_given_once(bench: Bench) {
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    let again = bench.engine.create(&bench.name("one"), &bench.spec(&["exit", "0"])).await;
    assert_eq!(again, Ok(Created::AlreadyExists));
    let holder = bench.engine.inspect(&bench.name("one")).await.unwrap().unwrap();
    assert_eq!(holder.id, id);
    bench.engine.remove(&id).await.unwrap();
    bench.create("one", &bench.spec(&["sleep"])).await;
}

/// The cause of a creation that fails.
async fn cause(bench: &Bench, spec: &ContainerSpec) -> ErrorKind {
    let error = bench.engine.create(&bench.name("refused"), spec).await.unwrap_err();
    assert_eq!((error.operation, error.subject), (Operation::Create, bench.name("refused")));
    assert!(!error.message.is_empty());
    assert_eq!(bench.engine.inspect(&bench.name("refused")).await, Ok(None));
    error.kind
}

pub(super) async fn an_image_that_is_not_there_is_the_cause(bench: Bench) {
    let absent = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for image in ["plugward-contract-absent:1", "plugward-contract-absent", &absent] {
        let spec = ContainerSpec { image: image.to_owned(), ..bench.spec(&["sleep"]) };
        assert_eq!(cause(&bench, &spec).await, ErrorKind::NoSuchImage, "{image}");
    }
}

pub(super) async fn a_runtime_that_is_not_known_is_the_cause(bench: Bench) {
    let spec = ContainerSpec { oci_runtime: "plugward-absent".to_owned(), ..bench.spec(&["sleep"]) };
    assert_eq!(cause(&bench, &spec).await, ErrorKind::UnknownRuntime);
}

pub(super) async fn a_directory_that_the_engine_does_not_see_is_the_cause(bench: Bench) {
    let bind = Bind { source: "/nowhere/plugward-contract".into(), target: "/bound".into() };
    let spec = ContainerSpec { binds: vec![bind], ..bench.spec(&["sleep"]) };
    assert_eq!(cause(&bench, &spec).await, ErrorKind::NoSuchSource);
}

pub(super) async fn what_an_engine_will_not_do_is_refused(bench: Bench) {
    let resources = Resources { memory_bytes: Some(4096), ..Resources::default() };
    let spec = ContainerSpec { resources, ..bench.spec(&["sleep"]) };
    assert_eq!(cause(&bench, &spec).await, ErrorKind::Refused);
    let error = bench.engine.create("-", &bench.spec(&["sleep"])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
}

pub(super) async fn a_container_can_be_made_from_an_images_id(bench: Bench) {
    let image = bench.engine.inspect_image(bench.harness.image()).await.unwrap().unwrap();
    let spec = ContainerSpec { image: image.id.clone(), ..bench.spec(&["exit", "4"]) };
    let id = bench.create("by-id", &spec).await;
    bench.engine.start(&id).await.unwrap();
    assert_eq!(bench.exit(&id).await.code, 4);
    assert_eq!(bench.inspect(&id).await.image_id, image.id);
    let by_name = bench.create("by-name", &bench.spec(&["exit", "0"])).await;
    assert_eq!(bench.inspect(&by_name).await.image_id, image.id);
}

pub(super) async fn limits_are_accepted(bench: Bench) {
    let resources = Resources { nano_cpus: Some(500_000_000), memory_bytes: Some(64 << 20), pids: Some(200) };
    let spec = ContainerSpec {
        resources,
        groups: vec![4242],
        capabilities: vec!["IPC_LOCK".to_owned()],
        security: Security { read_only_root: true, ..Security::default() },
        tmpfs: vec!["/tmp".into()],
        ..bench.spec(&["exit", "0"])
    };
    let id = bench.create("limited", &spec).await;
    bench.engine.start(&id).await.unwrap();
    assert_eq!(bench.exit(&id).await.code, 0);
}

pub(super) async fn a_bound_directory_is_shared_with_the_machine(bench: Bench) {
    let source = bench.harness.directory().join(&bench.tag);
    std::fs::create_dir_all(&source).unwrap();
    // Root in the containers of a rootless engine is its user.
    if let Some(user) = bench.engine.info().await.unwrap().user {
        std::os::unix::fs::chown(&source, Some(user.uid), Some(user.gid)).unwrap();
    }
    let bind = Bind { source: source.clone(), target: "/shared".into() };
    let spec = ContainerSpec { binds: vec![bind], ..bench.spec(&["touch", "/shared/here"]) };
    let id = bench.create("bound", &spec).await;
    bench.engine.start(&id).await.unwrap();
    assert_eq!(bench.exit(&id).await.code, 0);
    assert!(source.join("here").exists());
}

pub(super) async fn environment_and_labels_arrive_as_they_are(bench: Bench) {
    let value = "a = \"b\" 'c' $HOME ü \\";
    let mut spec = bench.spec(&["print-env", "CONTRACT"]);
    spec.env = vec![("OTHER".to_owned(), String::new()), ("CONTRACT".to_owned(), value.to_owned())];
    spec.labels.insert("dev.plugward.other".to_owned(), value.to_owned());
    spec.labels.insert("dev.plugward.empty".to_owned(), String::new());
    let id = bench.create("told", &spec).await;
    let labels = bench.inspect(&id).await.labels;
    assert_eq!(labels["dev.plugward.other"], value);
    assert_eq!(labels["dev.plugward.empty"], "");
    assert_eq!(labels[LABEL], bench.tag);
    bench.engine.start(&id).await.unwrap();
    bench.exit(&id).await;
    let query = LogQuery { stdout: true, ..LogQuery::default() };
    // Docker waits two seconds for the last output of a container before it says that it has ended, and no longer: on a
    // machine that is busy the log may be empty yet.
    let mut stdout = Vec::new();
    for _ in 0..100 {
        (stdout, _) = super::output::read(&bench, &id, query).await;
        if !stdout.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(String::from_utf8_lossy(&stdout), format!("{value}\n"));
}
