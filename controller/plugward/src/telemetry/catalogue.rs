//! `deploy/log.md`: every line that the program may write, found in its sources. Whoever searches logs or alerts on them relies on these.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// A line, as it is ordered in the document.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    target: String,
    message: String,
    level: &'static str,
    fields: Vec<String>,
}

const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// The crates that write to the log. What the others tell is for their developers.
const CRATES: [(&str, &str); 2] = [
    ("plugward", concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
    ("plugward_runtime", concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/src")),
];

#[test]
fn the_documentation_has_every_line_of_the_log() {
    let mut lines = BTreeSet::new();
    for (name, sources) in CRATES {
        collect(Path::new(sources), name, &mut lines);
    }
    let mut text = String::from(
        "# The log\n\nWhat `plugward run` writes to standard error, a line for each thing that happened. With `--log-format json` a line is \
         an object with `timestamp`, `level`, `target`, `message`, the fields below and those of its `span` (the instance, for \
         example). Messages and fields are kept from version to version. Lines of `debug` are there if `--log` asks for them: \
         `--log info,plugward::requests=debug`.\n\nMade from the program's sources: do not edit.\n\n\
         | level | message | fields | target |\n| --- | --- | --- | --- |\n",
    );
    for Line { target, message, level, fields } in &lines {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let fields = if fields.is_empty() { "–".to_owned() } else { fields.join(", ") };
        let _ = writeln!(text, "| {level} | {message} | {fields} | `{target}` |");
    }
    assert!(lines.len() > 60, "{lines:?}");
    crate::golden::check("../../deploy/log.md", &text);
}

fn collect(path: &Path, module: &str, to: &mut BTreeSet<Line>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "catalogue" {
            continue;
        }
        let module = if ["mod", "lib", "main"].contains(&&*name) {
            module.to_owned()
        } else {
            format!("{module}::{name}")
        };
        if path.is_dir() {
            collect(&path, &module, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            // What tests write is nobody's.
            let program = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            to.extend(lines_in(program, &module));
        }
    }
}

/// The lines that a file's program may write.
fn lines_in(source: &str, module: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for level in LEVELS {
        for (at, begin) in source.match_indices(&format!("{level}!(")) {
            let mut line =
                Line { target: module.to_owned(), message: String::new(), level, fields: Vec::new() };
            for argument in arguments(&source[at + begin.len()..]) {
                if let Some(target) = argument.strip_prefix("target: ") {
                    line.target = of_target(source, target);
                } else if argument.starts_with('"') {
                    line.message = argument.trim_matches('"').to_owned();
                } else {
                    let name = argument.split(" = ").next().unwrap_or_default();
                    line.fields.push(name.trim_start_matches(['%', '?']).to_owned());
                }
            }
            assert!(!line.message.is_empty(), "{module}: a line of the log says what happened: {line:?}");
            lines.push(line);
        }
    }
    lines
}

/// A target as it is written, or by the name of its constant in the same file.
fn of_target(source: &str, target: &str) -> String {
    let constant = format!("const {target}: &str = ");
    let written =
        source.split_once(&constant).map_or(target, |(_, rest)| rest.split(';').next().unwrap_or_default());
    written.trim_matches('"').to_owned()
}

/// The arguments of a call, up to its closing bracket.
fn arguments(source: &str) -> Vec<String> {
    let (mut found, mut current, mut depth, mut in_text) = (Vec::new(), String::new(), 0, false);
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_text => {
                // Escaped; a line's end goes with the blanks after it, of which one is left.
                current.extend(characters.next().filter(|next| *next != '\n'));
                continue;
            }
            '"' => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' if !in_text && depth == 0 => break,
            ')' | ']' | '}' if !in_text => depth -= 1,
            ',' if !in_text && depth == 0 => {
                found.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(character);
    }
    found.push(current);
    let plain = found.iter().map(|argument| argument.split_whitespace().collect::<Vec<_>>().join(" "));
    plain.filter(|argument| !argument.is_empty()).collect()
}

#[test]
fn a_line_is_read_as_it_is_written() {
    let source = r#"
        tracing::info!(%slot, container = name(a, "b"), count, "it is (not) there, or is");
        const T: &str = "plugward::x"; tracing::debug!(target: T, ?a, "done");
    "#;
    let line = |target: &str, level, message: &str, fields: &[&str]| Line {
        target: target.into(),
        level,
        message: message.into(),
        fields: fields.iter().map(ToString::to_string).collect(),
    };
    let expected = [
        line("m", "info", "it is (not) there, or is", &["slot", "container", "count"]),
        line("plugward::x", "debug", "done", &["a"]),
    ];
    assert_eq!(lines_in(source, "m"), expected);
}
