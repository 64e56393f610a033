//! What plugins write once they serve, for the hosts that want to hear it.
//!
//! The gateway is a plugin's one reader, and the log gets everything once. Each host hears what the containers of its mount's slot
//! write from now on; one that is slow loses the oldest of it, which is counted. All users of an instance hear the same.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use go_plugin::StdioChannel;
use go_plugin::proto::plugin::{StdioData, stdio_data};
use prost::Message;
use tokio::sync::broadcast;

use crate::names::SlotName;

/// Pieces that wait for the slowest host.
const WAITING: usize = 256;

/// The output of an instance's containers.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// There once a host wants to hear.
    hosts: Mutex<Option<broadcast::Sender<Piece>>>,
}

/// What a container wrote, as the message that hosts get.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) slot: SlotName,
    pub(super) message: Bytes,
}

// === impl Output ===

impl Output {
    /// Hears what is written from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Piece> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get_or_insert_with(|| broadcast::Sender::new(WAITING)).subscribe()
    }

    /// A container wrote something. `slot` is asked for only if somebody hears.
    pub(super) fn wrote(&self, channel: StdioChannel, data: &Bytes, slot: impl FnOnce() -> Option<SlotName>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*hosts else { return };
        if sender.receiver_count() == 0 {
            // The room for what waits goes with the last one.
            *hosts = None;
            return;
        }
        if let Some(slot) = slot() {
            let channel = match channel {
                StdioChannel::Stdout => stdio_data::Channel::Stdout,
                StdioChannel::Stderr => stdio_data::Channel::Stderr,
            };
            let message = StdioData { channel: channel.into(), data: data.clone() }.encode_to_vec().into();
            // Whoever hears it may be gone since.
            let _ = sender.send(Piece { slot, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn wrote(output: &Output, text: &'static str) {
        output.wrote(StdioChannel::Stdout, &Bytes::from_static(text.as_bytes()), || Some(SlotName::Shared));
    }

    #[test]
    fn who_listens_hears_what_is_written_from_then_on() {
        let output = Output::default();
        wrote(&output, "early");
        let mut host = output.listen();
        wrote(&output, "hello");
        let piece = host.try_recv().unwrap();
        let data = StdioData::decode(piece.message).unwrap();
        assert_eq!((data.channel(), &*data.data), (stdio_data::Channel::Stdout, b"hello".as_slice()));
        assert!(matches!(host.try_recv(), Err(TryRecvError::Empty)));
    }

    #[test]
    fn a_slow_host_loses_the_oldest_and_no_other_host_anything() {
        let output = Output::default();
        let (mut slow, mut quick) = (output.listen(), output.listen());
        for _ in 0..WAITING + 3 {
            wrote(&output, "line");
            assert!(quick.try_recv().is_ok());
        }
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(3))));
        assert!(slow.try_recv().is_ok());
    }

    #[test]
    fn with_the_last_host_nothing_is_kept() {
        let output = Output::default();
        drop(output.listen());
        wrote(&output, "line");
        assert!(output.hosts.lock().unwrap().is_none());
    }
}
