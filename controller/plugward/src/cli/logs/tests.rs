use serde_json::{Value, json};

use super::*;
use crate::cli::{fake, golden};

fn container(slot: &str, container: &str) -> Value {
    json!({ "type": "CONTAINER", "slot": slot, "container": container })
}

fn line(slot: &str, second: u32, text: &str) -> Value {
    let at = format!("2026-11-27T10:00:{second:02}.000000001Z");
    json!({ "type": "LINE", "slot": slot, "at": at, "stream": "stderr", "text": text })
}

/// What was shown: notes begin with `!`.
fn shown(lines: &mut Lines, told: &[Value]) -> String {
    told.iter()
        .map(|told| match lines.take(told) {
            Shown::Nothing => String::new(),
            Shown::Line(line) => line,
            Shown::Note(note) => format!("! {note}\n"),
            Shown::All => "! all\n".to_owned(),
        })
        .collect()
}

fn of_two_slots() -> Vec<Value> {
    vec![
        container("mount-a", "plugward-orders-mount-a-aaaaa"),
        container("mount-b", "plugward-orders-mount-b-bbbbb"),
        line("mount-a", 1, "plain \u{1b}[2J words"),
        line(
            "mount-b",
            2,
            r#"{"@level":"warn","@message":"slow","@module":"orders","@timestamp":"2026-11-27T10:00:02Z","took":"3 s"}"#,
        ),
        json!({ "type": "NOTE", "message": "something to know" }),
        container("mount-a", "plugward-orders-mount-a-ccccc"),
        line("mount-a", 3, "anew"),
        json!({ "type": "OF_A_LATER_VERSION" }),
        json!({ "type": "END" }),
    ]
}

#[test]
fn logs_are_shown_to_people_and_to_programs() {
    let mut text = String::new();
    for (output, timestamps) in
        [(Output::Text, false), (Output::Text, true), (Output::Raw, false), (Output::Json, false)]
    {
        let mut lines = Lines::new(output, timestamps, true, Colours::Off);
        text.extend([
            format!("--- {output:?}, timestamps {timestamps}\n"),
            shown(&mut lines, &of_two_slots()),
        ]);
    }
    golden::check("logs.txt", &text);
}

#[test]
fn lines_of_one_slot_have_no_prefix() {
    let mut lines = Lines::new(Output::Text, false, true, Colours::Off);
    assert_eq!(shown(&mut lines, &[container("shared", "c"), line("shared", 1, "alone")]), "alone\n");
    let mut lines = Lines::new(Output::Text, false, false, Colours::Off);
    assert_eq!(shown(&mut lines, &of_two_slots()[..3]), "plain \u{fffd}[2J words\n", "one was named");
}

#[test]
fn what_was_shown_before_the_controller_was_away_is_not_shown_again() {
    let mut lines = Lines::new(Output::Text, false, true, Colours::Off);
    assert_eq!(lines.resume(), None);
    shown(&mut lines, &[container("a", "a-1"), container("b", "b-1"), line("a", 1, "one")]);
    assert_eq!(lines.resume(), None, "of a slot nothing was shown: all of it is new");
    shown(&mut lines, &[line("b", 3, "two")]);
    assert_eq!(lines.resume().unwrap().to_string(), "2026-11-27T10:00:01.000000001Z");
    let again = [
        container("a", "a-1"),
        container("b", "b-2"),
        line("a", 1, "one"),
        line("b", 2, "earlier, of another"),
        line("a", 2, "three"),
    ];
    assert_eq!(
        shown(&mut lines, &again),
        "! slot b: b-2 takes the place of b-1\n[b] earlier, of another\n[a] three\n"
    );
}

#[test]
fn a_beginning_is_a_time_or_a_while_ago() {
    let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
    let begins = |text: &str| since(text).map(|since| since.before(now).to_string());
    assert_eq!(begins("1h30m").unwrap(), "2026-11-27T08:30:00Z");
    assert_eq!(begins("2026-11-27T09:00:00+01:00").unwrap(), "2026-11-27T08:00:00Z");
    for wrong in ["", "yesterday", "-5m", "10"] {
        assert!(begins(wrong).unwrap_err().contains("10m"), "{wrong}");
    }
}

#[test]
fn what_could_not_be_read_makes_the_command_fail_and_a_controller_that_ends_too() {
    let told = |told: Value| {
        let directory = fake::controller([("/v1/instances/orders/logs", told)]);
        let words = ["logs".to_owned(), "orders".to_owned()].into_iter().chain(fake::words(directory.path()));
        let arguments = <Parsed as clap::Parser>::try_parse_from(words).unwrap().arguments;
        // A fake answers with one line that has no end: nothing of it is read.
        run(&arguments).unwrap_err().to_string()
    };
    assert!(told(json!({ "type": "END" })).contains("the controller ended"));
    let mut lines = Lines::new(Output::Text, false, true, Colours::Off);
    assert_eq!(lines.outcome(), ExitCode::SUCCESS);
    assert_eq!(shown(&mut lines, &[json!({ "type": "ERROR", "message": "no engine" })]), "! no engine\n");
    assert_eq!(lines.outcome(), ExitCode::FAILURE);
}

#[derive(clap::Parser)]
struct Parsed {
    #[command(flatten)]
    arguments: Arguments,
}
