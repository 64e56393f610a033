//! The program `plugward`: see the crate's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    plugward::cli::main()
}
