//! What a test sees of its world, and how it waits to see it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use hyper::body::Bytes;
use plugward::control::client;
use plugward::names::{cluster_selector, label};
use plugward_api::{Condition, InstanceCondition, InstanceStatus, Phase, RuntimeStatus, SlotStatus};
use plugward_engine::{Container, Listed};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::World;
use crate::real::http;
use crate::real::manifest;
use crate::real::metrics::Metrics;

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How often it looks.
const POLL: Duration = Duration::from_millis(25);

impl World {
    /// Waits until `look` sees something.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(Instant::now() < deadline, "{}: it did not come that {what}", self.engine.name);
            sleep(POLL).await;
        }
    }

    /// What the controller serves at a path of its control socket, if it does.
    pub async fn ask(&self, path: &str) -> Option<Value> {
        client::get(&self.control(), path).await.ok()
    }

    /// The status of an instance, if it has one.
    pub async fn status(&self, instance: &str) -> Option<InstanceStatus> {
        let object = self.ask(&format!("/v1/instances/{instance}")).await?;
        serde_json::from_value(object.get("status")?.clone()).ok()
    }

    /// Waits until the status of an instance is as wanted.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn until(
        &self,
        instance: &str,
        what: &str,
        mut wanted: impl FnMut(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        self.wait(&format!("{instance} {what}"), async || {
            self.status(instance).await.filter(|status| wanted(status))
        })
        .await
    }

    /// Waits until an instance is ready as its record wants it now, and nothing of it is about to be replaced.
    pub async fn until_ready(&self, instance: &str) -> SlotStatus {
        let generation = self.generation(instance).await;
        let status = self
            .until(instance, "is ready", |status| {
                status.phase == Phase::Ready
                    && status.observed_generation >= generation
                    && status.conditions.is_true(InstanceCondition::Ready)
                    && progressing(status) == Some("UpToDate")
                    && slot(status).container_id.is_some()
            })
            .await;
        slot(&status).clone()
    }

    /// Waits until an instance is ready in another container than `before`.
    pub async fn until_ready_again(&self, instance: &str, before: &SlotStatus) -> SlotStatus {
        let status = self
            .until(instance, "is ready in another container", |status| {
                let slot = slot(status);
                status.phase == Phase::Ready
                    && slot.container_id.is_some()
                    && slot.container_id != before.container_id
            })
            .await;
        slot(&status).clone()
    }

    /// Waits until a condition of an instance has a status and reason; answers with its message.
    pub async fn until_condition(
        &self,
        instance: &str,
        condition: InstanceCondition,
        reason: &str,
    ) -> String {
        let status = self
            .until(instance, &format!("has {condition:?} with reason {reason}"), |status| {
                status.conditions.get(condition).is_some_and(|found| found.reason == reason)
            })
            .await;
        status
            .conditions
            .get(condition)
            .map(|found: &Condition<_>| found.message.to_string())
            .unwrap_or_default()
    }

    /// Waits until nothing is known of an instance any more, and nothing of it is left on the engines.
    pub async fn until_gone(&self, instance: &str) {
        self.wait(&format!("{instance} is gone"), async || {
            let list = self.ask("/v1/instances").await?;
            let listed = list["items"].as_array()?.iter().any(|item| item["metadata"]["name"] == instance);
            (!listed).then_some(())
        })
        .await;
        let left = self.containers_of(instance).await;
        assert!(left.is_empty(), "{instance} is gone, and left {left:?}");
    }

    /// Waits until the controller has acted on all that it could notice up to now: a mark that is put into the manifests has been
    /// read and is gone, and then nothing is left to do at once. What has not happened by then does not happen.
    pub async fn settle(&self) {
        let mark = format!("mark-{:08x}", rand::random::<u32>());
        let file = format!("{mark}.yaml");
        self.declare(&file, &[manifest::runtime(&self.engine.host).on(&mark)]);
        self.wait("a mark in the manifests is seen", async || {
            self.ask(&format!("/v1/runtimes/{mark}")).await
        })
        .await;
        self.remove(&file);
        self.wait("a mark in the manifests is gone", async || {
            self.ask(&format!("/v1/runtimes/{mark}")).await.is_none().then_some(())
        })
        .await;
        self.wait("nothing is left to do", async || {
            let metrics = self.metrics().await;
            let depth = |state| metrics.get(&format!("plugward_workqueue_depth{{state=\"{state}\"}}"));
            (depth("due") == Some(0.0) && depth("running") == Some(0.0)).then_some(())
        })
        .await;
    }

    /// Waits until the controller, just started, has looked at everything once, and acted on it.
    pub async fn until_synced(&self) {
        self.until_readyz(200).await;
        self.settle().await;
    }

    /// Waits until `/readyz` answers so. Answers with its words.
    pub async fn until_readyz(&self, status: u16) -> String {
        self.wait(&format!("/readyz answers {status}"), async || {
            let (found, body) = self.http("/readyz").await?;
            (found == status).then_some(body)
        })
        .await
    }

    /// The generation of an instance's record, once it is seen.
    pub async fn generation(&self, instance: &str) -> u64 {
        let path = format!("/v1/instances/{instance}");
        self.wait(&format!("{instance} is declared"), async || {
            self.ask(&path).await?.pointer("/metadata/generation")?.as_u64()
        })
        .await
    }

    /// The status of a runtime, if it has one.
    pub async fn runtime(&self, name: &str) -> Option<RuntimeStatus> {
        let object = self.ask(&format!("/v1/runtimes/{name}")).await?;
        serde_json::from_value(object.get("status")?.clone()).ok()
    }

    /// What the metrics port says.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> Metrics {
        let (status, body) = self.http("/metrics").await.expect("the metrics port answers");
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// What the metrics port answers, if it does.
    pub async fn http(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(&self.metrics_address).await.ok()?;
        let (status, body) = http::request(stream, "GET", path, Bytes::new()).await?;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The cluster's containers on the test's engine.
    pub async fn containers(&self) -> Vec<Listed> {
        self.engine.containers(&cluster_selector(&self.cluster)).await
    }

    /// The containers of an instance on the test's engine.
    pub async fn containers_of(&self, instance: &str) -> Vec<Listed> {
        let mut labels = cluster_selector(&self.cluster);
        labels.insert(label::INSTANCE.to_owned(), instance.to_owned());
        self.engine.containers(&labels).await
    }

    /// The container of an instance's only slot, as the engine sees it.
    pub async fn container(&self, slot: &SlotStatus) -> Container {
        self.engine.container(slot.container_id.as_deref().expect("it has a container")).await
    }

    /// The directory that a slot's container shares with the controller.
    ///
    /// # Panics
    /// When it shares none.
    pub async fn shared_directory(&self, slot: &SlotStatus) -> PathBuf {
        let id = slot.container_id.as_deref().unwrap();
        let (_, seen) = self.engine.api("GET", &format!("/containers/{id}/json")).await;
        seen["Mounts"][0]["Source"].as_str().expect("a directory is bound").into()
    }

    /// What the controller remembers of an instance's only slot.
    pub fn stored(&self, instance: &str) -> Value {
        let text = fs::read_to_string(self.stored_path(instance)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
    }

    /// The file with that.
    pub fn stored_path(&self, instance: &str) -> PathBuf {
        self.state().join("slots").join(instance).join("shared.json")
    }

    /// The number of the latest start of an instance's only slot.
    pub fn starts(&self, instance: &str) -> u64 {
        self.stored(instance)["starts"].as_u64().unwrap()
    }
}

/// The only slot of an instance; an empty one, if there is none yet.
pub fn slot(status: &InstanceStatus) -> &SlotStatus {
    static NONE: OnceLock<SlotStatus> = OnceLock::new();
    status.slots.first().unwrap_or_else(|| NONE.get_or_init(SlotStatus::default))
}

fn progressing(status: &InstanceStatus) -> Option<&str> {
    status.conditions.get(InstanceCondition::Progressing).map(|condition| &*condition.reason)
}

/// How often a slot was restarted, by reason.
pub fn restarts(slot: &SlotStatus) -> BTreeMap<&'static str, u64> {
    slot.restarts_by_reason.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}
