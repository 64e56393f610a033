//! The gateway on real sockets, with the real relay, plugins in this process, and hosts that speak gRPC.

mod brokers;
mod deaths;
mod doors;
mod followed;
mod knocks;
mod limits;
mod lives;
mod memory;
mod own;
mod replays;
mod support;
mod switches;
