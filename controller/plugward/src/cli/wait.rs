//! `--wait`: until records stand as they were asked to.
//!
//! The controller is asked, again and again, how the records stand, rather than followed: what counts is what is true at
//! last, also over a restart of the controller in between.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use plugward_api::{Kind, Name};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::following::interrupted;
use super::format::{printable, text};
use super::progress::Board;
use super::{Failed, advice, client, records};
use crate::control::client::ClientError;

/// How often the controller is asked.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Wait until it is done: instances are ready, runtimes available, what is deleted is gone. Ctrl-C ends the wait alone.
    #[arg(long)]
    wait: bool,

    /// How long to wait at the most, like 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait")]
    timeout: plugward_api::Duration,
}

/// A record that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) until: Until,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Until {
    /// It works as this generation says, and none of these containers is its any more.
    Works { generation: u64, without: Vec<String> },
    /// It is gone.
    Gone,
}

/// How a record stands, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// As it was asked to.
    Done(String),
    /// On its way there.
    OnItsWay(String),
    /// It will not get there by itself.
    Refused(String),
}

/// Why a wait ended.
enum End {
    Settled,
    TimedOut,
    Interrupted,
}

// === impl Patience ===

impl Patience {
    /// Waits, if that was asked for. The exit code says whether all stand as they were asked to.
    pub(super) fn wait(
        &self,
        controller: &client::Controller,
        awaited: &[Awaited],
    ) -> Result<ExitCode, Failed> {
        if !self.wait || awaited.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let mut standings =
            vec![Standing::OnItsWay("the controller does not answer".to_owned()); awaited.len()];
        let mut board = Board::of_output();
        let end = controller.run(async {
            let limit = sleep(self.timeout.get());
            let mut interrupt = signal(SignalKind::interrupt())?;
            let resize = signal(SignalKind::window_change())?;
            Ok::<_, std::io::Error>(tokio::select! {
                biased;
                _ = interrupt.recv() => End::Interrupted,
                () = rounds(controller, awaited, &mut standings, &mut board, resize) => End::Settled,
                () = limit => End::TimedOut,
            })
        })?;
        match end {
            End::Interrupted => {
                board.leave();
                eprintln!(
                    "plugward: interrupted; what was asked for goes on: `plugward get instances -w` shows it"
                );
                return Ok(interrupted());
            }
            End::Settled | End::TimedOut => {}
        }
        let failures: Vec<String> = awaited
            .iter()
            .zip(&standings)
            .filter_map(|(awaited, standing)| awaited.failure(standing, self.timeout.get()))
            .collect();
        for failure in &failures {
            eprintln!("plugward: {failure}");
        }
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Asks until nothing is on its way any more, and shows how things stand.
async fn rounds(
    controller: &client::Controller,
    awaited: &[Awaited],
    standings: &mut [Standing],
    board: &mut Board,
    mut resize: Signal,
) {
    loop {
        for (awaited, standing) in awaited.iter().zip(&mut *standings) {
            if matches!(standing, Standing::OnItsWay(_)) {
                *standing = awaited.judge(controller.look(awaited.kind, &awaited.name).await);
            }
        }
        let lines: Vec<String> =
            awaited.iter().zip(&*standings).map(|(awaited, standing)| awaited.line(standing)).collect();
        board.draw(&lines);
        if standings.iter().all(|standing| !matches!(standing, Standing::OnItsWay(_))) {
            return;
        }
        tokio::select! {
            () = sleep(POLL) => {}
            _ = resize.recv() => board.redraw(),
        }
    }
}

// === impl Awaited ===

impl Awaited {
    /// How the record stands, from what the controller said of it: nothing where there is none.
    fn judge(&self, answer: Result<Option<Value>, ClientError>) -> Standing {
        let object = match answer {
            Ok(object) => object,
            // It may be restarted at the moment.
            Err(error) => return Standing::OnItsWay(error.to_string()),
        };
        match (&self.until, object) {
            (Until::Gone, None) => Standing::Done("gone".to_owned()),
            // The built-in runtime is there while it is used, and declared by nobody.
            (Until::Gone, Some(object))
                if self.kind == Kind::PluginRuntime && object.pointer("/metadata/generation").is_none() =>
            {
                Standing::Done("gone".to_owned())
            }
            (Until::Gone, Some(object)) => Standing::OnItsWay(told(&object)),
            (Until::Works { .. }, None) => Standing::OnItsWay("not read yet".to_owned()),
            (Until::Works { generation, without }, Some(object)) => {
                if number(&object, "/metadata/generation") < *generation {
                    Standing::OnItsWay("not read yet".to_owned())
                } else if number(&object, "/status/observedGeneration") < *generation {
                    Standing::OnItsWay("not looked at yet".to_owned())
                } else {
                    match self.kind {
                        Kind::PluginInstance => instance(&object, without),
                        Kind::PluginRuntime => runtime(&object),
                    }
                }
            }
        }
    }

    /// `plugininstance/orders: Starting: …`
    fn line(&self, standing: &Standing) -> String {
        let (Standing::Done(text) | Standing::OnItsWay(text) | Standing::Refused(text)) = standing;
        format!("{}/{}: {}", self.kind.singular(), self.name, printable(text))
    }

    /// What is said at the end of a record that does not stand as it was asked to.
    fn failure(&self, standing: &Standing, limit: Duration) -> Option<String> {
        let Self { kind, name, until } = self;
        let next = format!("`plugward describe {} {name}` shows more", kind.bare());
        let record = format!("{}/{name}", kind.singular());
        match standing {
            Standing::Done(_) => None,
            Standing::Refused(why) => {
                Some(format!("{record} cannot work: {}; change its manifest; {next}", printable(why)))
            }
            Standing::OnItsWay(why) => {
                let what = match until {
                    Until::Works { .. } => "does not work",
                    Until::Gone => "is not gone",
                };
                Some(format!(
                    "{record} {what} after {} s: {}; {next}, a longer --timeout waits on",
                    limit.as_secs(),
                    printable(why)
                ))
            }
        }
    }
}

fn instance(object: &Value, without: &[String]) -> Standing {
    if records::is(object, "Accepted", "False") {
        return Standing::Refused(told(object));
    }
    let stays = records::list(object, "/status/slots")
        .iter()
        .any(|slot| without.iter().any(|name| name == text(slot, "/containerName")));
    let settled = matches!(text(object, "/status/phase"), "Ready" | "Idle");
    if settled && !stays && records::is(object, "Ready", "True") {
        Standing::Done(text(object, "/status/phase").to_owned())
    } else {
        Standing::OnItsWay(told(object))
    }
}

fn runtime(object: &Value) -> Standing {
    let condition = ["EngineReachable", "RuntimeAvailable"]
        .into_iter()
        .find(|condition| !records::is(object, condition, "True"));
    match condition.and_then(|condition| records::condition(object, condition)) {
        Some(condition) => {
            Standing::OnItsWay(format!("{}: {}", text(condition, "/reason"), text(condition, "/message")))
        }
        None => Standing::Done("Available".to_owned()),
    }
}

/// The phase of an object, and the cause of it.
fn told(object: &Value) -> String {
    let phase = Some(text(object, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending");
    advice::cause_in_words(object).map_or_else(|| phase.to_owned(), |cause| format!("{phase}: {cause}"))
}

fn number(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests;
