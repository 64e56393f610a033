//! What may stand where a word is asked for.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use plugward_api::Kind;

use crate::cli::{client, explain, format};

/// How long a person who pressed a key waits for names.
const PATIENCE: Duration = Duration::from_secs(1);

/// The kinds of records.
pub(in crate::cli) fn kinds() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(&["instances", "runtimes"]))
}

/// What `describe` describes.
pub(in crate::cli) fn subjects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(&["instance", "runtime", "manifests"]))
}

/// The names of the records of the kind that was written, or of all.
pub(in crate::cli) fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let written = written();
        let kind = written.iter().find_map(|word| format::kind(word).ok());
        let kinds = kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
        kinds.into_iter().flat_map(|kind| records(kind, &written)).map(CompletionCandidate::new).collect()
    })
}

/// The names of the instances.
pub(in crate::cli) fn instances() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = records(Kind::PluginInstance, &written());
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// What events may be about: `instance/NAME`.
pub(in crate::cli) fn objects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = records(Kind::PluginInstance, &written());
        names.into_iter().map(|name| CompletionCandidate::new(format!("instance/{name}"))).collect()
    })
}

/// Fields of records, one step at a time.
pub(in crate::cli) fn fields() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        explain::continuations(word.to_str().unwrap_or_default())
            .into_iter()
            .map(CompletionCandidate::new)
            .collect()
    })
}

fn candidates(words: &[&str]) -> Vec<CompletionCandidate> {
    words.iter().map(CompletionCandidate::new).collect()
}

/// The words that were written so far. The shell gives them after `--`.
fn written() -> Vec<String> {
    std::env::args().skip_while(|word| word != "--").skip(2).collect()
}

/// The names of records, if a controller answers soon: to a person who completes a word an error is only in the way.
fn records(kind: Kind, written: &[String]) -> Vec<String> {
    let controller = Place::in_words(written).and_then(|place| place.client.controller().ok());
    let list = controller.and_then(|controller| controller.list_within(kind, PATIENCE).ok());
    list.unwrap_or_default().iter().map(|object| format::text(object, "/metadata/name").to_owned()).collect()
}

/// Where the controller is, by flags that were written already or by the environment.
#[derive(Debug, Parser)]
struct Place {
    #[command(flatten)]
    client: client::Which,
}

impl Place {
    fn in_words(words: &[String]) -> Option<Self> {
        let mut picked = vec!["plugward".to_owned()];
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.split_once('=') {
                Some(("--run-dir" | "--cluster-id", _)) => picked.push(word.clone()),
                None if matches!(word.as_str(), "--run-dir" | "--cluster-id") => {
                    picked.push(word.clone());
                    picked.extend(words.next().cloned());
                }
                _ => {}
            }
        }
        Self::try_parse_from(picked).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fake;

    #[test]
    fn names_are_those_of_the_controller_that_the_words_mean() {
        let items = json!({ "items": [{ "metadata": { "name": "eu" } }, { "metadata": { "name": "us" } }] });
        let directory = fake::controller([("/v1/instances", items)]);
        let words = fake::words(directory.path());
        assert_eq!(records(Kind::PluginInstance, &words), ["eu", "us"]);
        let joined = [words.join("=")];
        assert_eq!(records(Kind::PluginInstance, &joined), ["eu", "us"]);
        assert!(records(Kind::PluginRuntime, &words).is_empty());
    }
}
