//! Plugins that serve, or say that they do.

use std::{fs, future, os::unix, process::ExitCode, thread};

use go_plugin::{
    Address, Handshake, Identity, Protocol,
    serve::{Listening, Output},
};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    task,
};

use crate::{
    Outcome,
    flood::{self, Channel},
    line,
};

/// Empty settings, as HTTP/2 begins, and a `PUSH_PROMISE`, which no host allows.
const NOT_HTTP: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2];

/// How much memory is taken at a time.
const CHUNK: usize = 16 << 20;

/// As a good plugin does.
pub(crate) async fn well(listening: Listening) -> Outcome {
    listening.announce()?;
    announced(listening).await
}

async fn announced(mut listening: Listening) -> Outcome {
    listening.serve().await;
    Ok(ExitCode::SUCCESS)
}

/// Serves, but says something else.
async fn saying(listening: Listening, handshake: impl ToString) -> Outcome {
    line::print(&format!("{}\n", handshake.to_string()))?;
    announced(listening).await
}

pub(crate) async fn core_version(listening: Listening) -> Outcome {
    let line = listening.handshake().to_string().replacen('1', "2", 1);
    saying(listening, line).await
}

pub(crate) async fn app_version(listening: Listening) -> Outcome {
    let handshake = Handshake { app_version: 99, ..listening.handshake().clone() };
    saying(listening, handshake).await
}

pub(crate) async fn net_rpc(listening: Listening) -> Outcome {
    let handshake = Handshake { protocol: Protocol::NetRpc, ..listening.handshake().clone() };
    saying(listening, handshake).await
}

pub(crate) async fn wrong_certificate(listening: Listening) -> Outcome {
    let other = Identity::generate()?.certificate().clone();
    let handshake = Handshake { server_certificate: Some(other), ..listening.handshake().clone() };
    saying(listening, handshake).await
}

pub(crate) async fn missing_socket(listening: Listening) -> Outcome {
    let address = Address::Unix(format!("{}-of-another", socket(&listening)));
    let handshake = Handshake { address, ..listening.handshake().clone() };
    saying(listening, handshake).await
}

pub(crate) async fn symlink(listening: Listening) -> Outcome {
    let path = socket(&listening);
    let moved = format!("{path}-moved");
    fs::rename(&path, &moved)?;
    unix::fs::symlink(&moved, &path)?;
    well(listening).await
}

/// The path of the plugin's socket.
pub(crate) fn socket(listening: &Listening) -> String {
    match &listening.handshake().address {
        Address::Unix(path) | Address::Tcp(path) => path.clone(),
    }
}

pub(crate) async fn no_accept(listening: &Listening) -> Outcome {
    listening.announce()?;
    future::pending().await
}

pub(crate) async fn die(listening: Listening, moment: impl Future<Output = ()>, code: u8) -> Outcome {
    tokio::select! {
        outcome = well(listening) => outcome,
        () = moment => Ok(ExitCode::from(code)),
    }
}

pub(crate) async fn freeze(listening: Listening, moment: impl Future<Output = ()>) -> Outcome {
    let freeze = async {
        moment.await;
        // This is the only thread, so that nothing moves any more.
        loop {
            thread::park();
        }
    };
    tokio::select! {
        outcome = well(listening) => outcome,
        outcome = freeze => outcome,
    }
}

pub(crate) async fn close(mut listening: Listening, moment: impl Future<Output = ()>) -> Outcome {
    listening.announce()?;
    tokio::select! {
        () = listening.serve() => return Ok(ExitCode::SUCCESS),
        () = moment => (),
    }
    future::pending().await
}

pub(crate) async fn break_http(listening: Listening) -> Outcome {
    listening.announce()?;
    task::spawn(listening.accept().await.serve());
    loop {
        let accepted = listening.accept().await;
        task::spawn(async move {
            let Some(mut host) = accepted.secured().await else { return };
            // When its host begins: a connection on which somebody talks out of turn is taken for none.
            if host.read_u8().await.is_ok() && host.write_all(NOT_HTTP).await.is_ok() {
                let _ = io::copy(&mut host, &mut io::sink()).await;
            }
        });
    }
}

pub(crate) async fn for_ever(mut listening: Listening) -> Outcome {
    listening.announce()?;
    loop {
        listening.serve().await;
    }
}

pub(crate) async fn allocate(listening: Listening, moment: impl Future<Output = ()>) -> Outcome {
    let allocate = async {
        moment.await;
        let mut hoard = Vec::new();
        loop {
            // Written to, or the system only promises it.
            hoard.push(vec![1_u8; CHUNK]);
            task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = well(listening) => outcome,
        outcome = allocate => outcome,
    }
}

pub(crate) async fn flood(listening: Listening, channel: Channel, output: Output, early: bool) -> Outcome {
    if early {
        flood::start(channel, output);
        return well(listening).await;
    }
    listening.announce()?;
    flood::start(channel, output);
    announced(listening).await
}
