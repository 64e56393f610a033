//! Writing without end.

use std::{
    io::{self, Write},
    thread,
};

use clap::ValueEnum;
use go_plugin::{StdioChannel, serve::Output};

/// What to flood.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Channel {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The output that the host reads over its connection.
    Stdio,
}

/// Begins, and goes on until nobody is there to read.
pub(crate) fn start(channel: Channel, output: Output) {
    match channel {
        Channel::Stdout => write(io::stdout),
        Channel::Stderr => write(io::stderr),
        Channel::Stdio => {
            tokio::spawn(async move {
                for number in 0_u64.. {
                    output.write(StdioChannel::Stdout, line(number)).await;
                }
            });
        }
    }
}

/// The first line is written when this returns. The others are written in a thread of their own, since writing blocks while
/// nobody reads.
fn write<W: Write + 'static>(open: fn() -> W) {
    let mut lines = (0_u64..).map(move |number| open().write_all(line(number).as_bytes()));
    if let Some(Ok(())) = lines.next() {
        thread::spawn(move || lines.all(|written| written.is_ok()));
    }
}

fn line(number: u64) -> String {
    format!("[INFO] line {number} of a flood that nobody wants to read\n")
}
