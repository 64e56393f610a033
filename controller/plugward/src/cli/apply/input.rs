//! The manifest that is to be applied, and how it is cut into one text for each record.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plugward_api::manifest::{self, Format, Rules};
use plugward_api::{Problem, Record, RecordKey};

use crate::cli::{Failed, validate};

/// A manifest from elsewhere.
#[derive(Debug)]
pub(in crate::cli) struct Input {
    /// What it is called where something is wrong with it.
    pub(in crate::cli) name: PathBuf,
    pub(in crate::cli) text: String,
}

impl Input {
    /// Reads a file, or standard input where it is `-`.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, Failed> {
        let (name, bytes) = if path == Path::new("-") {
            let mut bytes = Vec::new();
            // One that is too large is read as far as it takes to be refused.
            let limit = u64::try_from(manifest::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
            (PathBuf::from("<stdin>"), bytes)
        } else {
            let bytes = validate::read(path).map_err(|message| format!("{}: {message}", path.display()))?;
            (path.to_owned(), bytes)
        };
        if bytes.len() > manifest::MAX_BYTES {
            let most = manifest::MAX_BYTES;
            return Err(format!("{}: a manifest has at most {most} bytes: split it", name.display()).into());
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("{}: is no UTF-8 text: save it as that", name.display()))?;
        Ok(Self { name, text })
    }

    /// Problems, a line each, with their places in this file.
    pub(in crate::cli) fn told(&self, problems: &[Problem]) -> String {
        let lines: Vec<String> =
            problems.iter().map(|problem| problem.in_file(&self.name).to_string()).collect();
        lines.join("\n")
    }

    /// One text for each of these records, which begin at these lines. The text of a single record is left as it is.
    pub(super) fn cut(&self, records: &[(RecordKey, usize)]) -> Result<Vec<String>, Failed> {
        if let [_] = records {
            return Ok(vec![self.text.clone()]);
        }
        let whole = parsed(&self.text);
        let documents = documents(&self.text);
        let cut = |(key, line): &(RecordKey, usize)| {
            let document = documents.iter().rfind(|document| document.line <= *line)?;
            let alone = parsed(&document.text)?;
            // What does not mean the same alone (directives, for one) cannot be cut.
            let is_same = alone.len() == 1 && alone[0].key() == *key && whole.as_ref()?.contains(&alone[0]);
            is_same.then(|| document.text.clone())
        };
        let uncut = |key: &RecordKey| {
            format!(
                "{}: {key} cannot be cut out of this file: put it into a file of its own",
                self.name.display()
            )
        };
        records.iter().map(|record| cut(record).ok_or_else(|| uncut(&record.0).into())).collect()
    }
}

fn parsed(text: &str) -> Option<Vec<Record>> {
    let records = manifest::parse(text.as_bytes(), Format::Yaml, &Rules::default()).ok()?;
    Some(records.into_iter().map(|placed| placed.value).collect())
}

/// A document of a YAML file.
#[derive(Debug, PartialEq, Eq)]
struct Document {
    /// The line of the file at which it begins, counted from 1.
    line: usize,
    text: String,
}

/// The documents of a YAML file, as they are written. A line that begins with `---` begins one wherever it stands: YAML allows
/// no such line in a text.
fn documents(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![Document { line: 1, text: String::new() }];
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = |marker: &str| {
            line.strip_prefix(marker)
                .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if let Some(rest) = marker("---") {
            // What stands behind it is part of the document.
            let text = if rest.trim().is_empty() { String::new() } else { line.to_owned() };
            documents.push(Document { line: index + 1, text });
        } else if marker("...").is_some() {
            documents.push(Document { line: index + 1, text: String::new() });
        } else if let Some(document) = documents.last_mut() {
            document.text.push_str(line);
        }
    }
    for document in &mut documents {
        let length = document.text.trim_end().len();
        document.text.truncate(length);
        document.text.push('\n');
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(name: &str) -> String {
        format!(
            "apiVersion: plugward.dev/v1alpha1\nkind: PluginRuntime\nmetadata: {{ name: {name} }}\nspec: {{}}\n"
        )
    }

    fn input(text: &str) -> Input {
        Input { name: "all.yaml".into(), text: text.to_owned() }
    }

    fn key(name: &str) -> RecordKey {
        RecordKey { kind: plugward_api::Kind::PluginRuntime, name: name.parse().unwrap() }
    }

    #[test]
    fn each_record_keeps_its_text_and_comments() {
        let text =
            format!("# ours\n---\n# the first\n{}\n\n--- # the second\n{}...\n", runtime("a"), runtime("b"));
        let cut = input(&text).cut(&[(key("a"), 4), (key("b"), 11)]).unwrap();
        assert_eq!(
            cut,
            [format!("# the first\n{}", runtime("a")), format!("--- # the second\n{}", runtime("b"))]
        );
    }

    #[test]
    fn a_single_record_is_left_as_it_is() {
        let text = format!("# ours\n---\n{}# end\n...\n", runtime("a"));
        assert_eq!(input(&text).cut(&[(key("a"), 3)]).unwrap(), [text]);
    }

    #[test]
    fn what_means_something_else_alone_is_not_cut() {
        let text = format!("{}---\n{}", runtime("a"), runtime("b"));
        let error = input(&text).cut(&[(key("a"), 1), (key("c"), 6)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "all.yaml: PluginRuntime/c cannot be cut out of this file: put it into a file of its own"
        );
    }

    #[test]
    fn a_marker_stands_at_the_beginning_of_a_line_and_alone() {
        let lines = |text| documents(text).iter().map(|document| document.line).collect::<Vec<_>>();
        assert_eq!(lines("a: |\n  ---\n---x\n"), [1]);
        assert_eq!(lines("a\r\n---\r\nb\n---"), [1, 2, 4]);
    }
}
