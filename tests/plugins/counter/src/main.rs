//! A go-plugin plugin: counters that live as long as the process does.
//!
//! Cookie `COUNTER_PLUGIN=counter`, application protocol version 1: `proto/counter.proto`. With `--multiplex` one process serves
//! several mounts, each with counters of its own.

mod counter;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use go_plugin::{Cookie, CookieError, StdioChannel, external::tonic::service::Routes, serve::Server};
use tokio::time;

use crate::counter::{Counters, proto::counter_server::CounterServer};

/// Counts for its host, which starts it with `COUNTER_PLUGIN=counter` in its environment: it is a go-plugin plugin.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Wait this long before being ready, in milliseconds, as a plugin with much to load does.
    #[arg(long, env = "COUNTER_START_DELAY_MS", default_value_t = 0)]
    start_delay_ms: u64,

    /// Write this line to standard error when ready, and to the host as this plugin's output.
    #[arg(long, env = "COUNTER_GREETING")]
    greeting: Option<String>,

    /// Say that this process serves several mounts, and keep the counters of each apart by the `multiplex_id` in its calls.
    #[arg(long, env = "COUNTER_MULTIPLEX")]
    multiplex: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, CookieError> {
    let options = Options::parse();
    time::sleep(Duration::from_millis(options.start_delay_ms)).await;

    let server = Server::new(Cookie::new("COUNTER_PLUGIN", "counter")?);
    if let Some(greeting) = options.greeting {
        let output = server.output();
        tokio::spawn(async move {
            // Standard error is the plugin's log. What it means for its host goes through the connection.
            eprintln!("{greeting}");
            output.write(StdioChannel::Stdout, format!("{greeting}\n")).await;
        });
    }
    let services = if options.multiplex {
        Routes::new(CounterServer::new(Counters::multiplexed())).add_service(plugin_multiplexing::service())
    } else {
        Routes::new(CounterServer::new(Counters::single()))
    };
    Ok(server.version(1, services).run().await)
}
