//! A short, printable piece of what a plugin sent.

use std::fmt;

/// The beginning of something a plugin printed, safe to show: at most [`Excerpt::LIMIT`] characters, all
/// printable, and without the certificate that a handshake line may hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// The longest excerpt, in characters. One more says that something was left out.
    pub const LIMIT: usize = 200;

    /// The number of fields of a handshake line that are shown: those before the certificate.
    const FIELDS: usize = 5;

    /// Of a text of any kind.
    pub(crate) fn of(text: &[u8]) -> Self {
        Self::of_beginning(text, text)
    }

    /// Of what should be a handshake line.
    pub(crate) fn of_line(line: &[u8]) -> Self {
        let ends = line.iter().enumerate().filter(|(_, byte)| **byte == b'|');
        let end = ends.map(|(at, _)| at).nth(Self::FIELDS - 1);
        Self::of_beginning(line, end.map_or(line, |end| &line[..end]))
    }

    fn of_beginning(whole: &[u8], beginning: &[u8]) -> Self {
        // Any character comes from at most four bytes, and becomes at least one.
        let head = &beginning[..beginning.len().min(4 * (Self::LIMIT + 1))];
        let text = String::from_utf8_lossy(head);
        let mut text: String = text.trim_end().chars().flat_map(printable).collect();
        let end = text.char_indices().nth(Self::LIMIT).map(|(at, _)| at);
        if let Some(end) = end {
            text.truncate(end);
        }
        if end.is_some() || beginning.len() < whole.len() {
            text.push('…');
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn printable(character: char) -> impl Iterator<Item = char> {
    // `escape_debug` also escapes quotes, which are as printable as anything.
    let plain = matches!(character, '\'' | '"').then_some(character);
    plain.into_iter().chain(character.escape_debug().filter(move |_| plain.is_none()))
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(Excerpt::of(b"\x1b[31m'red' \"x\"\r\n").as_str(), "\\u{1b}[31m'red' \"x\"");
    }

    #[test]
    fn a_certificate_is_left_out() {
        let line = format!("1|1|unix|/tmp/plugin1|grpc|{}", "A".repeat(800));
        assert_eq!(Excerpt::of_line(line.as_bytes()).as_str(), "1|1|unix|/tmp/plugin1|grpc…");
    }

    proptest! {
        #[test]
        fn it_is_short_and_printable_whatever_it_is_of(bytes: Vec<u8>) {
            let bytes = bytes.repeat(20);
            for excerpt in [Excerpt::of(&bytes), Excerpt::of_line(&bytes)] {
                prop_assert!(excerpt.as_str().chars().count() <= Excerpt::LIMIT + 1);
                prop_assert!(!excerpt.as_str().contains(|c: char| c.is_control()));
            }
        }
    }
}
