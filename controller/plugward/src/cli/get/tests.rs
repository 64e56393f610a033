use clap::Parser;

use super::*;
use crate::cli::fake;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What comes of `plugward get` with these words.
fn get(words: &[&str], answers: [(&str, Value); 2]) -> Result<ExitCode, String> {
    let directory = fake::controller(answers);
    let place = fake::words(directory.path());
    let words = ["get"].into_iter().chain(words.iter().copied()).chain(place.iter().map(String::as_str));
    run(&Line::parse_from(words).arguments).map_err(|error| error.to_string())
}

fn answers() -> [(&'static str, Value); 2] {
    let session = json!({ "kind": "PluginSession", "metadata": { "name": "k3x9q2ab" } });
    [("/v1/sessions", json!({ "items": [session] })), ("/v1/sessions/k3x9q2ab", session)]
}

#[test]
fn sessions_are_listed_and_shown_one_by_one_and_no_manifest_is_asked_for() {
    for words in
        [&["sessions"][..], &["session", "k3x9q2ab"], &["sessions", "-o", "yaml", "--sort-by", "pid"]]
    {
        assert_eq!(get(words, answers()), Ok(ExitCode::SUCCESS), "{words:?}");
    }
    assert_eq!(get(&["session", "another"], answers()), Err("not found".to_owned()));
}

#[test]
fn sessions_have_no_labels_and_are_not_reattached_to() {
    let labelled = get(&["sessions", "-l", "team=orders"], answers()).unwrap_err();
    assert!(labelled.contains("sessions have no labels"), "{labelled}");
    let reattached = get(&["session", "k3x9q2ab", "-o", "reattach"], answers()).unwrap_err();
    assert_eq!(reattached, "-o reattach is for instances");
}
