//! Engine calls, counted and timed by somebody else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::time::Instant;

use crate::container::{Container, ContainerId, ContainerSpec, Listed};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::Event;
use crate::file::File;
use crate::image::Image;
use crate::info::EngineInfo;
use crate::log::{LogChunk, LogQuery};
use crate::port::{Created, Engine, Removed, Started, Stopped};
use crate::pull::Progress;
use crate::usage::Usage;

/// Hears of each finished call. Must not block.
pub trait Observer: Send + Sync + 'static {
    /// A call has ended: done (whatever its outcome, `NotFound` included), or failed with this cause. Of the
    /// streams it is the opening, but of a pull the whole. A call whose caller gave it up is not told of.
    fn called(&self, operation: Operation, result: Result<(), ErrorKind>, took: Duration);
}

/// An engine whose calls an [`Observer`] hears of.
pub struct Observed<E: ?Sized> {
    engine: Arc<E>,
    observer: Arc<dyn Observer>,
}

// === impl Observed ===

impl<E: Engine + ?Sized> Observed<E> {
    /// Wraps an engine.
    pub fn new(engine: Arc<E>, observer: Arc<dyn Observer>) -> Self {
        Self { engine, observer }
    }

    async fn observe<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        let begun = Instant::now();
        let result = call.await;
        let outcome = result.as_ref().map(drop).map_err(|error| error.kind);
        self.observer.called(operation, outcome, Instant::now().saturating_duration_since(begun));
        result
    }
}

#[async_trait]
impl<E: Engine + ?Sized> Engine for Observed<E> {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.observe(Operation::Info, self.engine.info()).await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        self.observe(Operation::InspectImage, self.engine.inspect_image(reference)).await
    }

    async fn pull(
        &self,
        reference: &str,
    ) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError> {
        let begun = Instant::now();
        let observer = Arc::clone(&self.observer);
        let called = move |result| {
            observer.called(Operation::Pull, result, Instant::now().saturating_duration_since(begun));
        };
        let items = match self.engine.pull(reference).await {
            Ok(items) => items,
            Err(error) => {
                called(Err(error.kind));
                return Err(error);
            }
        };
        let told = stream::unfold(Some((items, called)), |state| async {
            let (mut items, called) = state?;
            match items.next().await {
                Some(Ok(progress)) => Some((Ok(progress), Some((items, called)))),
                Some(Err(error)) => {
                    called(Err(error.kind));
                    Some((Err(error), None))
                }
                None => {
                    called(Ok(()));
                    None
                }
            }
        });
        Ok(told.boxed())
    }

    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<Created, EngineError> {
        self.observe(Operation::Create, self.engine.create(name, spec)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<Started, EngineError> {
        self.observe(Operation::Start, self.engine.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<Stopped, EngineError> {
        self.observe(Operation::Stop, self.engine.stop(id, grace)).await
    }

    async fn kill(&self, id: &ContainerId) -> Result<Stopped, EngineError> {
        self.observe(Operation::Kill, self.engine.kill(id)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<Removed, EngineError> {
        self.observe(Operation::Remove, self.engine.remove(id)).await
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Listed>, EngineError> {
        self.observe(Operation::List, self.engine.list(labels)).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        self.observe(Operation::Inspect, self.engine.inspect(id)).await
    }

    async fn read(&self, id: &ContainerId, path: &Path, limit: usize) -> Result<Option<File>, EngineError> {
        self.observe(Operation::Read, self.engine.read(id, path, limit)).await
    }

    async fn stats(&self, id: &str) -> Result<Option<Usage>, EngineError> {
        self.observe(Operation::Stats, self.engine.stats(id)).await
    }

    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        self.observe(Operation::Logs, self.engine.logs(id, query)).await
    }

    async fn events(
        &self,
        labels: &BTreeMap<String, String>,
        since: jiff::Timestamp,
    ) -> Result<BoxStream<'static, Result<Event, EngineError>>, EngineError> {
        self.observe(Operation::Events, self.engine.events(labels, since)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::simulated::{Fault, SimulatedEngine};

    type Call = (Operation, Result<(), ErrorKind>, Duration);

    #[derive(Default)]
    struct Heard(Mutex<Vec<Call>>);

    impl Observer for Heard {
        fn called(&self, operation: Operation, result: Result<(), ErrorKind>, took: Duration) {
            self.0.lock().unwrap().push((operation, result, took));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_told_with_its_outcome_and_its_time() {
        let twin = SimulatedEngine::with_seed(1);
        let heard = Arc::new(Heard::default());
        let engine: Arc<dyn Engine> = Arc::new(twin.clone());
        let engine = Observed::new(engine, Arc::clone(&heard) as Arc<dyn Observer>);

        let slow = Fault::Slow { before: Duration::from_secs(2), after: Duration::ZERO };
        twin.inject(Operation::List, slow);
        engine.list(&BTreeMap::new()).await.unwrap();
        assert_eq!(engine.remove(&ContainerId::new("absent")).await.unwrap(), Removed::NotFound);
        twin.inject(Operation::Info, Fault::HangBefore);
        engine.info().await.unwrap_err();

        let heard = heard.0.lock().unwrap();
        let outcomes: Vec<_> = heard.iter().map(|(operation, result, _)| (*operation, *result)).collect();
        assert_eq!(
            outcomes,
            [
                (Operation::List, Ok(())),
                (Operation::Remove, Ok(())),
                (Operation::Info, Err(ErrorKind::TimedOut)),
            ]
        );
        assert!(heard[0].2 >= Duration::from_secs(2), "{:?}", heard[0].2);
    }
}
