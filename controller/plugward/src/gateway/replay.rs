//! Makes the calls again that hosts made to make a plugin usable.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use plugward_relay::grpc::{Code, Status};
use plugward_runtime::Backoff;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::instance::{Berthed, Instance};
use super::multiplex::HostId;
use super::priming::{KeptCall, Telling};
use super::seat::{Serial, Work};
use super::{backend, made};
use crate::metrics::StartPhase;
use crate::names::MountName;

/// The time that one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The users of one mount that are told at the same time.
const AT_ONCE: usize = 8;

/// How long to wait before the first repetition, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How long the end of a container may take to be known: what a container did not answer because it died is not its failure.
const DEATH_LIMIT: Duration = Duration::from_secs(1);

/// The wait after so many failures before this one.
pub(super) fn delay(failures: u32) -> Duration {
    // These make a backoff.
    Backoff::new(BACKOFF.0, BACKOFF.1).map_or(BACKOFF.1, |backoff| backoff.delay(failures, rand::random()))
}

/// Tells a container what is kept of a mount, until there is nothing more to tell.
pub(super) fn spawn(instance: &Arc<Instance>, serial: Serial, mount: MountName) {
    let span = tracing::info_span!(parent: None, "priming", instance = %instance.name, %mount);
    tokio::spawn(run(instance.clone(), serial, mount).instrument(span));
}

async fn run(instance: Arc<Instance>, serial: Serial, mount: MountName) {
    let mut changes = instance.changes();
    let mut begun = None;
    loop {
        changes.mark_unchanged();
        match instance.work(serial, &mount) {
            Work::Done => {
                if let Some(took) = begun.map(|begun: Instant| begun.elapsed()) {
                    instance.parts.metrics.start_took(StartPhase::Replay, took);
                }
                return;
            }
            Work::Tell(tellings) => {
                begun.get_or_insert_with(Instant::now);
                let telling = |telling| tell(&instance, serial, &mount, telling);
                futures::stream::iter(tellings).for_each_concurrent(AT_ONCE, telling).await;
            }
            Work::Until(at) => {
                let wait = instance.parts.clock.until(at);
                tokio::select! {
                    () = sleep(wait) => {}
                    _ = changes.changed() => {}
                }
            }
            Work::Change => {
                // Its sender is the instance's.
                let _ = changes.changed().await;
            }
        }
    }
}

async fn tell(instance: &Arc<Instance>, serial: Serial, mount: &MountName, telling: Telling) {
    let Some(berthed) = instance.berthed(serial) else { return };
    let container = &berthed.backend.place.name;
    // What the calls may be about that hosts offer.
    instance.show_brokers(&berthed, mount);
    let mut result = Ok(());
    for (method, call) in &telling.calls {
        result = make(instance, &berthed, mount, &telling.host, method, call).await;
        instance.parts.metrics.replayed(&instance.name, result.is_ok());
        let trace_id = call.trace().map(tracing::field::display);
        match &result {
            Ok(()) => tracing::info!(container, method, trace_id, "a priming call was made again"),
            // Not the message: it may repeat what the call said.
            Err(failure) => {
                tracing::warn!(
                    container,
                    method,
                    trace_id,
                    code = failure.code().as_str(),
                    "a priming call failed when it was made again"
                );
                break;
            }
        }
    }
    if let Err(Failure::NoAnswer(_)) = &result {
        // Whether that was its end is known soon. What is told of a container that is gone is not heard.
        let gone = async {
            let mut changes = instance.changes();
            while instance.is_up(serial) && changes.changed().await.is_ok() {}
        };
        let _ = timeout(DEATH_LIMIT, gone).await;
    }
    instance.told(serial, mount, &telling, result.map_err(Failure::into_status));
}

/// Why a call did not do what it had done before.
enum Failure {
    Answer(Status),
    NoAnswer(Status),
}

async fn make(
    instance: &Arc<Instance>,
    berthed: &Arc<Berthed>,
    mount: &MountName,
    host: &HostId,
    method: &str,
    call: &KeptCall,
) -> Result<(), Failure> {
    let name = method.rsplit('/').next().unwrap_or(method);
    let call =
        made::call(instance, berthed, mount, host, method, call, CALL_LIMIT).map_err(Failure::Answer)?;
    match berthed.backend.conversation.call(call).await {
        Ok(answer) if answer.code == 0 => match backend::error_in(method, &answer.message) {
            None => Ok(()),
            Some(error) => Err(Failure::Answer(Status::new(Code::Unknown, format!("{name}: {error}")))),
        },
        Ok(answer) => {
            let message = format!("{name}: {}", answer.status_message);
            Err(Failure::Answer(Status::new(made::code_of(&answer), message)))
        }
        Err(error) => Err(Failure::NoAnswer(Status::unavailable(format!("{name}: {error}")))),
    }
}

// === impl Failure ===

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Answer(status) | Self::NoAnswer(status) => status.code,
        }
    }

    fn into_status(self) -> Status {
        match self {
            Self::Answer(status) | Self::NoAnswer(status) => status,
        }
    }
}
