//! A service manager's side of the protocol, for tests: it hears messages and keeps descriptors, as systemd does.

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::systemd::ServiceManager;

/// How long a message may take: far longer than it ever does.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
    /// What it keeps, by name, in the order in which it came.
    pub(crate) stored: Vec<(String, OwnedFd)>,
}

/// What a service said.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { directory, socket, stored: Vec::new() }
    }

    /// What `$NOTIFY_SOCKET` is for its services.
    pub(crate) fn address(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// It, as a service sees it.
    pub(crate) fn client(&self) -> ServiceManager {
        ServiceManager::at(OsString::from(self.address())).unwrap()
    }

    /// All that was said by now. Nothing of it is acted upon.
    pub(crate) fn received(&self) -> Vec<Message> {
        std::iter::from_fn(|| match self.receive(RecvFlags::DONTWAIT) {
            Ok(message) => Some(message),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        })
        .collect()
    }

    /// Acts upon all that was said by now, and says it again.
    pub(crate) fn catch_up(&mut self) -> Vec<String> {
        self.received().into_iter().map(|message| self.act(message)).collect()
    }

    /// Acts upon what is said until the service says that it is ready.
    pub(crate) fn wait_until_ready(&mut self) {
        loop {
            let message = self.receive(RecvFlags::empty()).expect("the service gets ready in time");
            if self.act(message) == "READY=1" {
                return;
            }
        }
    }

    /// The names of what it keeps.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.stored.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn act(&mut self, message: Message) -> String {
        let Message { text, descriptors } = message;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let name = value("FDNAME").unwrap_or("stored").to_owned();
        if value("FDSTORE") == Some("1") {
            self.stored.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
        }
        if value("FDSTOREREMOVE") == Some("1") {
            self.stored.retain(|(stored, _)| *stored != name);
        }
        text
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<Message> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut rights,
            flags | RecvFlags::CMSG_CLOEXEC,
        )?;
        let descriptors = rights
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok(Message { text: String::from_utf8(bytes[..received.bytes].to_vec()).unwrap(), descriptors })
    }
}
