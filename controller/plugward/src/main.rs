//! The program `plugward`: see the crate's documentation.

use std::process::ExitCode;

/// The system's own keeps what thousands of starts freed, in pieces: twice the memory for ten thousand instances.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plugward::cli::main()
}
