//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C.

#![allow(clippy::doc_markdown, reason = "these doc comments are help texts, printed as they are")]

mod advice;
mod apply;
mod client;
mod colours;
mod completions;
mod delete;
mod describe;
mod events;
mod explain;
#[cfg(test)]
mod fake;
mod following;
mod format;
mod get;
#[cfg(test)]
mod golden;
mod hclog;
mod host;
mod logs;
mod progress;
mod reattach;
mod records;
mod resource;
mod restart;
mod rights;
mod run;
mod schema;
mod selector;
mod sort;
mod status;
mod table;
mod validate;
mod wait;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::errors::chain;

/// Run go-plugin plugins in containers, and keep them running.
#[derive(Debug, Parser)]
#[command(name = "plugward", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until SIGTERM or Ctrl-C.
    Run(run::Arguments),
    /// Check manifests and say everything that is wrong with them.
    Validate(validate::Arguments),
    /// Print the JSON Schema or the CustomResourceDefinition of a kind.
    Schema(schema::Arguments),
    /// Show on one screen how all stands, and what is wrong now.
    Status(status::Arguments),
    /// Show runtimes and instances with their status.
    Get(get::Arguments),
    /// Show what the fields of a record mean.
    Explain(explain::Arguments),
    /// Show everything that is known about a record.
    Describe(describe::Arguments),
    /// Show what happened to instances lately.
    Events(events::Arguments),
    /// Show what the plugins of an instance write to their logs.
    Logs(logs::Arguments),
    /// Put records into the controller's directory of manifests.
    Apply(apply::Arguments),
    /// Delete records.
    Delete(delete::Arguments),
    /// Replace the containers of an instance by new ones.
    Restart(restart::Arguments),
    /// Show what a host needs to use an instance as if it were a plugin's binary.
    Host(host::Arguments),
    /// Print a script that makes a shell complete commands and names.
    Completions(completions::Arguments),
    /// Print the version.
    Version,
}

/// What a command failed with: a text for standard error.
type Failed = Box<dyn std::error::Error>;

/// Runs a command.
pub fn main() -> ExitCode {
    completions::answer();
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Get(arguments) => get::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Describe(arguments) => describe::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Apply(arguments) => apply::run(&arguments),
        Command::Delete(arguments) => delete::run(&arguments),
        Command::Restart(arguments) => restart::run(&arguments),
        Command::Host(arguments) => host::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Version => {
            format::print(&format!("plugward {}\n", env!("CARGO_PKG_VERSION"))).map(|()| ExitCode::SUCCESS)
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("plugward: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
