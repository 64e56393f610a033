//! Runs a go-plugin plugin as a subprocess, until it ends or Ctrl-C is pressed.
//!
//! ```text
//! cargo run --example run_plugin -- BASIC_PLUGIN hello 1 ./plugin-counter
//! ```

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{
    env,
    error::Error,
    ffi::OsString,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use go_plugin::{
    Cookie, Expected, Handshake, Identity, Launch, Plugin, SocketAddress, StdioChannel, read_line,
};
use tempfile::TempDir;
use tokio::{
    io::{self, AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    signal, time,
};

/// How long the plugin may take to print its line. go-plugin's own figure.
const START: Duration = Duration::from_mins(1);
/// How long it may take to connect, and to answer a call.
const CALL: Duration = Duration::from_secs(5);
/// How long it may take to end after `Shutdown`. go-plugin's own figure.
const GRACE: Duration = Duration::from_secs(2);

struct Given {
    cookie: Cookie,
    versions: Vec<u32>,
    program: OsString,
    arguments: Vec<OsString>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(given) = arguments() else {
        eprintln!("usage: run_plugin COOKIE_KEY COOKIE_VALUE VERSION[,VERSION…] PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    match run(given).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Given> {
    let mut given = env::args_os().skip(1);
    let mut text = || given.next()?.into_string().ok();
    let cookie = Cookie::new(text()?, text()?).ok()?;
    let versions = text()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Given { cookie, versions, program: given.next()?, arguments: given.collect() })
}

async fn run(given: Given) -> Result<(), Box<dyn Error>> {
    // What the plugin is told: who we are, and where its socket goes.
    let identity = Identity::generate()?;
    let directory = TempDir::new()?;
    let launch = Launch {
        cookie: given.cookie,
        protocol_versions: given.versions.clone(),
        socket_directory: directory.path().to_str().ok_or("the temporary directory is not UTF-8")?.to_owned(),
        socket_group: None,
        client_certificate: Some(identity.certificate_pem()),
        multiplex_broker: false,
    };
    let mut process = Command::new(&given.program)
        .args(&given.arguments)
        .envs(launch.environment())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stderr = process.stderr.take().ok_or("no standard error")?;
    let mut stdout = process.stdout.take().ok_or("no standard output")?;
    tokio::spawn(show("log", stderr));

    // What it answers: one line. Whatever else it prints has to be read, or it blocks one day.
    let first = read_line(&mut stdout, START).await?;
    tokio::spawn(show("stdout", io::AsyncReadExt::chain(std::io::Cursor::new(first.rest), stdout)));
    let handshake = Handshake::parse(&first.line)?;
    handshake.check(&Expected { versions: given.versions, automtls: true, multiplex_broker: false })?;
    println!("version  {}", handshake.app_version);
    println!("address  {:?}", handshake.address);

    // Both sides know each other now.
    let server = handshake.server_certificate.as_ref().ok_or("no certificate")?;
    let settings = Arc::new(identity.client_config(server)?);
    let address = SocketAddress::translate(&handshake.address, directory.path(), directory.path())?;
    let plugin = Plugin::connect(&address, Some(settings), CALL).await?;
    println!("health   {}", plugin.health(CALL).await?.as_str());

    let mut output = plugin.stdio();
    tokio::spawn(async move {
        while let Some((channel, piece)) = output.next().await {
            let name = match channel {
                StdioChannel::Stdout => "stdout",
                StdioChannel::Stderr => "stderr",
            };
            print!("{name:8} {}", String::from_utf8_lossy(&piece));
        }
    });

    tokio::select! {
        () = plugin.closed() => println!("closed   by the plugin"),
        interrupted = signal::ctrl_c() => {
            interrupted?;
            plugin.shutdown(CALL).await?;
        }
    }
    if time::timeout(GRACE, process.wait()).await.is_err() {
        process.start_kill()?;
    }
    println!("ended    {}", process.wait().await?);
    Ok(())
}

async fn show(name: &'static str, output: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        println!("{name:8} {}", String::from_utf8_lossy(&line));
    }
}
