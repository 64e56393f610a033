//! `plugward completions`: shells that know the commands, and the names of what runs.
//!
//! The script that is printed asks this program anew for each word, by an environment variable: so names come from the
//! controller that runs, and a new version needs no new script.

mod words;

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::{Failed, format};

pub(super) use words::{fields, instances, kinds, names, objects, subjects};

/// Set by the scripts when they ask for words.
const VARIABLE: &str = "PLUGWARD_COMPLETE";

#[derive(Debug, Args)]
#[command(after_help = "\
bash:  echo 'source <(plugward completions bash)' >> ~/.bashrc
zsh:   echo 'source <(plugward completions zsh)' >> ~/.zshrc
fish:  echo 'plugward completions fish | source' > ~/.config/fish/completions/plugward.fish")]
pub(super) struct Arguments {
    /// The shell that reads the script.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    format::print(&script(arguments.shell)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Answers a shell, and ends, when one asked.
pub(super) fn answer() {
    CompleteEnv::with_factory(super::Arguments::command).var(VARIABLE).complete();
}

fn script(shell: Shell) -> Result<String, Failed> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    // The program is the one in PATH when a word is asked for, as its name was typed.
    shell.write_registration(VARIABLE, "plugward", "plugward", "plugward", &mut script)?;
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests;
