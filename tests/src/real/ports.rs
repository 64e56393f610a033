//! Ports of loopback for servers of tests.

use std::net::{Ipv4Addr, TcpListener};

/// A port that was free just now. Others look for ports, too: who finds it taken takes another.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
