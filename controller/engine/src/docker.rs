//! The port on a Docker Engine. The only place that knows bollard, HTTP and Docker's words.
//!
//! A [`DockerEngine`] is made without talking to the engine. The first call agrees on an API version (1.41 up to
//! the newest that bollard's types know); the agreement is dropped when the engine is lost, so an engine that was
//! upgraded meanwhile is asked again. Nothing is shared between two values, and nothing is retried.
//!
//! # Caveat
//!
//! bollard writes whole bodies, environments of containers among them, to the `log` crate at level debug.
//! A program that collects those records must cap the target at info: [`LOG_CAP`].

mod address;
mod archive;
mod classify;
mod convert;
mod credentials;
mod listener;
mod log;
mod pull;
mod session;
mod tls;
mod transport;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error as ClientError;
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptions, EventsOptions, InspectContainerOptions,
    KillContainerOptions, ListContainersOptions, RemoveContainerOptions, StartContainerOptions, StatsOptions,
    StopContainerOptions,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use futures::{Stream, TryStreamExt as _};
use hyper::header::{HeaderName, HeaderValue};

use crate::container::{Container, ContainerId, ContainerSpec, Listed};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::{self, Event, EventKind};
use crate::file::File;
use crate::image::Image;
use crate::info::EngineInfo;
use crate::limits;
use crate::log::{LogChunk, LogQuery};
use crate::port::{Created, Engine, Removed, Started, Stopped};
use crate::pull::Progress;
use crate::usage::Usage;

pub use address::{Address, AddressError, DEFAULT_HOST, Origin, ProcessSurroundings, Surroundings};
pub use credentials::CredentialStore;

use convert::Missing;
use session::{Session, SessionError};
use transport::{Dialer, Head};

/// The filter directive that keeps bollard's bodies out of logs; to be put after any other.
pub const LOG_CAP: &str = "bollard=info";

/// HTTP's "not modified": what was asked for is so already.
const NOT_MODIFIED: u16 = 304;

/// What a registry is to be told with a pull.
const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");

/// A Docker Engine at an address.
pub struct DockerEngine {
    address: Arc<Address>,
    dialer: Dialer,
    credentials: CredentialStore,
    session: Mutex<Option<Arc<Session>>>,
    /// Held while a version is agreed on, so that many callers ask once.
    negotiating: tokio::sync::Mutex<()>,
}

// === impl DockerEngine ===

impl DockerEngine {
    /// Takes the address. The engine need not run yet.
    pub fn new(address: Address) -> Self {
        let address = Arc::new(address);
        Self {
            dialer: Dialer::new(Arc::clone(&address)),
            address,
            credentials: CredentialStore::default(),
            session: Mutex::default(),
            negotiating: tokio::sync::Mutex::default(),
        }
    }

    /// The same, which pulls with the credentials of this store. Without one, pulls are anonymous.
    #[must_use]
    pub fn with_credentials(self, credentials: CredentialStore) -> Self {
        Self { credentials, ..self }
    }

    /// Where the engine is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// One call within its limit.
    async fn call<T, F>(
        &self,
        operation: Operation,
        subject: &str,
        grace: Duration,
        request: impl FnOnce(Arc<Session>) -> F + Send,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let limit = limits::of(operation, grace);
        let fail = |kind, message| EngineError { operation, subject: subject.to_owned(), kind, message };
        let mut used = None;
        let attempt = async {
            let session = self.session().await.map_err(|(kind, message)| fail(kind, message))?;
            used = Some(Arc::clone(&session));
            request(session).await.map_err(|error| {
                let (kind, message) = classify::classify(operation, &error);
                fail(kind, message)
            })
        };
        let result = match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => Err(fail(ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))),
        };
        let lost = matches!(
            &result,
            Err(EngineError {
                kind: ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::Incompatible,
                ..
            })
        );
        if let Some(used) = used.filter(|_| lost) {
            self.forget(&used);
        }
        result
    }

    /// The agreement with the engine, made anew if there is none.
    async fn session(&self) -> Result<Arc<Session>, (ErrorKind, String)> {
        if let Some(session) = self.agreed().clone() {
            return Ok(session);
        }
        let _negotiating = self.negotiating.lock().await;
        if let Some(session) = self.agreed().clone() {
            return Ok(session);
        }
        let session = Session::negotiate(&self.dialer).await.map_err(|error| match error {
            SessionError::Request(error) => classify::classify(Operation::Connect, &error),
            SessionError::Incompatible(message) => (ErrorKind::Incompatible, message),
        })?;
        Ok(Arc::clone(self.agreed().insert(Arc::new(session))))
    }

    /// Drops an agreement, unless another call has made a newer one.
    fn forget(&self, used: &Arc<Session>) {
        self.agreed().take_if(|current| Arc::ptr_eq(current, used));
    }

    /// Never held over an await: a call that has reached its limit must not wait for another's negotiation.
    fn agreed(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that is answered with a stream, once the engine has granted it.
    async fn open<T, S>(
        &self,
        operation: Operation,
        subject: &str,
        registry_auth: Option<HeaderValue>,
        request: impl FnOnce(&bollard::Docker) -> S + Send,
    ) -> Result<BoxStream<'static, Result<T, ClientError>>, EngineError>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, ClientError>> + Send + 'static,
    {
        self.call(operation, subject, Duration::ZERO, |session| async move {
            let head = Head::default();
            let mut items = request(&observing(&session, &head, registry_auth)).boxed();
            tokio::select! {
                biased;
                // Polling is what sends the request.
                item = items.next() => match item {
                    Some(Err(error)) if !head.is_granted() => Err(error),
                    // The head and the first item have come at once.
                    first => Ok(stream::iter(first).chain(items).boxed()),
                },
                () = head.granted() => Ok(items),
            }
        })
        .await
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let (answer, version) = self
            .call(Operation::Info, self.address.host(), Duration::ZERO, |session| async move {
                Ok((session.client.info().await?, session.version))
            })
            .await?;
        let mut info = convert::info(answer, version.to_string())
            .map_err(|missing| incomplete(Operation::Info, self.address.host(), &missing))?;
        if info.rootless
            && let Some(listener) = self.dialer.listener().await
        {
            info.user = Some(listener.user);
            info.memlock_limit = listener.memlock_limit();
        }
        Ok(info)
    }

    async fn inspect_image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        plain(Operation::InspectImage, reference)?;
        let answer = self
            .call(Operation::InspectImage, reference, Duration::ZERO, |session| async move {
                session.client.inspect_image(reference).await
            })
            .await;
        found(answer)?
            .map(convert::image)
            .transpose()
            .map_err(|missing| incomplete(Operation::InspectImage, reference, &missing))
    }

    async fn pull(
        &self,
        reference: &str,
    ) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError> {
        self.pull_image(reference).await
    }

    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<Created, EngineError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        let body = convert::create_body(spec);
        let answer = self
            .call(Operation::Create, name, Duration::ZERO, |session| async move {
                session.client.create_container(Some(options), body).await
            })
            .await;
        match answer {
            Ok(answer) => Ok(Created::Created { id: ContainerId::new(answer.id), warnings: answer.warnings }),
            // The only conflict that a creation can have: the name.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Created::AlreadyExists),
            Err(error) => Err(error),
        }
    }

    async fn start(&self, id: &ContainerId) -> Result<Started, EngineError> {
        let answer = self
            .call(Operation::Start, id.as_str(), Duration::ZERO, |session| async move {
                let head = Head::default();
                let client = observing(&session, &head, None);
                client.start_container(id.as_str(), None::<StartContainerOptions>).await?;
                Ok(head.status())
            })
            .await;
        Ok(match found(answer)? {
            Some(NOT_MODIFIED) => Started::AlreadyStarted,
            Some(_) => Started::Started,
            None => Started::NotFound,
        })
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<Stopped, EngineError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let answer = self
            .call(Operation::Stop, id.as_str(), Duration::from_secs(seconds), |session| async move {
                let head = Head::default();
                observing(&session, &head, None).stop_container(id.as_str(), Some(options)).await?;
                Ok(head.status())
            })
            .await;
        Ok(match found(answer)? {
            Some(NOT_MODIFIED) => Stopped::AlreadyStopped,
            Some(_) => Stopped::Stopped,
            None => Stopped::NotFound,
        })
    }

    async fn kill(&self, id: &ContainerId) -> Result<Stopped, EngineError> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let answer = self
            .call(Operation::Kill, id.as_str(), Duration::ZERO, |session| async move {
                session.client.kill_container(id.as_str(), Some(options)).await
            })
            .await;
        match found(answer) {
            Ok(Some(())) => Ok(Stopped::Stopped),
            Ok(None) => Ok(Stopped::NotFound),
            // "Container … is not running"
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Stopped::AlreadyStopped),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<Removed, EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let answer = self
            .call(Operation::Remove, id.as_str(), Duration::ZERO, |session| async move {
                session.client.remove_container(id.as_str(), Some(options)).await
            })
            .await;
        match found(answer) {
            Ok(Some(())) => Ok(Removed::Removed),
            Ok(None) => Ok(Removed::NotFound),
            Err(error) if error.kind == ErrorKind::Conflict && error.message.contains("in progress") => {
                Ok(Removed::InProgress)
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Listed>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), pairs(labels))])),
            ..ListContainersOptions::default()
        };
        self.call(Operation::List, self.address.host(), Duration::ZERO, |session| async move {
            session.client.list_containers(Some(options)).await
        })
        .await?
        .into_iter()
        .map(convert::listed)
        .collect::<Result<_, _>>()
        .map_err(|missing| incomplete(Operation::List, self.address.host(), &missing))
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        plain(Operation::Inspect, id)?;
        let answer = self
            .call(Operation::Inspect, id, Duration::ZERO, |session| async move {
                session.client.inspect_container(id, None::<InspectContainerOptions>).await
            })
            .await;
        found(answer)?
            .map(convert::container)
            .transpose()
            .map_err(|missing| incomplete(Operation::Inspect, id, &missing))
    }

    async fn read(&self, id: &ContainerId, path: &Path, limit: usize) -> Result<Option<File>, EngineError> {
        let options = DownloadFromContainerOptions { path: path.to_string_lossy().into_owned() };
        let beginning = self
            .call(Operation::Read, id.as_str(), Duration::ZERO, |session| async move {
                let mut archive = session.client.download_from_container(id.as_str(), Some(options)).boxed();
                let mut beginning = Vec::new();
                while beginning.len() < limit.saturating_add(archive::HEADERS)
                    && let Some(piece) = archive.try_next().await?
                {
                    beginning.extend_from_slice(&piece);
                }
                Ok(beginning)
            })
            .await;
        let Some(beginning) = found(beginning)? else { return Ok(None) };
        archive::first_file(&beginning, limit).map(Some).map_err(|error| EngineError {
            operation: Operation::Read,
            subject: id.as_str().to_owned(),
            kind: ErrorKind::Incompatible,
            message: format!("not a Docker Engine's answer: {error}"),
        })
    }

    async fn stats(&self, id: &str) -> Result<Option<Usage>, EngineError> {
        // What it is now, without the second that an engine would wait to tell a rate.
        let options = StatsOptions { stream: false, one_shot: true };
        let answer = self
            .call(Operation::Stats, id, Duration::ZERO, |session| async move {
                session.client.stats(id, Some(options)).boxed().try_next().await
            })
            .await;
        Ok(found(answer)?.flatten().and_then(convert::usage))
    }

    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        let options = log::options(query);
        let items = self
            .open(Operation::Logs, id.as_str(), None, |client| client.logs(id.as_str(), Some(options)))
            .await?;
        let subject = id.as_str().to_owned();
        let chunks = items.map(move |item| match item {
            Ok(output) => log::chunk(query, output).map_err(|broken| EngineError {
                operation: Operation::Logs,
                subject: subject.clone(),
                kind: broken.kind(),
                message: broken.to_string(),
            }),
            Err(error) => Err(failed(Operation::Logs, &subject, &error)),
        });
        Ok(chunks.try_filter_map(futures::future::ok).boxed())
    }

    async fn events(
        &self,
        labels: &BTreeMap<String, String>,
        since: jiff::Timestamp,
    ) -> Result<BoxStream<'static, Result<Event, EngineError>>, EngineError> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        // Labels are not filtered by the engine: it would ask images for them, too.
        let options = EventsOptions {
            since: Some(convert::unix_time(since)),
            until: None,
            filters: Some(HashMap::from([
                ("type".to_owned(), words(&["container", "image"])),
                ("event".to_owned(), words(&event::ACTIONS)),
            ])),
        };
        let host = self.address.host().to_owned();
        let items = self.open(Operation::Events, &host, None, |client| client.events(Some(options))).await?;
        let wanted = labels.clone();
        Ok(items
            .map(move |item| match item {
                Ok(message) => {
                    convert::event(message).map_err(|missing| incomplete(Operation::Events, &host, &missing))
                }
                Err(error) => Err(failed(Operation::Events, &host, &error)),
            })
            .try_filter_map(move |event| {
                let event = event.filter(|event| match &event.kind {
                    EventKind::Container { labels, .. } => {
                        wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
                    }
                    EventKind::Image { .. } => true,
                });
                futures::future::ok(event)
            })
            .boxed())
    }
}

/// The client, made to note the head of its answers, and to send this header.
fn observing(session: &Session, head: &Head, registry_auth: Option<HeaderValue>) -> bollard::Docker {
    let head = head.clone();
    session.client.clone().with_request_modifier(move |mut request| {
        request.extensions_mut().insert(head.clone());
        if let Some(auth) = &registry_auth {
            request.headers_mut().insert(REGISTRY_AUTH, auth.clone());
        }
        request
    })
}

/// An absent object as a value.
fn found<T>(answer: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(operation: Operation, subject: &str, error: &ClientError) -> EngineError {
    let (kind, message) = classify::classify(operation, error);
    EngineError { operation, subject: subject.to_owned(), kind, message }
}

fn incomplete(operation: Operation, subject: &str, missing: &Missing) -> EngineError {
    EngineError {
        operation,
        subject: subject.to_owned(),
        kind: ErrorKind::Incompatible,
        message: format!("not a Docker Engine's answer: it lacks {}", missing.0),
    }
}

fn pairs(labels: &BTreeMap<String, String>) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Names become part of a URL's path and must not change its meaning.
fn plain(operation: Operation, name: &str) -> Result<(), EngineError> {
    let characters = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@+".contains(c));
    if characters && !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(());
    }
    Err(EngineError {
        operation,
        subject: name.to_owned(),
        kind: ErrorKind::Refused,
        message: "not a name that an engine could hold".to_owned(),
    })
}

#[cfg(test)]
mod tests;
