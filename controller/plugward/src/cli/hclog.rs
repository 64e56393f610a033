//! Lines of hclog, the log of most plugins: from its JSON, which is for hosts, to its text format, which is for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use super::colours::Colours;

/// A line of hclog's JSON as its text format has it: `2026-11-27T10:00:00.000Z [INFO]  module: message: key=value`. `None` when the
/// line is none. `at` stands for a time that it does not say.
pub(super) fn readable(line: &str, at: Timestamp, colours: Colours) -> Option<String> {
    if !line.starts_with('{') {
        return None;
    }
    let mut fields: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
    let message = word(&mut fields, "@message")?;
    let level = word(&mut fields, "@level")?;
    let time = word(&mut fields, "@timestamp").and_then(|time| time.parse().ok()).unwrap_or(at);
    let bracket = format!("[{}]", level.to_uppercase());
    let mut text = format!(
        "{time:.3} {}{:2$}",
        colours.level(&level, &bracket),
        "",
        7_usize.saturating_sub(bracket.len())
    );
    for place in ["@caller", "@module"] {
        if let Some(place) = word(&mut fields, place) {
            let _ = write!(text, " {}:", on_one_line(&place));
        }
    }
    let _ = write!(text, " {}", indented(&message));
    if !fields.is_empty() {
        text.push(':');
    }
    for (key, value) in &fields {
        text.push_str(&pair(&on_one_line(key), value));
    }
    Some(text)
}

/// Words of a plugin, which must not move a terminal's cursor. A tab moves it forward alone.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Takes a field that is a text.
fn word(fields: &mut BTreeMap<String, Value>, name: &str) -> Option<String> {
    match fields.remove(name)? {
        Value::String(text) => Some(text),
        other => {
            fields.insert(name.to_owned(), other);
            None
        }
    }
}

fn pair(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('\n') => format!("\n  {key}=\n  | {}", indented(text)),
        Value::String(text) if needs_quotes(text) => format!(" {key}={text:?}"),
        Value::String(text) => format!(" {key}={text}"),
        value => format!(" {key}={value}"),
    }
}

/// A text whose further lines cannot be taken for lines of their own.
fn indented(text: &str) -> String {
    text.trim_end().lines().map(on_one_line).collect::<Vec<_>>().join("\n  | ")
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<String> {
        readable(line, "2026-11-27T10:00:00.123456789Z".parse().unwrap(), Colours::Off)
    }

    #[test]
    fn a_line_for_hosts_is_told_as_hclog_tells_it_people() {
        let line = r#"{"@level":"info","@message":"configured","@module":"kv.core","@timestamp":"2026-11-27T11:59:59.999999+01:00","attempt":2,"path":"a b","ok":true,"empty":""}"#;
        assert_eq!(
            told(line).unwrap(),
            r#"2026-11-27T10:59:59.999Z [INFO]  kv.core: configured: attempt=2 empty="" ok=true path="a b""#
        );
        let least = r#"{"@level":"error","@message":"out of cheese"}"#;
        assert_eq!(told(least).unwrap(), "2026-11-27T10:00:00.123Z [ERROR] out of cheese");
        let called = r#"{"@caller":"/src/a.go:7","@level":"trace","@message":"here"}"#;
        assert_eq!(told(called).unwrap(), "2026-11-27T10:00:00.123Z [TRACE] /src/a.go:7: here");
    }

    #[test]
    fn what_is_no_line_of_hclog_is_not_touched() {
        for line in [
            "",
            "plain",
            "{",
            "[1]",
            "{}",
            r#"{"level":"info","msg":"of another"}"#,
            r#"{"@message":1,"@level":"x"}"#,
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn several_lines_in_one_cannot_pass_for_others() {
        let line = r#"{"@level":"warn","@message":"a\nb","error":"x\n\u001b[2Jy\n"}"#;
        assert_eq!(
            told(line).unwrap(),
            "2026-11-27T10:00:00.123Z [WARN]  a\n  | b:\n  error=\n  | x\n  | \u{fffd}[2Jy"
        );
    }

    #[test]
    fn levels_have_colours_where_there_are_any() {
        let at = Timestamp::UNIX_EPOCH;
        let text = readable(r#"{"@level":"error","@message":"m"}"#, at, Colours::On).unwrap();
        assert_eq!(text, "1970-01-01T00:00:00.000Z \x1b[31m[ERROR]\x1b[0m m");
    }
}
