//! One conversation: greeting the plugin, connecting again where that is cut, and attending to it until it ends.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use go_plugin::{Expected, Fed, Handshake, LineReader};
use jiff::Timestamp;
use plugward_api::instance::Probe;
use plugward_api::{PluginInstanceSpec, RestartReason};
use plugward_engine::LogQuery;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Opening, Shared, key};
use crate::death::cause_of_death;
use crate::desired;
use crate::gateway::{Backend, Broken};
use crate::gvisor::{hides_the_socket, is_gvisor};
use crate::names::SlotName;
use crate::output::OutputLines;
use crate::plan::SessionSight;
use crate::plugin::{Conversation, PluginAddress, PluginError};
use crate::probe::{Unresponsive, probe};
use crate::recipe::BrokerMode;
use crate::state::BrokerUse;

/// How long a plugin whose connection ended may take to accept another.
const RECONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait between tries to reach a plugin or its log.
const RETRY: Duration = Duration::from_millis(100);

/// How long a socket may take to appear after the line that names it. A plugin makes it before.
const APPEARANCE: Duration = Duration::from_millis(500);

/// A plugin that said that it serves.
struct Connected {
    conversation: Arc<dyn Conversation>,
    multiplexes: bool,
}

/// Why a conversation cannot go on.
struct Failure {
    reason: RestartReason,
    message: String,
    since: Timestamp,
}

/// The other side of a conversation.
struct Partner {
    opening: Opening,
    /// What is broken of it.
    broke: OnceLock<Broken>,
    /// That something is.
    news: Notify,
}

/// A conversation.
pub(super) struct Talk {
    shared: Arc<Shared>,
    /// Shared with the gateway.
    partner: Arc<Partner>,
}

// === impl Talk ===

impl Talk {
    /// One that is about to begin.
    pub(super) fn new(shared: Arc<Shared>, opening: Opening) -> Self {
        let partner = Arc::new(Partner { opening, broke: OnceLock::new(), news: Notify::new() });
        Self { shared, partner }
    }

    /// Goes on until it cannot.
    pub(super) async fn run(self) {
        let Err(failure) = self.talk().await;
        tracing::debug!(reason = failure.reason.as_str(), message = failure.message, "conversation failed");
        let Failure { reason, message, since } = failure;
        self.shared.gateway.down(&self.opening().place);
        self.show(SessionSight::Failed { reason, message, since }, None);
    }

    async fn talk(&self) -> Result<Infallible, Failure> {
        // Thousands of conversations that just go on should not hold room for all that began them: hence the boxes.
        let (line, mut connected) = Box::pin(self.greet()).await?;
        let since = self.opening().ready_at.unwrap_or_else(|| self.shared.clock.now());
        loop {
            if self.shared.state.broker(&self.opening().place.id) == Some(BrokerUse::Used) {
                return Err(self.breakage(Broken::Broker));
            }
            let Connected { conversation, multiplexes } = connected;
            // One that cannot tell mounts apart serves one at the most: each gets a container of its own now.
            if multiplexes || self.opening().slot != SlotName::Shared || self.mounts() < 2 {
                self.shared.gateway.up(self.backend(&line, conversation.clone(), multiplexes));
            }
            if self.opening().slot.is_spare() {
                // Hosts will come all at once, and wait for nothing.
                conversation.warm();
            }
            let ready = SessionSight::Ready { handshake: line.clone(), since };
            self.show(ready, Some(conversation.clone()));
            self.attend(conversation.as_ref()).await?;
            self.shared.gateway.down(&self.opening().place);
            self.show(SessionSight::Connecting, None);
            connected = Box::pin(self.connect_again(&line)).await?;
        }
    }

    fn opening(&self) -> &Opening {
        &self.partner.opening
    }

    /// Connects to a plugin that starts, or to one that another controller has left.
    async fn greet(&self) -> Result<(Arc<str>, Connected), Failure> {
        let deadline = Instant::now() + self.opening().recipe.start_timeout;
        let line = self.line(deadline).await?;
        let address = self.address(&line)?;
        if address.shared && self.opening().ready_at.is_some() {
            let message = "it had one connection, which ended with the controller that had made it";
            return Err(self.failure(RestartReason::NotAdoptable, message));
        }
        let connected = self.connect(&address, deadline, self.start_reason()).await?;
        Ok((line, connected))
    }

    /// Connects to a plugin whose connection ended.
    async fn connect_again(&self, line: &str) -> Result<Connected, Failure> {
        let lost_at = self.shared.clock.now();
        let limit = Instant::now() + RECONNECT_LIMIT;
        let address = self.address(line)?;
        let again = if address.shared {
            // It is about to end, and the engine to say so.
            sleep_until(limit).await;
            Err(self
                .failure(RestartReason::Unhealthy, "its one connection ended, and it did not end with that"))
        } else {
            self.connect(&address, limit, RestartReason::Unhealthy).await
        };
        // It is of no use since its connection ended, not since we gave it up.
        again.map_err(|failure| Failure { since: lost_at, ..failure })
    }

    /// The plugin's handshake line: the stored one, else the first line of the container's log.
    async fn line(&self, deadline: Instant) -> Result<Arc<str>, Failure> {
        match &self.opening().handshake {
            Some(line) => Ok(line.clone()),
            None => match timeout_at(deadline, self.read_line()).await {
                Ok(line) => Ok(String::from_utf8_lossy(&line?).into()),
                Err(_) => Err(self.failed("no handshake line on standard output within the start timeout")),
            },
        }
    }

    /// What a handshake line says of the way to the plugin.
    fn address(&self, line: &str) -> Result<PluginAddress, Failure> {
        let handshake =
            Handshake::parse(line.as_bytes()).map_err(|error| self.failed(crate::errors::chain(&error)))?;
        let opening = self.opening();
        let versions = opening.recipe.container.protocol.versions().to_vec();
        let broker = opening.recipe.container.broker;
        let expected = Expected { versions, automtls: true, multiplex_broker: broker == BrokerMode::Shared };
        handshake.check(&expected).map_err(|error| self.failed(crate::errors::chain(&error)))?;
        Ok(PluginAddress {
            directory: opening.directory.clone(),
            shared: broker.is_shared(&handshake),
            handshake,
            identity: opening.identity.clone(),
            group: opening.group,
        })
    }

    /// Reads the log until its first line is complete. A log that ends before (the engine went away, the
    /// container ended) is begun again: the engine says what became of the container.
    async fn read_line(&self) -> Result<Vec<u8>, Failure> {
        let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
        loop {
            if let Ok(mut log) = self.opening().engine.logs(&self.opening().place.id, query).await {
                let mut reader = LineReader::default();
                while let Some(Ok(chunk)) = log.next().await {
                    match reader.feed(&chunk.bytes) {
                        Ok(Fed::Line { line, .. }) => return Ok(line),
                        Ok(Fed::More) => {}
                        Err(error) => return Err(self.failed(crate::errors::chain(&error))),
                    }
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Connects and asks for health until the plugin is healthy, it can never be, or time is up.
    async fn connect(
        &self,
        address: &PluginAddress,
        deadline: Instant,
        reason: RestartReason,
    ) -> Result<Connected, Failure> {
        let begun = Instant::now();
        let starts = reason == RestartReason::HandshakeFailed;
        let runtime = &self.opening().recipe.container.oci_runtime;
        let mut last = PluginError::transient("no answer");
        let mut only: Option<Arc<dyn Conversation>> = None;
        loop {
            let attempt = async {
                let conversation = match &only {
                    Some(only) => only.clone(),
                    None => self.shared.plugins.connect(address).await?,
                };
                only = Some(conversation.clone()).filter(|_| address.shared);
                conversation.health().await?;
                let multiplexes = self.multiplexes(conversation.as_ref()).await?;
                Ok::<_, PluginError>(Connected { conversation, multiplexes })
            };
            match timeout_at(deadline, attempt).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) if error.permanent || (address.shared && only.is_none()) => {
                    return Err(self.failure(reason, error.message));
                }
                Ok(Err(error))
                    if error.no_socket && starts && begun.elapsed() >= APPEARANCE && is_gvisor(runtime) =>
                {
                    return Err(self.failure(reason, hides_the_socket(runtime)));
                }
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
            if Instant::now() + RETRY >= deadline {
                return Err(self.failure(reason, format!("not usable in time: {}", last.message)));
            }
            sleep(RETRY).await;
        }
    }

    /// Whether the plugin multiplexes: it is asked once for each image.
    async fn multiplexes(&self, conversation: &dyn Conversation) -> Result<bool, PluginError> {
        let image = &self.opening().image;
        if let Some(known) = self.shared.state.multiplexes(image) {
            return Ok(known);
        }
        let multiplexes = conversation.multiplexes().await?;
        self.shared.state.learn_multiplexes(image, multiplexes);
        Ok(multiplexes)
    }

    /// The container as the gateway is told of it.
    fn backend(&self, line: &str, conversation: Arc<dyn Conversation>, multiplexes: bool) -> Backend {
        let Opening { instance, slot, place, start, .. } = self.opening();
        let (dying, breaking) = (self.partner.clone(), self.partner.clone());
        Backend {
            instance: instance.clone(),
            slot: slot.clone(),
            start: *start,
            place: place.clone(),
            conversation,
            multiplexes,
            // It was parsed before.
            protocol_version: Handshake::parse(line.as_bytes()).map_or(0, |handshake| handshake.app_version),
            died: Arc::new(move || {
                let Opening { engine, place, .. } = &dying.opening;
                match dying.broke.get() {
                    Some(what) => std::future::ready(what.to_string()).boxed(),
                    None => cause_of_death(engine.clone(), place.clone()).boxed(),
                }
            }),
            broke: Arc::new(move |what| {
                // The first is reason enough.
                let _ = breaking.broke.set(what);
                breaking.news.notify_one();
            }),
            broker_spent: self.shared.state.broker(&place.id).is_some(),
        }
    }

    /// How the plugin is probed now, whenever that is asked. Among ten thousand records it is looked for only after one has changed.
    fn probing(&self) -> impl FnMut() -> Probe {
        let mut known: Option<(u64, Probe)> = None;
        move || {
            // Before the record: what changes meanwhile is looked for the next time.
            let version = self.shared.records.version();
            match &known {
                Some((at, probe)) if *at == version => probe.clone(),
                _ => {
                    let probe = self.declared(|spec| spec.probe.clone()).unwrap_or_default();
                    known.insert((version, probe)).1.clone()
                }
            }
        }
    }

    /// How many mounts the instance has now.
    fn mounts(&self) -> usize {
        self.declared(|spec| spec.mounts.len()).unwrap_or_default()
    }

    /// What the record says now.
    fn declared<T>(&self, read: impl FnOnce(&PluginInstanceSpec) -> T) -> Option<T> {
        desired::declared_of(&self.opening().instance, &self.shared.records, read)
    }

    /// Writes the plugin's output to the log, and probes it, until the connection ends, or the plugin answers no more or breaks the rules.
    async fn attend(&self, conversation: &dyn Conversation) -> Result<(), Failure> {
        let output = async {
            let mut pieces = conversation.stdio();
            let mut lines = OutputLines::default();
            while let Some((channel, piece)) = pieces.next().await {
                self.shared.gateway.wrote(&self.opening().place, channel, &piece);
                lines.push(channel, &piece, |line| {
                    tracing::debug!(target: "plugward::plugin", ?channel, line, "plugin output");
                });
            }
            std::future::pending::<()>().await;
        };
        let container = self.opening().place.id.as_str();
        let told = |answered| self.shared.metrics.probed(&self.opening().instance, answered);
        let probe = probe(conversation, self.probing(), told, container, self.shared.clock);
        tokio::select! {
            () = conversation.closed() => Ok(()),
            () = output => Ok(()),
            Unresponsive { since, message } = probe => {
                Err(Failure { reason: RestartReason::Unhealthy, message, since })
            }
            broken = self.broken() => Err(self.breakage(broken)),
        }
    }

    fn breakage(&self, what: Broken) -> Failure {
        let reason = match what {
            Broken::Rules(_) => RestartReason::ProtocolError,
            Broken::Broker => RestartReason::NotAdoptable,
        };
        self.failure(reason, what.to_string())
    }

    /// Resolves when something is broken of the plugin.
    async fn broken(&self) -> Broken {
        loop {
            if let Some(what) = self.partner.broke.get() {
                return *what;
            }
            self.partner.news.notified().await;
        }
    }

    fn show(&self, sight: SessionSight, conversation: Option<Arc<dyn Conversation>>) {
        if let Some(entry) = self.shared.lock().get_mut(&key(&self.opening().place)) {
            entry.sight = sight;
            entry.conversation = conversation;
        }
        (self.shared.wake)(&self.opening().instance);
    }

    fn failed(&self, message: impl Into<String>) -> Failure {
        self.failure(self.start_reason(), message)
    }

    fn failure(&self, reason: RestartReason, message: impl Into<String>) -> Failure {
        Failure { reason, message: message.into(), since: self.shared.clock.now() }
    }

    /// As what a start counts that does not come to a conversation: one that had come to it before this
    /// controller began could not be adopted.
    fn start_reason(&self) -> RestartReason {
        if self.opening().ready_at.is_some() {
            RestartReason::NotAdoptable
        } else {
            RestartReason::HandshakeFailed
        }
    }
}
