//! What may stand where a word is asked for.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use plugward_api::Kind;

use crate::cli::resource::Resource;
use crate::cli::{client, explain, format};

/// How long a person who pressed a key waits for names.
const PATIENCE: Duration = Duration::from_secs(1);

/// What can be listed.
pub(in crate::cli) fn kinds() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(&["instances", "runtimes", "sessions"]))
}

/// What `describe` describes.
pub(in crate::cli) fn subjects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(&["instance", "runtime", "manifests"]))
}

/// The names of what there is of the kind that was written, or of all records.
pub(in crate::cli) fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let written = written();
        let resource = written.iter().find_map(|word| Resource::of_word(word).ok());
        let records = || Kind::ALL.map(Resource::from).to_vec();
        let resources = resource.map_or_else(records, |resource| vec![resource]);
        let names = resources.into_iter().flat_map(|resource| names_of(resource, &written));
        names.map(CompletionCandidate::new).collect()
    })
}

/// The names of instances.
pub(in crate::cli) fn instances() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        names_of(Kind::PluginInstance, &written()).into_iter().map(CompletionCandidate::new).collect()
    })
}

/// What events may be about: `instance/NAME`.
pub(in crate::cli) fn objects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = names_of(Kind::PluginInstance, &written());
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

/// The names of what there is, if a controller answers soon: to a person who completes a word an error is only in the way.
fn names_of(resource: impl Into<Resource>, written: &[String]) -> Vec<String> {
    let controller = Place::in_words(written).and_then(|place| place.client.controller().ok());
    let list = controller.and_then(|controller| controller.list_within(resource, PATIENCE).ok());
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
        assert_eq!(names_of(Kind::PluginInstance, &words), ["eu", "us"]);
        let joined = [words.join("=")];
        assert_eq!(names_of(Kind::PluginInstance, &joined), ["eu", "us"]);
        assert!(names_of(Kind::PluginRuntime, &words).is_empty());
    }
}
