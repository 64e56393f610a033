//! The head of a request: its header list, what HTTP/2 demands of it, and how it goes on to the plugin.

use std::{fmt, ops::Range, time::Duration};

use bytes::BytesMut;

use crate::{
    grpc,
    hpack::{DecodeError, Decoder, Field, encode},
};

/// A header list in one piece of memory.
#[derive(Clone, Default)]
pub struct HeaderList {
    octets: Vec<u8>,
    fields: Vec<Place>,
    size: usize,
}

#[derive(Clone)]
struct Place {
    name: Range<usize>,
    value: Range<usize>,
    sensitive: bool,
}

/// A decoded block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// The size of the whole list.
    pub(crate) size: usize,
    /// Whether all of it was kept.
    pub(crate) complete: bool,
}

/// What breaks the rules for requests (RFC 9113, 8.1 to 8.3): to HTTP/2 an error of that stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The head of a request, valid as HTTP/2 has it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    list: &'a HeaderList,
    method: usize,
    path: usize,
    timeout: Option<Duration>,
    content_length: Option<u64>,
}

/// Fields that are set on a request before it goes to the plugin. One that the request has is replaced.
#[derive(Debug, Default)]
pub struct Amendments {
    list: HeaderList,
}

// === impl HeaderList ===

impl HeaderList {
    /// Decodes a block into this list, replacing what is in it. What is beyond `most` is decoded and not kept.
    pub(crate) fn decode(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        most: usize,
    ) -> Result<Decoded, DecodeError> {
        self.clear();
        let mut size = 0usize;
        decoder.decode(block, |field| {
            size = size.saturating_add(field.size());
            if size <= most {
                self.push(&field);
            }
        })?;
        Ok(Decoded { size, complete: size <= most })
    }

    /// The fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|place| self.field(place))
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|field| field.name == name).map(|field| field.value)
    }

    /// Its size as RFC 7541, section 4.1, counts.
    pub fn size(&self) -> usize {
        self.size
    }

    fn clear(&mut self) {
        self.octets.clear();
        self.fields.clear();
        self.size = 0;
    }

    fn push(&mut self, field: &Field<'_>) {
        let start = self.octets.len();
        self.octets.extend_from_slice(field.name);
        let middle = self.octets.len();
        self.octets.extend_from_slice(field.value);
        self.size += field.size();
        self.fields.push(Place {
            name: start..middle,
            value: middle..self.octets.len(),
            sensitive: field.sensitive,
        });
    }

    fn field(&self, place: &Place) -> Field<'_> {
        Field {
            name: &self.octets[place.name.clone()],
            value: &self.octets[place.value.clone()],
            sensitive: place.sensitive,
        }
    }

    /// Whether this is what trailers may be.
    pub(crate) fn are_trailers(&self) -> bool {
        self.fields().all(|field| !field.name.starts_with(b":") && is_proper(&field))
    }

    /// Writes the list as it is.
    pub(crate) fn encode(&self, block: &mut BytesMut) {
        for field in self.fields() {
            encode::field(block, field.name, field.value, field.sensitive);
        }
    }
}

/// Without the values.
impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields()).finish()
    }
}

/// Whether a field may be in a message at all: a name in lower case, no control characters, nothing about the connection.
fn is_proper(field: &Field<'_>) -> bool {
    let name = field.name.strip_prefix(b":").unwrap_or(field.name);
    // All octets are looked at, without a way out between: that is several at once.
    let named = name.iter().fold(!name.is_empty(), |proper, octet| proper & IN_NAMES[usize::from(*octet)]);
    let valued = field.value.iter().fold(true, |proper, octet| proper & !matches!(octet, 0 | b'\r' | b'\n'));
    let about_the_connection = match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => field.value != b"trailers",
        _ => false,
    };
    named && valued && !about_the_connection
}

/// The octets that names are made of.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0x21;
    while octet <= 0x7e {
        table[octet] = !matches!(octet, 0x41..=0x5a | 0x3a);
        octet += 1;
    }
    table
};

// === impl Request ===

impl<'a> Request<'a> {
    /// Checks a list that is to be the head of a request.
    pub(crate) fn of(list: &'a HeaderList) -> Result<Self, Malformed> {
        let (mut method, mut scheme, mut path, mut authority) = (None, None, None, None);
        let (mut timeout, mut content_length) = (None, None);
        let mut pseudo_ended = false;
        for (index, field) in list.fields().enumerate() {
            if !is_proper(&field) {
                return Err(Malformed);
            }
            let seen = match field.name {
                b":method" => method.replace(index),
                b":scheme" => scheme.replace(index),
                b":path" => path.replace(index),
                b":authority" => authority.replace(index),
                [b':', ..] => return Err(Malformed),
                name => {
                    pseudo_ended = true;
                    match name {
                        b"grpc-timeout" => timeout = grpc::parse_timeout(field.value),
                        b"content-length" => {
                            content_length = Some(grpc::parse_number(field.value).ok_or(Malformed)?);
                        }
                        _ => {}
                    }
                    continue;
                }
            };
            if pseudo_ended || seen.is_some() {
                return Err(Malformed);
            }
        }
        let (Some(method), Some(path), Some(_)) = (method, path, scheme) else { return Err(Malformed) };
        let request = Self { list, method, path, timeout, content_length };
        if request.path().is_empty() || request.method() == b"CONNECT" {
            return Err(Malformed);
        }
        Ok(request)
    }

    /// The method: gRPC's is `POST`.
    pub fn method(&self) -> &'a [u8] {
        self.value(self.method)
    }

    /// The path: gRPC's is `/package.Service/Method`.
    pub fn path(&self) -> &'a [u8] {
        self.value(self.path)
    }

    /// The value of the first field of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.list.get(name.as_bytes())
    }

    /// All fields, the pseudo-headers first.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.list.fields()
    }

    /// The time that the host allows from now on (`grpc-timeout`).
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The length of the body, where the host says it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The size of the list.
    pub(crate) fn size(&self) -> usize {
        self.list.size()
    }

    /// Writes the head as the plugin is to have it: over TLS, with `amendments`, and with `timeout` in the place of the host's.
    pub(crate) fn encode(&self, block: &mut BytesMut, amendments: &Amendments, timeout: Option<Duration>) {
        for field in self.list.fields() {
            let value = match field.name {
                b":scheme" => b"https",
                // Not checked by us to the end, and of no use to gRPC.
                b"content-length" => continue,
                b"grpc-timeout" if timeout.is_some() => continue,
                name if amendments.replace(name) => continue,
                _ => field.value,
            };
            encode::field(block, field.name, value, field.sensitive);
        }
        if let Some(timeout) = timeout {
            encode::field(block, b"grpc-timeout", grpc::format_timeout(timeout).as_bytes(), false);
        }
        amendments.list.encode(block);
    }

    fn value(&self, index: usize) -> &'a [u8] {
        self.list.field(&self.list.fields[index]).value
    }
}

// === impl Amendments ===

impl Amendments {
    /// Sets a field. The name is in lower case, and no pseudo-header's.
    pub fn set(&mut self, name: &'static str, value: &[u8]) {
        debug_assert!(
            is_proper(&Field { name: name.as_bytes(), value, sensitive: false }) && !name.starts_with(':')
        );
        self.list.push(&Field { name: name.as_bytes(), value, sensitive: false });
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    fn replace(&self, name: &[u8]) -> bool {
        self.list.fields().any(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::default();
        for (name, value) in fields {
            list.push(&Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
                sensitive: *name == "secret",
            });
        }
        list
    }

    const HEAD: [(&str, &str); 4] =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x")];

    fn with(more: &[(&str, &str)]) -> HeaderList {
        list(&[&HEAD, more].concat())
    }

    /// The fields of a block that was encoded.
    fn decoded(block: &[u8]) -> Vec<(String, String, bool)> {
        let mut fields = Vec::new();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        Decoder::new(0)
            .decode(block, |field| fields.push((text(field.name), text(field.value), field.sensitive)))
            .unwrap();
        fields
    }

    #[test]
    fn what_http_2_forbids_in_a_request_is_malformed() {
        for more in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("Upper", "x"),
            ("", "x"),
            ("a b", "x"),
            ("x", "a\nb"),
            (":path", "/c"),
            (":status", "200"),
            ("content-length", "x"),
        ] {
            assert!(Request::of(&with(&[more])).is_err(), "{more:?}");
        }
        assert!(Request::of(&with(&[("x", "1"), (":protocol", "y")])).is_err());
        assert!(Request::of(&list(&[("x", "1"), HEAD[0], HEAD[1], HEAD[2]])).is_err());
        for missing in 0..3 {
            let mut head = HEAD.to_vec();
            head.remove(missing);
            assert!(Request::of(&list(&head)).is_err(), "{missing}");
        }
        assert!(Request::of(&list(&[(":method", "CONNECT"), HEAD[1], HEAD[2]])).is_err());
        assert!(Request::of(&with(&[("te", "trailers")])).is_ok());
    }

    #[test]
    fn a_request_goes_on_over_tls_with_what_was_set_and_without_a_length() {
        let list =
            with(&[("content-length", "3"), ("id", "theirs"), ("secret", "s"), ("grpc-timeout", "1S")]);
        let request = Request::of(&list).unwrap();
        assert_eq!(request.timeout(), Some(Duration::from_secs(1)));
        let mut amendments = Amendments::default();
        amendments.set("id", b"ours");
        let mut block = BytesMut::new();
        request.encode(&mut block, &amendments, Some(Duration::from_millis(250)));
        let fields = decoded(&block);
        let fields: Vec<(&str, &str, bool)> =
            fields.iter().map(|(name, value, sensitive)| (&**name, &**value, *sensitive)).collect();
        assert_eq!(
            fields,
            [
                (":method", "POST", false),
                (":scheme", "https", false),
                (":path", "/a/b", false),
                (":authority", "x", false),
                ("secret", "s", true),
                ("grpc-timeout", "250000u", false),
                ("id", "ours", false),
            ]
        );
    }

    #[test]
    fn a_list_beyond_the_limit_is_decoded_to_its_end_and_not_kept() {
        let mut block = BytesMut::new();
        with(&[("big", &"x".repeat(500))]).encode(&mut block);
        let mut kept = HeaderList::default();
        let decoded = kept.decode(&mut Decoder::new(0), &block, 300).unwrap();
        assert!(!decoded.complete && decoded.size > 500);
        assert!(kept.get(b"big").is_none() && kept.size() <= 300);
    }
}
