//! The launcher. What it is for, and how it goes about it, is in the library's documentation.

mod arguments;
mod dial;
mod fail;
mod listener;
mod place;
mod session;
mod stderr;
mod wait;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arguments::Command;
use fail::Fail;
use place::{Place, Surroundings};
use session::{Ended, Session};
use stderr::Stderr;
use wait::Parent;

fn main() -> ExitCode {
    let stderr = match Stderr::start() {
        Ok(stderr) => stderr,
        Err(error) => {
            let _ = writeln!(io::stderr(), "plugward-attach: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match run(&stderr) {
        Ok(code) => code,
        Err(fail) => {
            stderr.line(&fail::chain(&fail));
            1
        }
    };
    stderr.finish();
    ExitCode::from(code)
}

fn run(stderr: &Stderr) -> Result<u8, Fail> {
    let wanted = match arguments::parse(std::env::args_os())? {
        Command::Attach(wanted) => wanted,
        Command::Tell(text) => {
            return io::stdout().write_all(text.as_bytes()).map(|()| 0).map_err(Fail::Print);
        }
    };
    survive_interrupts()?;
    let parent = match Parent::of_process() {
        Ok(parent) => parent,
        // It is not there to be told.
        Err(wait::ParentEnded) => return Ok(1),
    };
    let place = Place::find(&wanted, &Surroundings::of_process())?;
    // It is not there to be told either.
    let Some(mut session) = Session::begin(place.socket(), wanted.instance, parent, stderr)? else {
        return Ok(1);
    };
    let ended = session.run();
    session.remove_sockets();
    match ended? {
        Ended::ByController { code, message } => {
            if let Some(message) = message {
                stderr.line(&message);
            }
            Ok(code)
        }
        Ended::ByHost => Ok(1),
    }
}

/// Ctrl-C in a terminal reaches the host's whole process group. The host says when the session ends, as it does with plugins
/// that it starts.
fn survive_interrupts() -> Result<(), Fail> {
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))
        .map(drop)
        .map_err(Fail::Signal)
}
