//! Commands that go on (`--watch`, `--follow`): over restarts of the controller, until Ctrl-C.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::Failed;
use super::client::Controller;
use crate::control::client::{self, ClientError};

/// What shells say of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 128 + 2;

/// How often to look whether the controller is back.
const LOOK: Duration = Duration::from_millis(500);

/// A controller that is followed.
pub(super) struct Following<'a> {
    controller: &'a Controller,
    interrupts: Signal,
    /// Whether it was there: one that never was is not waited for.
    was_there: bool,
}

/// Why no more lines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// Who follows has seen enough.
    Left,
    /// Ctrl-C.
    Interrupted,
    /// The controller was away, and is back: who follows asks again.
    Back,
}

/// How a command ends that Ctrl-C ended.
pub(super) fn interrupted() -> ExitCode {
    ExitCode::from(INTERRUPTED)
}

impl<'a> Following<'a> {
    /// From here on Ctrl-C ends nothing by itself.
    pub(super) fn new(controller: &'a Controller) -> Result<Self, Failed> {
        let interrupts = controller.run(async { signal(SignalKind::interrupt()) })?;
        Ok(Self { controller, interrupts, was_there: false })
    }

    /// Hands on the lines of an answer that does not end, until `each` breaks, Ctrl-C, or the controller was away and is back,
    /// which is said on standard error.
    pub(super) fn until_left(
        &mut self,
        path: &str,
        each: impl FnMut(Value) -> ControlFlow<()>,
    ) -> Result<Followed, Failed> {
        let Self { controller, interrupts, .. } = self;
        let lines = client::lines(controller.socket(), path, each);
        let ended = controller.run(async {
            tokio::select! {
                biased;
                _ = interrupts.recv() => None,
                ended = lines => Some(ended),
            }
        });
        match ended {
            None => Ok(Followed::Interrupted),
            Some(Ok(())) => Ok(Followed::Left),
            // It was asked, and answered.
            Some(Err(ClientError::Ended | ClientError::Http(_))) => self.until_back(),
            Some(Err(ClientError::Connect { .. } | ClientError::TimedOut)) if self.was_there => {
                self.until_back()
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Waits until a controller is there that knows what is declared.
    fn until_back(&mut self) -> Result<Followed, Failed> {
        eprintln!("plugward: the controller is away: waiting until it is back");
        self.was_there = true;
        let Self { controller, interrupts, .. } = self;
        let back = async {
            loop {
                match client::get(controller.socket(), "/v1/controller").await {
                    Ok(itself) if itself["synced"] == true => return Ok(()),
                    Ok(_)
                    | Err(ClientError::Connect { .. } | ClientError::TimedOut | ClientError::Http(_)) => {}
                    Err(error) => return Err(error),
                }
                sleep(LOOK).await;
            }
        };
        controller.run(async {
            tokio::select! {
                biased;
                _ = interrupts.recv() => Ok(Followed::Interrupted),
                back = back => {
                    back?;
                    eprintln!("plugward: the controller is back");
                    Ok(Followed::Back)
                }
            }
        })
    }
}
