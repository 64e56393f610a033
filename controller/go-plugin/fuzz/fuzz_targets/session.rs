//! A session with a plugin that sends anything. The input is a list of steps: an octet that says which, and for bytes another with
//! their number.

#![no_main]

use std::time::Duration;

use go_plugin::Session;
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::UnixStream,
    runtime::Builder,
    task::yield_now,
    time::timeout,
};

/// Not meant to pass.
const LIMIT: Duration = Duration::from_secs(10);

fuzz_target!(|input: &[u8]| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let session = Session::start(ours, None);
        let mut inbound = session.inbound().expect("nobody has asked before");
        let (mut reader, mut writer) = theirs.into_split();
        let reading = tokio::spawn(async move { copy(&mut reader, &mut sink()).await });
        let mut streams = Vec::new();
        let mut rest = input;
        while let Some(&step) = rest.split_off_first() {
            match step % 8 {
                0..=3 => {
                    let Some(&count) = rest.split_off_first() else { break };
                    let Some(bytes) = rest.split_off(..usize::from(count).min(rest.len())) else { break };
                    if writer.write_all(bytes).await.is_err() {
                        break;
                    }
                }
                4 => {
                    // One whose time is over at once: the stream is opened nevertheless.
                    let turn = session.turn();
                    if let Ok(turn) = timeout(Duration::ZERO, turn).await {
                        let _ = turn.open_stream(Duration::ZERO).await;
                    }
                }
                5 => {
                    if let Ok(Some(stream)) = timeout(Duration::ZERO, inbound.accept()).await {
                        streams.extend(stream.secured(None, LIMIT).await);
                    }
                }
                6 => {
                    for stream in &mut streams {
                        let _ = timeout(Duration::ZERO, stream.read(&mut [0; 100])).await;
                        let _ = timeout(Duration::ZERO, stream.write(&[0; 100])).await;
                    }
                }
                _ => {
                    streams.truncate(streams.len() / 2);
                    yield_now().await;
                }
            }
        }
        drop((writer, reading, streams, inbound));
        timeout(LIMIT, session.ended()).await.expect("it ends with its connection");
    });
});
