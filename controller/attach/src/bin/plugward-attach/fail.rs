//! Why there is no session, or no more. Each is one line on stderr, and exit code 1.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use plugward_attach::socket::MAX_PACKET;
use plugward_attach::{VERSION, WireError};

use crate::arguments::WrongUsage;
use crate::place::PlaceError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fail {
    #[error(transparent)]
    Usage(#[from] WrongUsage),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot set the handler of a signal")]
    Signal(#[source] io::Error),
    #[error("cannot print to stdout")]
    Print(#[source] io::Error),
    #[error(
        "no controller answers at {}: see that `plugward run` runs (`systemctl status plugward`)",
        socket.display()
    )]
    Absent { socket: PathBuf, source: io::Error },
    #[error(
        "this user may not connect to {}: name it in `attach.users` or `attach.groups` of the instance, and see that it can \
         reach that directory",
        socket.display()
    )]
    Forbidden { socket: PathBuf, source: io::Error },
    #[error("cannot connect to the controller at {}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("cannot talk to the controller")]
    Talk(#[source] io::Error),
    #[error("cannot wait for the controller")]
    Wait(#[source] io::Error),
    #[error(
        "the environment variables that the plugin is to get are more than the {MAX_PACKET} bytes that can be passed: set fewer, or \
         shorter ones, of those in `attach.passEnv` of the instance"
    )]
    Environment,
    #[error(
        "the controller speaks version {version} of the protocol, and this launcher {VERSION}: install the plugward-attach of the \
         controller's version"
    )]
    Version { version: u16 },
    #[error(
        "the controller says what this launcher does not understand: install the plugward-attach of the controller's version"
    )]
    Message(#[from] WireError),
    #[error(
        "the controller sent `{message}` where it makes no sense: install the plugward-attach of the controller's version, or \
         report it"
    )]
    Unexpected { message: &'static str },
    #[error("{0}")]
    Refused(String),
    #[error("the controller has gone, and this session cannot go on without it: start the plugin again")]
    Gone,
    #[error(
        "the controller has gone, and did not come back within {} seconds: see that `plugward run` runs (`systemctl status \
         plugward`), and start the plugin again",
        patience.as_secs_f32()
    )]
    Patience { patience: Duration },
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line.push_str(": ");
        line.push_str(&source.to_string());
        next = source.source();
    }
    line
}
