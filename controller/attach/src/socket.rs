//! The socket between them: packets, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, sendmsg,
    socket_with, sockopt,
};

/// The longest packet, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// How many descriptors one packet can have.
pub const MAX_DESCRIPTORS: usize = 4;

/// How long a peer that takes no connections or no packets is waited for, in [`connect`] and in every [`send`] on what it returns.
pub const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Connects, and waits while the queue of the listener is full. The socket blocks, and is closed when another program is executed.
///
/// # Errors
/// When nobody listens there, the path is too long, we are not permitted, or [`SEND_LIMIT`] is over (`TimedOut`).
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND_LIMIT))?;
    match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
        Ok(()) => Ok(socket),
        Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
}

/// Listens at a path where there is nothing. The listener does not block. The mode of its file follows the umask.
///
/// # Errors
/// When there is something, the path is too long, or we are not permitted.
pub fn listen(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Sends one packet. A peer that has gone is an error, not a signal.
///
/// # Errors
/// When the peer has gone, or does not read (`WouldBlock`). `InvalidInput` for a message of more than [`MAX_PACKET`] bytes, or none,
/// or with more than [`MAX_DESCRIPTORS`].
pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if message.is_empty() || message.len() > MAX_PACKET || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = rights.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "there is space for as many");
    }
    // A packet is sent whole or not at all.
    let message = [IoSlice::new(message)];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &message, &mut rights, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one packet: its length, and its descriptors, which are closed when another program is executed. `None` when the peer has
/// closed its side, or sent an empty packet.
///
/// # Errors
/// When nothing came (`WouldBlock`), and when the packet or its descriptors are more than fits (`InvalidData`): what came of those is
/// closed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        rustix::io::retry_on_intr(|| {
            recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut rights, RecvFlags::CMSG_CLOEXEC)
        })
    };
    // A peer that closes before it has read all is told of first, and once: what it had sent is still there.
    let received = match receive() {
        Err(rustix::io::Errno::CONNRESET) => receive(),
        received => received,
    }?;
    let mut descriptors = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    // The kernel's count of what fits is a little more generous than ours.
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    if cut || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes > 0).then_some((received.bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::socketpair;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_packet_arrives_with_its_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = listen(&path, 5).unwrap();
        let client = connect(&path).unwrap();
        let server = rustix::net::accept(&listener).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept").unwrap();
        send(&client, b"one", &[file.as_fd(), listener.as_fd()]).unwrap();
        send(&client, b"two", &[]).unwrap();
        drop(client);

        let mut buffer = vec![0; MAX_PACKET];
        let (length, descriptors) = receive(&server, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..length], b"one");
        assert_eq!(descriptors.len(), 2);
        for descriptor in &descriptors {
            assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
        }
        let mut received = File::from(descriptors.into_iter().next().unwrap());
        received.rewind().unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");

        let (length, descriptors) = receive(&server, &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"two"[..], 0));
        assert!(receive(&server, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn sockets_are_not_left_to_programs_that_are_executed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = listen(&path, 5).unwrap();
        for socket in [&listener, &connect(&path).unwrap()] {
            assert!(fcntl_getfd(socket).unwrap().contains(FdFlags::CLOEXEC));
        }
        // It does not block.
        drop(rustix::net::accept(&listener).unwrap());
        assert_eq!(rustix::net::accept(&listener).unwrap_err(), rustix::io::Errno::AGAIN);
    }

    #[test]
    fn what_does_not_fit_is_refused_on_both_sides() {
        let (one, other) = pair();
        let file = tempfile::tempfile().unwrap();
        let refused = |message: &[u8], count: usize| {
            send(&one, message, &vec![file.as_fd(); count]).unwrap_err().kind() == io::ErrorKind::InvalidInput
        };
        assert!(
            refused(&vec![0; MAX_PACKET + 1], 0) && refused(b"x", MAX_DESCRIPTORS + 1) && refused(b"", 0)
        );
        send(&one, &vec![7; MAX_PACKET], &[file.as_fd(); MAX_DESCRIPTORS]).unwrap();
        let (length, descriptors) = receive(&other, &mut vec![0; MAX_PACKET]).unwrap().unwrap();
        assert_eq!((length, descriptors.len()), (MAX_PACKET, MAX_DESCRIPTORS));
        drop(descriptors);

        // Its other end shows that nobody holds it any more.
        let (held, mut end) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        send(&one, b"four", &[held.as_fd()]).unwrap();
        let cut = receive(&other, &mut [0; 3]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::InvalidData);
        for count in [MAX_DESCRIPTORS + 1, 100] {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
            let mut rights = SendAncillaryBuffer::new(&mut space);
            let descriptors = vec![held.as_fd(); count];
            assert!(rights.push(SendAncillaryMessage::ScmRights(&descriptors)));
            sendmsg(&one, &[IoSlice::new(b"x")], &mut rights, SendFlags::NOSIGNAL).unwrap();
            let cut = receive(&other, &mut [0; 9]).unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::InvalidData, "{count}");
        }
        drop(held);
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0, "what came is closed");
    }

    #[test]
    fn a_peer_that_has_gone_is_an_error_and_no_signal() {
        let (one, other) = pair();
        drop(other);
        assert_eq!(send(&one, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_a_peer_said_is_read_although_it_closed_before_it_read_all() {
        let (one, other) = pair();
        send(&one, b"unread", &[]).unwrap();
        send(&other, b"last", &[one.as_fd()]).unwrap();
        drop(other);
        let mut buffer = [0; 9];
        let (length, descriptors) = receive(&one, &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"last"[..], 1));
        assert!(receive(&one, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn where_nobody_listens_connecting_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(listen(&path, 5).unwrap());
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let long = directory.path().join("x".repeat(108));
        assert!(connect(&long).is_err() && listen(&long, 5).is_err());
    }
}
