//! What can be printed instead of a handshake.

use std::{
    io::{self, Write},
    thread,
};

/// Prints exactly this, at once.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints one line for ever, as fast as it is read.
pub(crate) fn print_endless() {
    // Writing blocks while nobody reads, and must not keep the process from noticing signals.
    thread::spawn(|| while print(&"x".repeat(4096)).is_ok() {});
}
