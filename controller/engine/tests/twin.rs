//! The simulated engine keeps the contract.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use plugward_engine::Engine;
use plugward_engine::contract::{self, Harness};
use plugward_engine::simulated::{Script, SimulatedEngine, StartedContainer};
use tempfile::TempDir;

const IMAGE: &str = "plugward-contract:1";

struct Twin {
    engine: SimulatedEngine,
    directory: TempDir,
}

#[async_trait]
impl Harness for Twin {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    fn image(&self) -> &str {
        IMAGE
    }

    fn oci_runtime(&self) -> &'static str {
        "runc"
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    async fn tag_and_untag(&self, name: &str) {
        let image = self.engine.inspect_image(IMAGE).await.unwrap().unwrap();
        self.engine.tag_image(&image.id, name);
        assert!(self.engine.remove_image(name));
    }

    async fn publish(&self, part: &str) -> Option<String> {
        let name = format!("127.0.0.1:5000/{part}:1");
        self.engine.publish(&name, program);
        Some(name)
    }

    async fn unpublish(&self, name: &str) {
        assert!(self.engine.remove_image(name));
    }
}

/// The test program of the contract.
fn program(container: &StartedContainer) -> Script {
    if let [program] = &container.spec.entrypoint[..] {
        return Script::new().failing_to_start(format!(
            "failed to create shim task: OCI runtime create failed: exec: \"{program}\": no such file or directory"
        ));
    }
    let args: Vec<&str> = container.spec.args.iter().map(String::as_str).collect();
    let script = Script::new();
    match args[..] {
        ["exit", code] => script.wait(Duration::from_millis(1)).exit(code.parse().unwrap()),
        ["sleep"] => script.ignore_term().hang(),
        ["heed", code] => {
            script.end_on_term(Duration::from_millis(5), code.parse().unwrap()).stdout("ready\n").hang()
        }
        ["write", out, err] => script.stdout(out).stderr(err),
        ["flood", lines] => {
            let mut bytes = Vec::new();
            for number in 0..lines.parse::<usize>().unwrap() {
                bytes.extend(format!("{number:08}{:.>55}\n", "").into_bytes());
            }
            script.stdout(bytes)
        }
        ["print-env", name] => script.stdout(format!("{}\n", container.env(name).unwrap())),
        ["touch", path] => {
            let path = Path::new(path);
            let directory = container.bound_at(path.parent().unwrap()).unwrap();
            let path = directory.join(path.file_name().unwrap());
            script.run(async move { std::fs::write(path, "").unwrap() })
        }
        ["eat"] => script.wait(Duration::from_millis(50)).oom_killed(),
        _ => panic!("the test program does not know {args:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_engine_keeps_the_contract() {
    for seed in 0..20 {
        let engine = SimulatedEngine::with_seed(seed);
        engine.add_image(IMAGE, program);
        let directory = tempfile::tempdir().unwrap();
        let failures = contract::run(Arc::new(Twin { engine: engine.clone(), directory })).await;
        assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
        assert!(engine.containers().is_empty(), "something is left behind");
    }
}
