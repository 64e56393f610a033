//! The first file of a tar archive: engines hand out files in such.
//!
//! Nothing but the beginning of an archive is read, whatever its size: that of a directory holds all that is in it. Extended headers are
//! read here, since values of theirs are bytes, a line's end among them, and the crate takes them for lines of text.

use std::borrow::Cow;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tar::{Archive, EntryType, Header};

use crate::file::{File, FileKind};

/// What headers may take before the content of the file begins: a name and a link of the longest possible, and attributes.
pub(super) const HEADERS: usize = 64 << 10;

/// The record of an extended header that holds a file's capabilities.
const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";

/// The record that holds where a link leads to, if that is long.
const LINK: &[u8] = b"linkpath";

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

/// What headers say before the one of the file itself.
#[derive(Default)]
struct Extended {
    capability: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The first file of an archive that may break off after that file's content, of which there are `limit` bytes at the most.
pub(super) fn first_file(archive: &[u8], limit: usize) -> io::Result<File> {
    let mut archive = Archive::new(archive);
    let mut extended = Extended::default();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::XHeader => extended.take(&read(&mut entry, HEADERS)?)?,
            EntryType::GNULongLink => {
                let mut link = read(&mut entry, HEADERS)?;
                link.truncate(link.iter().position(|byte| *byte == 0).unwrap_or(link.len()));
                extended.link = Some(link);
            }
            EntryType::XGlobalHeader | EntryType::GNULongName => {}
            kind => {
                let header = entry.header().clone();
                let regular = kind.is_file();
                let content = if regular { read(&mut entry, limit)? } else { Vec::new() };
                return extended.file(&header, content);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "there is no file in the archive"))
}

fn read(from: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

// === impl Extended ===

impl Extended {
    /// Takes the records that matter: `LENGTH KEY=VALUE` and a line's end, of which the length counts everything.
    fn take(&mut self, mut records: &[u8]) -> io::Result<()> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "an extended header is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length = str::from_utf8(&records[..space]).ok().and_then(|length| length.parse().ok());
            let (record, rest) =
                length.and_then(|length| records.split_at_checked(length)).ok_or_else(malformed)?;
            let record = record.get(space + 1..record.len().saturating_sub(1)).ok_or_else(malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            match (&record[..equals], &record[equals + 1..]) {
                (CAPABILITY, value) => self.capability = Some(value.to_owned()),
                (LINK, value) => self.link = Some(value.to_owned()),
                _ => {}
            }
            records = rest;
        }
        Ok(())
    }

    fn file(self, header: &Header, content: Vec<u8>) -> io::Result<File> {
        let kind = match header.entry_type() {
            EntryType::Directory => FileKind::Directory,
            EntryType::Symlink => {
                let short = header.link_name_bytes().map(Cow::into_owned);
                let link = self.link.or(short).unwrap_or_default();
                FileKind::Link(Path::new(std::ffi::OsStr::from_bytes(&link)).to_owned())
            }
            kind if kind.is_file() => FileKind::Regular,
            _ => FileKind::Other,
        };
        Ok(File { kind, mode: header.mode()? & PERMISSIONS, content, capability: self.capability })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o10_0755);
        header
    }

    fn archive(entries: &[(EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, content) in entries {
            builder.append_data(&mut header(*kind, content.len()), "program", *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_file_comes_with_its_mode_and_its_capabilities_whatever_bytes_they_are() {
        let records = b"13 path=long\n41 SCHILY.xattr.security.capability=\x01\n=\0\n8 a=bcd\n";
        let archive = archive(&[(EntryType::XHeader, records), (EntryType::Regular, b"content")]);
        let file = first_file(&archive, 4).unwrap();
        assert_eq!(file.kind, FileKind::Regular);
        assert_eq!(file.mode, 0o755);
        assert_eq!(file.content, b"cont");
        assert_eq!(file.capability.as_deref(), Some(&b"\x01\n=\0"[..]));
    }

    #[test]
    fn an_archive_that_breaks_off_after_what_is_needed_is_enough() {
        let whole = archive(&[(EntryType::Regular, &[7; 4096])]);
        let file = first_file(&whole[..1024], 100).unwrap();
        assert_eq!((file.content.len(), file.capability), (100, None));
    }

    #[test]
    fn a_link_tells_where_it_leads() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = "to/".repeat(60);
        for target in ["else", &long] {
            builder.append_link(&mut header(EntryType::Symlink, 0), "program", target).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        assert_eq!(first_file(&bytes, 0).unwrap().kind, FileKind::Link("else".into()));
        assert_eq!(first_file(&bytes[512..], 0).unwrap().kind, FileKind::Link(long.into()));
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let broken = archive(&[(EntryType::XHeader, b"99 a=b\n"), (EntryType::Regular, b"")]);
        for bytes in [&b""[..], &[1; 600], &broken] {
            assert!(first_file(bytes, 10).is_err());
        }
    }
}
