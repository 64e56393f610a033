//! A database plugin for Vault and OpenBao that multiplexes. Its "databases" are kept in memory, one per mount, so that what is
//! mixed up, forgotten or told twice shows.
//!
//! Protocol version 6 is the multiplexed one: each `multiplex_id` has a database of its own. With version 5 there is one for all.
//!
//! # What its calls do
//!
//! - `Initialize` wants a `label` in its configuration; `delay_ms` beside it is how long it takes. The configuration is
//!   the host's to keep, and answered as it came. Each is told on standard error: `initialized LABEL (ID)`.
//! - `NewUser` answers `LABEL_NUMBER@HOSTNAME:PID`: which configuration, the number of the user there, and which process.
//!   With the statement `hang` it makes the user, and does not answer: a call to kill the plugin during. That it came shows in
//!   the number of the next user.
//! - `UpdateUser` fails for a user that there is not; `DeleteUser` deletes it if there is one.
//! - All three fail with INTERNAL "connection has not been initialized" before `Initialize`, and after `Close`.
//! - `Type` is `memory`.

mod database;
mod service;

use std::process::ExitCode;

use clap::Parser;
use go_plugin::{Application, external::tonic::service::Routes, serve::Server};

use crate::service::{Databases, proto::database_server::DatabaseServer};

/// Keeps users in its memory, for a host that starts it as a database plugin of Vault's.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Options {} = Options::parse();
    let single = Routes::new(DatabaseServer::new(Databases::single()));
    let multiplexed = Routes::new(DatabaseServer::new(Databases::multiplexed()))
        .add_service(plugin_multiplexing::service());
    Server::new(Application::Database.cookie()).version(5, single).version(6, multiplexed).run().await
}
