//! YAML 1.2 into trees.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{
    MAX_DEPTH, MAX_NODES,
    nearest::quoted,
    tree::{Data, Document, Entry, MapBuilder, Node},
};
use crate::{Place, Problem};

/// How many documents with broken syntax are told.
const MAX_SYNTAX_PROBLEMS: usize = 20;

/// All documents of a file that hold anything, and what is wrong with its syntax.
///
/// After an error of syntax the rest of its document is lost; the next one is read again.
pub(super) fn read(text: &str) -> (Vec<Document>, Vec<Problem>) {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader::default();
    let mut syntax_problems = 0;
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => {
                if let Err(problem) = reader.event(event, &span) {
                    reader.problems.push(problem);
                    break;
                }
            }
            Some(Err(error)) => {
                reader.abandon();
                reader.problems.push(syntax_problem(&error));
                syntax_problems += 1;
                if syntax_problems >= MAX_SYNTAX_PROBLEMS
                    || !matches!(parser.proceed_next_document(), Ok(true))
                {
                    break;
                }
            }
        }
    }
    (reader.documents, reader.problems)
}

fn syntax_problem(error: &ScanError) -> Problem {
    let problem = match error.kind() {
        ErrorKind::UnknownAnchor => Problem::new("there is no anchor for this alias before it")
            .help("write &NAME before the value that *NAME repeats, or quote a text that begins with '*'"),
        _ => Problem::new(error.info())
            .help("this is not YAML: look at the indentation, quotes and brackets before this place"),
    };
    problem.at(place(*error.marker()))
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Makes trees of events.
#[derive(Default)]
struct Reader {
    documents: Vec<Document>,
    problems: Vec<Problem>,
    /// The lists and mappings that are open, the outermost first.
    open: Vec<Open>,
    /// The nodes that an alias can repeat.
    anchors: HashMap<usize, Node>,
    /// How many values were read.
    nodes: usize,
}

/// A list or mapping that has not ended.
struct Open {
    place: Place,
    anchor: usize,
    collection: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map(MapBuilder, Key),
}

/// What a mapping waits for.
enum Key {
    /// A key.
    Awaited,
    /// The value of this key.
    Read(String, Place),
    /// The value of a key that is none: dropped.
    Refused,
}

// === impl Reader ===

impl Reader {
    /// Forgets the document that is being read.
    fn abandon(&mut self) {
        self.open.clear();
        self.anchors.clear();
    }

    /// Takes the next event. An error ends the reading.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let here = place(span.start);
        match event {
            Event::DocumentStart(..) => self.abandon(),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, here)?;
                let data = self.scalar(&text, style, tag.as_deref(), here);
                self.complete(Node { place: here, data }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(here, anchor, tag.as_deref(), Collection::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(
                    here,
                    anchor,
                    tag.as_deref(),
                    Collection::Map(MapBuilder::default(), Key::Awaited),
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let data = match open.collection {
                        Collection::List(items) => Data::List(items),
                        Collection::Map(map, _) => map.finish(),
                    };
                    self.complete(Node { place: open.place, data }, open.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Problem::new("an alias stands within what it repeats")
                        .at(here)
                        .help("write the value out"));
                };
                if self.open.len() + node.depth() > MAX_DEPTH {
                    return Err(too_deep(here));
                }
                // Counted before it is copied: a few aliases of aliases are more than any memory holds.
                let (size, node) = (node.size(), node.clone());
                self.count(size, here)?;
                self.complete(node, 0)?;
            }
            // Comments and anchor names are not asked for; the start of the stream says nothing.
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, here: Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Problem::new(format!(
                "the file holds more than {MAX_NODES} values, those kept for aliases included"
            ))
            .at(here)
            .help("split it into several files, and use aliases sparingly"));
        }
        Ok(())
    }

    fn open(
        &mut self,
        here: Place,
        anchor: usize,
        tag: Option<&Tag>,
        collection: Collection,
    ) -> Result<(), Problem> {
        self.count(1, here)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(here));
        }
        if let Some(tag) = tag {
            self.problems.push(unknown_tag(tag, here));
        }
        self.open.push(Open { place: here, anchor, collection });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.count(node.size(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            // A document of comments only is no document.
            if !matches!(node.data, Data::Null) {
                self.documents.push(Document { root: node });
            }
            return Ok(());
        };
        match &mut open.collection {
            Collection::List(items) => items.push(node),
            Collection::Map(map, key) => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => {
                    let (read, problem) = as_key(node);
                    *key = read;
                    self.problems.extend(problem);
                }
                Key::Read(text, key_place) => {
                    // What is not there has no place of its own.
                    let place = if matches!(node.data, Data::Null) { key_place } else { node.place };
                    let value = Node { place, data: node.data };
                    self.problems.extend(map.insert(Entry { key: text, key_place, value }).err());
                }
                Key::Refused => {}
            },
        }
        Ok(())
    }

    /// What a scalar says: by its tag, else by its quotes, else as YAML's core schema resolves it.
    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, here: Place) -> Data {
        let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str") || tag.parts() == ("", "!"));
        if let Some(tag) = tag.filter(|_| !as_text) {
            self.problems.push(unknown_tag(tag, here));
        }
        if style == ScalarStyle::Plain && !as_text { plain(text) } else { Data::Text(text.to_owned()) }
    }
}

/// A node that stands where a key does. Keys are texts, whatever they look like.
fn as_key(node: Node) -> (Key, Option<Problem>) {
    let text = match node.data {
        Data::Text(text) | Data::Number(text) => text,
        Data::Bool(value) => value.to_string(),
        Data::Null => {
            let problem = Problem::new("a key is missing before ':'").at(node.place);
            return (Key::Refused, Some(problem));
        }
        Data::List(_) | Data::Map(_) => {
            let problem = Problem::new(format!("a key is a text, this is {}", node.data.describe()));
            return (Key::Refused, Some(problem.at(node.place)));
        }
    };
    if text == "<<" {
        let problem = Problem::new("YAML 1.2 has no merge keys").at(node.place).field("<<");
        return (
            Key::Refused,
            Some(problem.help("write the fields out, or repeat a whole value with an alias")),
        );
    }
    (Key::Read(text, node.place), None)
}

/// The core schema of YAML 1.2 (10.3.2).
fn plain(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ if is_number(text) => Data::Number(text.to_owned()),
        _ => Data::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let all = |text: &str, digit: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(digit);
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |b| (b'0'..=b'7').contains(b));
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(text, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| all(exponent, u8::is_ascii_digit))
}

fn too_deep(here: Place) -> Problem {
    Problem::new(format!("lists and mappings are nested more than {MAX_DEPTH} deep")).at(here)
}

fn unknown_tag(tag: &Tag, here: Place) -> Problem {
    Problem::new(format!("the tag {} says nothing here", quoted(&tag.original()))).at(here).help("remove it")
}
