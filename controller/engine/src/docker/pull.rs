//! Pulls: their messages, layer by layer, and what they come to.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures::future;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use super::classify::wants_credentials;
use super::credentials::{RegistryAuth, registry_of};
use super::{DockerEngine, failed, plain};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::pull::Progress;

/// All layers that were told of.
#[derive(Debug, Default)]
struct Layers {
    by_id: BTreeMap<String, Layer>,
}

/// What was said of a layer last.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Layer {
    phase: Phase,
    downloaded: u64,
    size: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Waiting,
    Downloading,
    /// The number is what the engine counts it in: bytes, or seconds.
    Extracting(u64),
    Done,
}

impl DockerEngine {
    /// [`Engine::pull`](crate::Engine::pull).
    pub(super) async fn pull_image(
        &self,
        reference: &str,
    ) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError> {
        plain(Operation::Pull, reference)?;
        let registry = registry_of(reference).to_owned();
        let auth = self.credentials.find(&registry).await.map_err(|error| EngineError {
            operation: Operation::Pull,
            subject: reference.to_owned(),
            kind: ErrorKind::Refused,
            message: error.to_string(),
        })?;
        let auth = auth.as_ref().and_then(RegistryAuth::header);
        let anonymous = auth.is_none();
        let hinted = move |error: EngineError| match error.kind {
            ErrorKind::Refused | ErrorKind::Internal if anonymous => {
                EngineError { message: without_credentials(&error.message, &registry), ..error }
            }
            _ => error,
        };
        let options =
            CreateImageOptions { from_image: Some(reference.to_owned()), ..CreateImageOptions::default() };
        let items = self
            .open(Operation::Pull, reference, auth, |client| client.create_image(Some(options), None, None))
            .await
            .map_err(&hinted)?;
        let (subject, mut layers) = (reference.to_owned(), Layers::default());
        Ok(items
            .map(move |item| match item {
                Ok(message) => Ok(layers.take(message)),
                Err(error) => Err(hinted(failed(Operation::Pull, &subject, &error))),
            })
            .try_filter_map(future::ok)
            .boxed())
    }
}

// === impl Layers ===

impl Layers {
    /// Takes a message; how far the pull is, if it says anything new of that.
    fn take(&mut self, message: CreateImageInfo) -> Option<Progress> {
        let status = message.status.unwrap_or_default();
        // Others are about the whole: their ID is a tag, or missing.
        let id = message.id.filter(|_| !status.starts_with("Pulling from"))?;
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let detail = message.progress_detail.unwrap_or_default();
        let (current, total) = (number(detail.current), number(detail.total));
        let layer = self.by_id.entry(id).or_default();
        let before = layer.clone();
        match status.as_str() {
            "Downloading" => {
                layer.phase = Phase::Downloading;
                layer.downloaded = current.unwrap_or(layer.downloaded);
                layer.size = total.unwrap_or(layer.size).max(layer.downloaded);
            }
            "Verifying Checksum" | "Download complete" => layer.downloaded = layer.size,
            "Extracting" => {
                layer.phase = Phase::Extracting(current.unwrap_or_default());
                layer.downloaded = layer.size;
            }
            "Pull complete" | "Already exists" => {
                layer.phase = Phase::Done;
                layer.downloaded = layer.size;
            }
            // It waits, or is tried again.
            _ => {}
        }
        let news = *layer != before || before == Layer::default();
        news.then(|| self.progress())
    }

    fn progress(&self) -> Progress {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Progress {
            layers: count(self.by_id.len()),
            layers_done: count(self.by_id.values().filter(|layer| layer.phase == Phase::Done).count()),
            bytes: self.by_id.values().map(|layer| layer.downloaded).sum(),
            total_bytes: self.by_id.values().map(|layer| layer.size).sum(),
        }
    }
}

/// What to tell people of a pull that failed, and was made without credentials: engines do not always say that some were wanted.
fn without_credentials(message: &str, registry: &str) -> String {
    // The latter is what is left of it where an engine tries again without TLS.
    if wants_credentials(message) || message.contains("HTTP request to an HTTPS server") {
        format!("{message} (Docker's configuration holds no credentials for {registry})")
    } else {
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Vec<Option<(u32, u32, u64, u64)>> {
        let mut layers = Layers::default();
        lines
            .iter()
            .map(|line| {
                let progress = layers.take(serde_json::from_str(line).unwrap())?;
                Some((progress.layers, progress.layers_done, progress.bytes, progress.total_bytes))
            })
            .collect()
    }

    #[test]
    fn what_a_graph_drivers_engine_says_is_counted() {
        let lines = [
            r#"{"status":"Pulling from team/slow","id":"1"}"#,
            r#"{"status":"Already exists","progressDetail":{},"id":"9d8df509c8f9"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"7a08b7b3d50b"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":65536,"total":6293519},"progress":"[>","id":"7a08b7b3d50b"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":65536,"total":6293519},"progress":"[>","id":"7a08b7b3d50b"}"#,
            r#"{"status":"Verifying Checksum","progressDetail":{},"id":"7a08b7b3d50b"}"#,
            r#"{"status":"Extracting","progressDetail":{"current":65536,"total":6293519},"progress":"[>","id":"7a08b7b3d50b"}"#,
            r#"{"status":"Pull complete","progressDetail":{},"id":"7a08b7b3d50b"}"#,
            r#"{"status":"Digest: sha256:f43f"}"#,
            r#"{"status":"Status: Downloaded newer image for team/slow:1"}"#,
        ];
        let size = 6_293_519;
        assert_eq!(
            told(&lines),
            [
                None,
                Some((1, 1, 0, 0)),
                Some((2, 1, 0, 0)),
                Some((2, 1, 65536, size)),
                None,
                Some((2, 1, size, size)),
                Some((2, 1, size, size)),
                Some((2, 2, size, size)),
                None,
                None,
            ]
        );
    }

    #[test]
    fn what_a_containerd_stores_engine_says_is_counted() {
        let lines = [
            r#"{"status":"Pulling from team/slow","id":"1"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"8598eea69b84"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":1048576,"total":6293507},"id":"8598eea69b84"}"#,
            r#"{"status":"Download complete","progressDetail":{"hidecounts":true},"id":"8598eea69b84"}"#,
            r#"{"status":"Extracting","progressDetail":{"current":1,"units":"s"},"id":"8598eea69b84"}"#,
            r#"{"status":"Extracting","progressDetail":{"current":2,"units":"s"},"id":"8598eea69b84"}"#,
            r#"{"status":"Pull complete","progressDetail":{"hidecounts":true},"id":"8598eea69b84"}"#,
        ];
        let size = 6_293_507;
        assert_eq!(
            told(&lines),
            [
                None,
                Some((1, 0, 0, 0)),
                Some((1, 0, 1_048_576, size)),
                Some((1, 0, size, size)),
                Some((1, 0, size, size)),
                Some((1, 0, size, size)),
                Some((1, 1, size, size)),
            ]
        );
    }

    #[test]
    fn that_credentials_were_missing_is_said_only_where_some_were_wanted() {
        let hinted = |message: &str| without_credentials(message, "127.0.0.1:5000") != message;
        assert!(hinted("authorization failed: no basic auth credentials"));
        assert!(hinted(
            "error parsing HTTP 400 response body: \"Client sent an HTTP request to an HTTPS server.\""
        ));
        assert!(!hinted("dial tcp 127.0.0.1:5000: connect: connection refused"));
    }
}
