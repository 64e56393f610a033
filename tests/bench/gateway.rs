//! What a host notices of the gateway between it and its plugin.
//!
//! All load comes from one thread of this process, on one connection, over the client that the controller itself has for
//! plugins. It takes several ways to one and the same plugin, in turns: past the gateway to the socket of its container with
//! mTLS, through a pump, through the mount socket. The pump is a process of its own, as the controller is, and only copies bytes
//! from a socket into TLS: whatever stands between a host and a plugin costs as much.
//!
//! Calls that call back are another matter: those are made by hosts in Go, each a process of its own, through a mount and to a plugin
//! that the host started.

mod callbacks;
mod calls;
mod mounts;
mod nginx;
pub(crate) mod pump;
pub(crate) mod revival;
mod streams;
mod unary;
mod way;

use plugward_tests::real::TestEngine;

use crate::table::Row;

/// Traffic is measured on the first engine that the environment names, which it does not pass; revivals on each.
pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let Some(engine) = engines.first() else { return Vec::new() };
    let mut rows = unary::measure(engine, &engines).await;
    for engine in &engines {
        rows.push(revival::measure(engine, &engines).await);
    }
    rows.extend(callbacks::measure(engine, &engines).await);
    rows.extend(streams::measure(engine, &engines).await);
    rows.extend(mounts::measure(engine, &engines).await);
    rows
}

/// What a spare is for, on each engine.
pub(crate) async fn measure_standby() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let mut rows = Vec::new();
    for engine in &engines {
        rows.push(revival::measure_with_spare(engine, &engines).await);
    }
    rows
}
