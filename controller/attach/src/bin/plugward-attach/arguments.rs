//! The command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The name under which no instance is meant.
const OWN_NAME: &str = "plugward-attach";

const HELP: &str = "\
Stands for a plugin that plugward runs in a container: a host starts this program as if it were the plugin's

Usage: plugward-attach [OPTIONS] [NAME]

Arguments:
  [NAME]  The PluginInstance [default: the name that this file is started by]

Options:
      --run-dir DIR    Where the controller makes its sockets [default: plugward in $XDG_RUNTIME_DIR for users, if there is a
                       controller; else /run/plugward] [env: PLUGWARD_RUN_DIR]
      --cluster-id ID  Which controller is meant, where several run [env: PLUGWARD_CLUSTER_ID]
  -h, --help           Print help
  -V, --version        Print version
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Attach(Wanted),
    /// Print this, and nothing else.
    Tell(String),
}

/// Which plugin.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) instance: String,
    pub(crate) run_directory: Option<PathBuf>,
    pub(crate) cluster: Option<OsString>,
}

/// A command line that is none. Values are not repeated: they may be secrets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WrongUsage {
    #[error("there is no option {0}: see plugward-attach --help")]
    Option(String),
    #[error("{0} needs a value: see plugward-attach --help")]
    Value(&'static str),
    #[error(
        "there is more than the name of an instance: the arguments of a plugin in a container are declared in its PluginInstance, \
         as `args`"
    )]
    More,
    #[error("say which PluginInstance is meant: plugward-attach NAME, or start it by a link of that name")]
    NoName,
    #[error("the name of the instance is not UTF-8: give that of a PluginInstance")]
    NotText,
}

/// The command in these arguments, of which the first is the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, WrongUsage> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let mut wanted = Wanted::default();
    let mut name = None;
    let mut options_end = false;
    while let Some(argument) = arguments.next() {
        let option = argument.to_string_lossy();
        if options_end || !option.starts_with('-') {
            if name.replace(argument).is_some() {
                return Err(WrongUsage::More);
            }
            continue;
        }
        // A name of an option has no bytes that are not text.
        let (option, value) = match option.split_once('=') {
            Some((option, _)) => (option.to_owned(), Some(tail(&argument, option.len() + 1))),
            None => (option.into_owned(), None),
        };
        let mut value = |option| value.clone().or_else(|| arguments.next()).ok_or(WrongUsage::Value(option));
        match option.as_str() {
            "--" => options_end = true,
            "-h" | "--help" => return Ok(Command::Tell(HELP.to_owned())),
            "-V" | "--version" => {
                return Ok(Command::Tell(
                    concat!("plugward-attach ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                ));
            }
            "--run-dir" => wanted.run_directory = Some(value("--run-dir")?.into()),
            "--cluster-id" => wanted.cluster = Some(value("--cluster-id")?),
            _ => return Err(WrongUsage::Option(option)),
        }
    }
    let name =
        name.or_else(|| link_name(&program)).filter(|name| !name.is_empty()).ok_or(WrongUsage::NoName)?;
    wanted.instance = name.into_string().map_err(|_| WrongUsage::NotText)?;
    Ok(Command::Attach(wanted))
}

/// What follows the first bytes.
fn tail(argument: &OsStr, from: usize) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    OsString::from_vec(argument.as_bytes().get(from..).unwrap_or_default().to_vec())
}

/// The name of a link by which the program was started.
fn link_name(program: &OsStr) -> Option<OsString> {
    Path::new(program).file_name().filter(|name| *name != OWN_NAME).map(OsStr::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, WrongUsage> {
        parse(arguments.iter().map(OsString::from))
    }

    fn wanted(instance: &str, run_directory: Option<&str>, cluster: Option<&str>) -> Command {
        Command::Attach(Wanted {
            instance: instance.to_owned(),
            run_directory: run_directory.map(PathBuf::from),
            cluster: cluster.map(OsString::from),
        })
    }

    #[test]
    fn the_instance_is_named_by_the_argument_or_else_by_the_link() {
        assert_eq!(parsed(&["/usr/bin/plugward-attach", "redis"]), Ok(wanted("redis", None, None)));
        assert_eq!(parsed(&["/plugins/redis"]), Ok(wanted("redis", None, None)));
        assert_eq!(parsed(&["/plugins/other", "redis"]), Ok(wanted("redis", None, None)));
        assert_eq!(parsed(&["plugward-attach"]), Err(WrongUsage::NoName));
        assert_eq!(parsed(&["plugward-attach", ""]), Err(WrongUsage::NoName));
        assert_eq!(parsed(&[]), Err(WrongUsage::NoName));
        let bytes = [OsString::from("plugward-attach"), OsString::from_vec(vec![0xff])];
        assert_eq!(parse(bytes), Err(WrongUsage::NotText));
    }

    #[test]
    fn options_stand_before_and_after_the_name_with_their_value_or_before_it() {
        let expected = Ok(wanted("redis", Some("/run/p"), Some("one")));
        assert_eq!(parsed(&["x", "--run-dir", "/run/p", "redis", "--cluster-id", "one"]), expected);
        assert_eq!(parsed(&["x", "--run-dir=/run/p", "--cluster-id=one", "--", "redis"]), expected);
        assert_eq!(parsed(&["x", "redis", "--run-dir"]), Err(WrongUsage::Value("--run-dir")));
    }

    #[test]
    fn what_a_container_is_to_be_told_is_refused_without_repeating_it() {
        assert_eq!(parsed(&["x", "redis", "secret"]), Err(WrongUsage::More));
        assert_eq!(parsed(&["x", "redis", "--", "--secret"]), Err(WrongUsage::More));
        let option = parsed(&["x", "redis", "--token=secret"]).unwrap_err();
        assert_eq!(option.to_string(), "there is no option --token: see plugward-attach --help");
    }

    #[test]
    fn help_and_version_are_told_whatever_else_is_asked() {
        assert_eq!(parsed(&["plugward-attach", "--help"]), Ok(Command::Tell(HELP.to_owned())));
        assert!(
            matches!(parsed(&["x", "redis", "-V"]), Ok(Command::Tell(text)) if text.starts_with("plugward-attach "))
        );
    }
}
