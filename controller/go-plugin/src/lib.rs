//! HashiCorp's [go-plugin] protocol: run a plugin as a host does, or be one.
//!
//! A go-plugin plugin is a process that its host starts, and speaks to over gRPC on a Unix socket. This
//! crate knows everything between the two but how the process is run: a subprocess, a container and an
//! engine's log stream are all the same to it.
//!
//! # As a host
//!
//! 1. [`Launch`] says what the process must find in its environment: the [`Cookie`], the protocol versions
//!    on offer, where its socket goes, and the certificate of our [`Identity`]. [`Application`] adds what
//!    Vault and OpenBao plugins want.
//! 2. [`LineReader`] finds the first line of its standard output, [`Handshake`] understands it, and
//!    [`Handshake::check`] compares it with what was asked.
//! 3. [`SocketAddress`] finds that socket from our side, and [`Plugin::connect`] speaks to it:
//!    [health](Plugin::health), [standard output](Plugin::stdio), [shutdown](Plugin::shutdown), and any
//!    gRPC service of its own through [`Plugin::channel`], or with messages as they are through
//!    [`Plugin::call`]. [`Plugin::dial`] gives a connection of its own to whoever speaks HTTP/2 himself.
//! 4. [`Plugin::broker`] exchanges the messages by which either side offers further servers to the other. Without multiplexing
//!    [`Listener`] makes our sockets for that, and [`Plugin::dial_at`] connects to the plugin's. With multiplexing
//!    [`Plugin::connect_multiplexed`] is the way to connect, and all connections are streams of its [`Session`].
//!
//! `examples/run_plugin.rs` does all of this with a subprocess.
//!
//! # As a plugin
//!
//! With the feature `serve`, the module `serve` is the other half: it makes a Rust program a plugin.
//!
//! For one who is a plugin by his own means, [`Peer`] tells that a connection is the host's, in either direction, and
//! [`Session::serve`] is the session of a host that multiplexes.
//!
//! # Guarantees
//!
//! - Nothing a plugin prints or sends makes this crate panic, wait without a limit or hold an unbounded
//!   amount of memory, and an error about it says what to do.
//! - A socket is only ever opened directly inside the shared directory, and never through a symbolic link.
//! - With an identity, both sides are certain: the plugin accepts our certificate alone, and we its alone,
//!   byte for byte. Private keys show up in no error, log or `Debug` text.
//! - A [`Plugin`]'s calls go over one connection. It is never re-made behind the caller's back: when it ends,
//!   [`Plugin::closed`] says so at once.
//!
//! # What it touches
//!
//! Sockets, in the directory it is given. No process, no global state (in particular no process-wide TLS
//! provider), no clock but for time limits. It is Linux only.
//!
//! Not in it: net/rpc plugins, a broker that pairs announcements, knocks and connections by itself on the host's side (the
//! messages and the connections are there for one), and a broker in `serve` that multiplexes (the session is there for one).
//!
//! [go-plugin]: https://github.com/hashicorp/go-plugin

mod application;
mod broker;
mod call;
mod channel;
mod dialer;
mod excerpt;
mod handshake;
mod identity;
mod inbound;
mod launch;
mod line;
mod link;
mod listener;
mod mux;
mod peer;
mod pin;
mod plugin;
pub mod proto;
mod raw;
#[cfg(feature = "serve")]
pub mod serve;
mod socket;
mod spare;
mod stdio;
mod stream;
mod unary;

pub use application::Application;
pub use broker::{
    BrokerClosed, BrokerError, BrokerMessage, BrokerMessageError, BrokerReceiver, BrokerSender,
    MAX_BROKER_ADDRESS_SIZE, MAX_BROKER_MESSAGE_SIZE,
};
pub use call::{CallError, Lost};
pub use channel::{Channel, MAX_MESSAGE_SIZE};
pub use excerpt::Excerpt;
pub use handshake::{
    Address, BrokerMultiplexing, Expected, Handshake, HandshakeError, Problem, Protocol, parse_bool,
};
pub use identity::{Identity, IdentityError};
pub use inbound::Inbound;
pub use launch::{Cookie, CookieError, Launch, variable};
pub use line::{Fed, FirstLine, LINE_LIMIT, LineError, LineReader, ReadLineError, read_line};
pub use listener::{ListenError, Listener};
pub use mux::{Inbounds, MAX_STREAMS, MAX_WAITING, Session, Turn};
pub use peer::Peer;
pub use plugin::{ConnectError, Health, Plugin};
pub use socket::{AddressError, FileKind, SocketAddress, SocketError};
pub use stdio::{Stdio, StdioChannel};
pub use stream::PluginStream;
pub use unary::{Answer, MAX_ANSWER_SIZE};

/// Types of other crates that this one's interface is made of.
pub mod external {
    pub use hyper::{body::Bytes, http};
    pub use prost;
    pub use rustls;
    pub use tonic;
}
