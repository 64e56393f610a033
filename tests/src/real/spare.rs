//! Engines that a test may take down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::engine::{IMAGES, TestEngine, skipped};
use super::manifest::COUNTER;
use super::scenario::play;
use super::world::World;

/// How long an engine may take to end: it gives containers ten seconds.
const END_LIMIT: Duration = Duration::from_mins(1);

/// A second engine of the kind of another, as `hack/engine NAME-spare` starts it.
#[derive(Debug, Clone)]
pub struct SpareEngine {
    name: String,
    live_restore: bool,
}

/// Plays a test on a spare engine of each kind, one after the other, beside all others. `live_restore` lets containers outlive their
/// engine.
///
/// # Panics
/// When it fails on one.
pub async fn on_each_spare_engine<F>(live_restore: bool, test: impl Fn(Arc<World>, SpareEngine) -> F)
where
    F: Future<Output = ()>,
{
    // There is one of a kind.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let engines = TestEngine::all().await;
    let _guard = ONE_AT_A_TIME.lock().await;
    let beside = TestEngine::named(&IMAGES).await;
    for engine in engines {
        if !["debian", "current"].contains(&engine.name.as_str()) {
            skipped(&format!("hack/engine has no spare one for {}", engine.name));
            continue;
        }
        let spare = SpareEngine { name: format!("{}-spare", engine.name), live_restore };
        // One that a killed test left has the wrong settings, perhaps.
        spare.down().await;
        spare.start().await;
        let spared = TestEngine::new(&spare.name, &format!("unix://{}", spare.path("docker.sock").display()));
        spared.copy_image(&engine, COUNTER).await;
        let failed = play(World::new(spared, &beside), &|world| test(world, spare.clone())).await;
        spare.down().await;
        assert_eq!(failed, None, "it failed on that engine");
    }
}

// === impl SpareEngine ===

impl SpareEngine {
    /// Starts it, with what it held before.
    pub async fn start(&self) {
        self.hack("up").await;
    }

    async fn down(&self) {
        self.hack("down").await;
    }

    /// Asks it to end, or kills it, and waits until it has ended.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn end(&self, signal: Signal) {
        let pid: i32 = fs::read_to_string(self.path("dockerd.pid")).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, signal).unwrap();
        let deadline = Instant::now() + END_LIMIT;
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new("/run/plugward-engines").join(&self.name).join(file)
    }

    async fn hack(&self, command: &str) {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/engine"))
            .args([&self.name, command])
            .env("PLUGWARD_LIVE_RESTORE", self.live_restore.to_string())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "hack/engine {} {command}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Whether a process has ended and nobody has asked how yet.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}
