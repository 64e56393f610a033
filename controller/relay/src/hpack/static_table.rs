//! The table that is the same for all (RFC 7541, Appendix A).

/// How many entries there are. The dynamic table's indices begin after them.
pub(super) const LEN: usize = ENTRIES.len();

/// Where a name, or a whole field, stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The index, from 1.
    pub(super) index: usize,
    /// Whether the value is the same too.
    pub(super) whole: bool,
}

/// The field with this index, from 1.
pub(super) fn get(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    ENTRIES.get(index.checked_sub(1)?).copied()
}

/// The index of the field or, without it, the first of its name.
pub(super) fn find(name: &[u8], value: &[u8]) -> Option<Found> {
    let first =
        *FIRSTS.get(name.len())?.iter().take_while(|&&at| at != 0).find(|&&at| entry(at).0 == name)?;
    // Those of one name stand together.
    let whole = ENTRIES[usize::from(first) - 1..]
        .iter()
        .take_while(|entry| entry.0 == name)
        .position(|entry| entry.1 == value);
    Some(Found { index: usize::from(first) + whole.unwrap_or(0), whole: whole.is_some() })
}

fn entry(index: u8) -> (&'static [u8], &'static [u8]) {
    ENTRIES[usize::from(index) - 1]
}

/// The names by their lengths: the indices of their first entries, then zeros.
static FIRSTS: [[u8; 8]; 28] = firsts();

#[expect(clippy::cast_possible_truncation, reason = "61 entries")]
const fn firsts() -> [[u8; 8]; 28] {
    let mut firsts = [[0; 8]; 28];
    let mut used = [0; 28];
    let mut at = 0;
    while at < LEN {
        let name = ENTRIES[at].0;
        if at == 0 || !same(name, ENTRIES[at - 1].0) {
            firsts[name.len()][used[name.len()]] = at as u8 + 1;
            used[name.len()] += 1;
        }
        at += 1;
    }
    firsts
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

const ENTRIES: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];
