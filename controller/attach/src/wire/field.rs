//! Fields: a tag, a length, and bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::WireError;

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

/// The fields of a message that is read. Of a field that is repeated where one is meant, the first counts.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    fields: Vec<(u8, &'a [u8])>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        Self { bytes: vec![kind] }
    }

    pub(super) fn field(mut self, tag: u8, bytes: &[u8]) -> Self {
        self.bytes.push(tag);
        self.bytes.extend(length(bytes));
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn path(self, tag: u8, path: &Path) -> Self {
        self.field(tag, path.as_os_str().as_bytes())
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.bytes
    }
}

/// The length of bytes, as it stands before them. What is longer than can be said is far beyond what can be sent.
pub(super) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The fields that make up these bytes.
    pub(super) fn read(mut rest: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Vec::new();
        while let Some((&tag, after)) = rest.split_first() {
            let (bytes, after) = counted(after)?;
            fields.push((tag, bytes));
            rest = after;
        }
        Ok(Self { fields })
    }

    /// The bytes of a field that may be left out.
    pub(super) fn optional(&self, tag: u8) -> Option<&'a [u8]> {
        self.all().find_map(|(found, bytes)| (found == tag).then_some(bytes))
    }

    pub(super) fn bytes(&self, tag: u8) -> Result<&'a [u8], WireError> {
        self.optional(tag).ok_or(WireError::Missing { tag })
    }

    pub(super) fn text(&self, tag: u8) -> Result<String, WireError> {
        text(self.bytes(tag)?)
    }

    pub(super) fn path(&self, tag: u8) -> Result<PathBuf, WireError> {
        Ok(PathBuf::from(OsStr::from_bytes(self.bytes(tag)?)))
    }

    /// A number of as many bytes as are wanted.
    pub(super) fn number<const LENGTH: usize>(&self, tag: u8) -> Result<[u8; LENGTH], WireError> {
        self.bytes(tag)?.try_into().map_err(|_| WireError::Number { tag })
    }

    /// All fields, in the order in which they stand.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        self.fields.iter().copied()
    }
}

/// Bytes that stand after their length, and what follows them.
pub(super) fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(WireError::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| WireError::Short)?;
    rest.split_at_checked(length).ok_or(WireError::Short)
}

pub(super) fn text(bytes: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(WireError::Text)
}
