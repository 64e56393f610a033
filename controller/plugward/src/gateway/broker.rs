//! go-plugin's broker, between hosts and containers: servers that one side offers the other.
//!
//! ```text
//! host ── StartStream ──▶ HostBroker ┄┄ ContainerBroker ──▶ StartStream ── plugin
//!   ▲                                                                        │
//!   └── the host's socket ◀──── bridge ◀── mTLS ◀── a socket of ours ◀───────┘
//! ```
//!
//! Each side has its own stream, and the two are never one: a host opens its stream once, and keeps it over any number of
//! containers ([`HostBroker`]); a plugin's broker lives for one stream of ours, from the first use to its process's end
//! ([`ContainerBroker`]). A new container is offered what the host had offered the one before.
//!
//! Addresses are not passed on: each side is told of a socket of ours, and what connects there is bridged to the other's.
//! A host's server is only ever reached where the host itself could have listened (`reach`).
//!
//! A plugin that shares its one connection ([`knocks`]) has no sockets for this: it asks to be let in to a server, and its next stream
//! leads there. What such a plugin offers, a host that knows of sockets only cannot come to: it would have to be told of a server
//! of which this kind of plugin never speaks.
//!
//! # Numbers
//!
//! Every host counts the servers that it offers from 1, and a plugin has one broker for all of its hosts. Where it is known which
//! message carries the number (a backend's `Setup`), each gets one of its own in the container. Where it is not
//! ([`Numbers::Opaque`]), numbers pass as they are, and one host at a time may use the broker of a container: another is refused,
//! since nobody could tell their servers apart. The refused host's calls are, too: what they say of a server would lead to the other host's.

mod announced;
mod bridge;
mod complaints;
mod container;
mod host;
mod knocking;
mod knocks;
mod offers;
mod reach;
mod streams;
mod visits;
mod way;

pub(super) use self::container::ContainerBroker;
pub(super) use self::host::{Client, HostBroker};
pub(super) use self::offers::Numbers;
pub(super) use self::streams::HostStreams;
pub(super) use self::visits::{Led, run as answer_knocks};
pub(super) use self::way::Entrance;
