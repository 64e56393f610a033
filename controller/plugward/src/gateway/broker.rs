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
//! A host's server is only ever reached where the host itself could have listened (`reach`); a session's by its launcher, whose sockets
//! also are those that its host is told of (`way`).
//!
//! # One connection
//!
//! A plugin that shares its one connection has no sockets for this, nor has the host of a session that does. Who of these wants to come to
//! a server knocks for it, and after a yes its next stream leads there; who has one says nothing of it, and waits for knocks. So what
//! is knocked for is looked for on the other side: announced there, or knocked for in turn ([`knocking`]).
//!
//! - A plugin's knock ([`knocks`]) leads to what hosts announced, or to the host that never announces anything.
//! - A host's knock ([`visits`]) leads to what its plugin announced or is about to, or to the plugin that never does.
//! - Who waits to be told of a server cannot come to one of which the other side never tells. Only where a message that is known carries
//!   its number is there more to go by: the plugin is told of a socket of ours then, and who connects there is led to the host by a knock.
//!
//! On the wire only their order says what streams are for. On each side knock, answer and stream of one server follow each
//! other before those of the next begin; and one who was let in and opens no stream loses all of it: a plugin is replaced, and a
//! host's session ends.
//!
//! # Numbers
//!
//! Every host counts the servers that it offers from 1, and a plugin has one broker for all of its hosts. Where it is known which
//! message carries the number (a backend's `Setup`), each gets one of its own in the container. Where it is not
//! ([`Numbers::Opaque`]), numbers pass as they are, and one host at a time may use the broker of a container: another is refused,
//! since nobody could tell their servers apart. The refused host's calls are, too: what they say of a server would lead to the other host's.
//! A host that never tells what it offers is only asked for it where it is the only host of the container, and becomes the one that uses the
//! broker with that.
//!
//! # Sessions
//!
//! A go-plugin host opens its broker's stream once. So the session of a host over whose broker something was said, by either side, cannot go
//! on with another controller, and its launcher is told before (`Hand::brokered`).

mod announced;
mod bridge;
mod complaints;
mod container;
mod host;
mod knocking;
mod knocks;
mod offers;
mod reach;
mod receiving;
mod streams;
mod visits;
mod way;

pub(super) use self::complaints::Complaints;
pub(super) use self::container::ContainerBroker;
pub(super) use self::host::{Client, HostBroker};
pub(super) use self::offers::Numbers;
pub(super) use self::streams::HostStreams;
pub(super) use self::visits::{Led, run as answer_knocks};
pub(super) use self::way::Entrance;
