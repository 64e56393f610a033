//! A go-plugin plugin that misbehaves as its arguments say, for tests of those who run plugins.
//!
//! Cookie `HOSTILE_PLUGIN=hostile`, application protocol version 1, which has no services of its own but that of the
//! command `bulk`: `proto/bulk.proto`. Whatever a command does not say about it is done as a good plugin does it:
//! SIGTERM, for one, ends it.

mod broker;
mod bulk;
mod flood;
mod line;
mod moment;
mod serving;

use std::{env, error::Error, future, process::ExitCode};

use clap::{Parser, Subcommand};
use go_plugin::{
    Cookie, CookieError,
    external::tonic::service::Routes,
    serve::{Listening, Server},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{broker::Misuse, flood::Channel, moment::Moment};

/// How the process exits, or why it could not even misbehave.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Misbehaves. A host starts it with `HOSTILE_PLUGIN=hostile` in its environment: it is a go-plugin plugin.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    behaviour: Behaviour,
}

#[derive(Debug, Clone, Subcommand)]
enum Behaviour {
    /// Print a line that is no handshake, and wait.
    Garbage,
    /// Print a line that never ends.
    EndlessLine,
    /// Print the beginning of a handshake, and exit.
    HalfLine,
    /// Print nothing, and wait.
    NoLine,
    /// Exit before the handshake.
    Exit {
        #[arg(long, default_value_t = 1)]
        code: u8,
        /// What to write to standard error first.
        #[arg(long, default_value = "cannot open /etc/hostile.conf")]
        message: String,
    },
    /// Say that go-plugin's own protocol has version 2.
    CoreVersion,
    /// Say that the application protocol has version 99.
    AppVersion,
    /// Say that the protocol is net/rpc.
    NetRpc,
    /// Ignore the host's certificate, serve in plaintext, and say so.
    NoCertificate,
    /// Say another certificate than the one it serves with.
    WrongCertificate,
    /// Listen in the temporary directory instead of the one it is given.
    Outside,
    /// Say an address with nothing there.
    MissingSocket,
    /// Put a symbolic link to its socket where its socket should be.
    Symlink,
    /// Listen, but accept no connection.
    NoAccept,
    /// Say that it is not healthy.
    NotServing,
    /// Be a good plugin, then exit.
    Die {
        #[command(flatten)]
        moment: Moment,
        #[arg(long, default_value_t = 1)]
        code: u8,
    },
    /// Be a good plugin, then stop answering, with all connections open. Not even SIGTERM is noticed.
    Freeze {
        #[command(flatten)]
        moment: Moment,
    },
    /// Be a good plugin, then close all connections and accept no others.
    Close {
        #[command(flatten)]
        moment: Moment,
    },
    /// Be a good plugin on the first connection, and say on all others what HTTP/2 does not allow.
    BreakHttp,
    /// Be a good plugin that cannot be ended: by neither Shutdown nor SIGTERM.
    Immortal,
    /// Be a good plugin, then take memory until killed.
    Allocate {
        #[command(flatten)]
        moment: Moment,
    },
    /// Be a good plugin that sends, and takes, as much as its host asks for in one call.
    Bulk,
    /// Be a plugin that has nothing but a broker, and misuses that.
    Broker {
        misuse: Misuse,
        /// A place outside of its directory, of which it tells as its own. May be given several times.
        #[arg(long)]
        outside: Vec<String>,
        /// When what it offers becomes a link to the first of these places.
        #[command(flatten)]
        moment: Moment,
    },
    /// Be a good plugin that writes without end.
    Flood {
        channel: Channel,
        /// Begin before the handshake. On standard output that leaves no handshake to be found.
        #[arg(long)]
        early: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Options { behaviour } = Options::parse();
    match live(behaviour).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn live(behaviour: Behaviour) -> Outcome {
    let mut terminate = signal(SignalKind::terminate())?;
    if matches!(behaviour, Behaviour::Immortal) {
        return behave(behaviour).await;
    }
    tokio::select! {
        outcome = behave(behaviour) => outcome,
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn behave(behaviour: Behaviour) -> Outcome {
    match behaviour {
        Behaviour::Garbage => line::print("Welcome to Hostile 1.0, please stand by\n")?,
        Behaviour::EndlessLine => line::print_endless(),
        Behaviour::HalfLine => {
            line::print("1|1|unix|/tmp/go-plu")?;
            return Ok(ExitCode::SUCCESS);
        }
        Behaviour::NoLine => (),
        Behaviour::Exit { code, message } => {
            eprintln!("{message}");
            return Ok(ExitCode::from(code));
        }
        Behaviour::CoreVersion => return serving::core_version(listen()?).await,
        Behaviour::AppVersion => return serving::app_version(listen()?).await,
        Behaviour::NetRpc => return serving::net_rpc(listen()?).await,
        Behaviour::NoCertificate => return serving::well(listen_without("PLUGIN_CLIENT_CERT")?).await,
        Behaviour::WrongCertificate => return serving::wrong_certificate(listen()?).await,
        Behaviour::Outside => return serving::well(listen_without("PLUGIN_UNIX_SOCKET_DIR")?).await,
        Behaviour::MissingSocket => return serving::missing_socket(listen()?).await,
        Behaviour::Symlink => return serving::symlink(listen()?).await,
        Behaviour::NoAccept => return serving::no_accept(&listen()?).await,
        Behaviour::NotServing => {
            let server = server()?;
            server.health().set_serving(false);
            return serving::well(server.listen(variable)?).await;
        }
        Behaviour::Die { moment, code } => return serving::die(listen()?, moment.arm()?, code).await,
        Behaviour::Freeze { moment } => return serving::freeze(listen()?, moment.arm()?).await,
        Behaviour::Close { moment } => return serving::close(listen()?, moment.arm()?).await,
        Behaviour::BreakHttp => return serving::break_http(listen()?).await,
        Behaviour::Immortal => return serving::for_ever(listen()?).await,
        Behaviour::Allocate { moment } => return serving::allocate(listen()?, moment.arm()?).await,
        Behaviour::Bulk => return serving::well(server_of(bulk::service())?.listen(variable)?).await,
        Behaviour::Broker { misuse, outside, moment } => {
            return broker::misuse(listen()?, moment.arm()?, misuse, outside).await;
        }
        Behaviour::Flood { channel, early } => {
            let server = server()?;
            let output = server.output();
            return serving::flood(server.listen(variable)?, channel, output, early).await;
        }
    }
    future::pending().await
}

fn server() -> Result<Server, CookieError> {
    server_of(Routes::default())
}

fn server_of(services: Routes) -> Result<Server, CookieError> {
    Ok(Server::new(Cookie::new("HOSTILE_PLUGIN", "hostile")?).version(1, services))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn listen() -> Result<Listening, Box<dyn Error>> {
    Ok(server()?.listen(variable)?)
}

/// As if the host had not set this variable.
fn listen_without(unset: &str) -> Result<Listening, Box<dyn Error>> {
    Ok(server()?.listen(|name| variable(name).filter(|_| name != unset))?)
}
