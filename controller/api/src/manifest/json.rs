//! JSON into a tree.
//!
//! YAML can read most JSON, and more than JSON allows. A file that calls itself JSON is held to RFC 8259, so that
//! other programs can read it too.

use super::{
    MAX_DEPTH, MAX_NODES,
    tree::{Data, Document, Entry, MapBuilder, Node},
};
use crate::{Place, Problem};

/// The one document of a file, and what is wrong with its syntax. Reading stops at the first error of syntax.
pub(super) fn read(text: &str) -> (Vec<Document>, Vec<Problem>) {
    let mut reader =
        Reader { rest: text, place: Place { line: 1, column: 1 }, nodes: 0, problems: Vec::new() };
    reader.space();
    if reader.rest.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let root = reader.value(0).and_then(|root| {
        reader.space();
        if reader.rest.is_empty() {
            return Ok(root);
        }
        Err(Problem::new("there is more after the end of the record")
            .at(reader.place)
            .help("a JSON file holds one record: give each a file of its own, or write YAML"))
    });
    match root {
        Ok(root) => (vec![Document { root }], reader.problems),
        Err(problem) => {
            reader.problems.push(problem);
            (Vec::new(), reader.problems)
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
    nodes: usize,
    problems: Vec<Problem>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn error(&self, message: impl Into<String>) -> Problem {
        Problem::new(message).at(self.place).help("this is not JSON: look at the quotes, commas and brackets")
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn space(&mut self) {
        let end = self.rest.find(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')).unwrap_or(self.rest.len());
        self.take(end);
    }

    /// Takes `c` and the space after it, if it is next.
    fn accept(&mut self, c: char) -> bool {
        let next = self.rest.starts_with(c);
        if next {
            self.take(c.len_utf8());
            self.space();
        }
        next
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        let place = self.place;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Problem::new(format!("the file holds more than {MAX_NODES} values"))
                .at(place)
                .help("split it into several files"));
        }
        if depth >= MAX_DEPTH && self.rest.starts_with(['{', '[']) {
            return Err(
                Problem::new(format!("lists and mappings are nested more than {MAX_DEPTH} deep")).at(place)
            );
        }
        let data = if self.accept('{') {
            self.map(depth)?
        } else if self.accept('[') {
            self.list(depth)?
        } else if self.rest.starts_with('"') {
            Data::Text(self.string()?)
        } else {
            self.word()?
        };
        Ok(Node { place, data })
    }

    fn map(&mut self, depth: usize) -> Result<Data, Problem> {
        let mut map = MapBuilder::default();
        if self.accept('}') {
            return Ok(map.finish());
        }
        loop {
            let key_place = self.place;
            if !self.rest.starts_with('"') {
                return Err(self.error("a key in double quotes is wanted here"));
            }
            let key = self.string()?;
            self.space();
            if !self.accept(':') {
                return Err(self.error("a ':' is wanted here"));
            }
            let value = self.value(depth + 1)?;
            self.problems.extend(map.insert(Entry { key, key_place, value }).err());
            self.space();
            if self.accept('}') {
                return Ok(map.finish());
            }
            if !self.accept(',') {
                return Err(self.error("a ',' or '}' is wanted here"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Data, Problem> {
        let mut items = Vec::new();
        if self.accept(']') {
            return Ok(Data::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.accept(']') {
                return Ok(Data::List(items));
            }
            if !self.accept(',') {
                return Err(self.error("a ',' or ']' is wanted here"));
            }
        }
    }

    /// A string, which is known to begin here.
    fn string(&mut self) -> Result<String, Problem> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return Err(self.error("the string that begins here does not end"));
        };
        // Both quotes.
        let literal = &self.rest[..end + 2];
        let text = serde_json::from_str(literal)
            .map_err(|_| self.error("the string that begins here holds a bad escape, or a line break"))?;
        self.take(literal.len());
        Ok(text)
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Data, Problem> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let data = match word {
            "true" => Data::Bool(true),
            "false" => Data::Bool(false),
            "null" => Data::Null,
            _ if serde_json::from_str::<serde::de::IgnoredAny>(word).is_ok() => Data::Number(word.to_owned()),
            _ => return Err(self.error("a value is wanted here")),
        };
        self.take(word.len());
        Ok(data)
    }
}
