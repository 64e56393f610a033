//! What a plugin writes to its standard output and error once it serves.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use hyper::body::Bytes;
use tracing::debug;

use crate::{
    Channel,
    proto::plugin::{StdioData, grpc_stdio_client::GrpcStdioClient, stdio_data},
};

/// One of a plugin's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StdioChannel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The pieces in which a plugin's output comes. Go plugins cut it at 1 KiB, wherever that is.
///
/// It ends with the connection, and at once when the plugin has no such service.
pub struct Stdio(BoxStream<'static, (StdioChannel, Bytes)>);

impl Stdio {
    pub(crate) fn new(channel: Channel) -> Self {
        let mut client = GrpcStdioClient::new(channel);
        // A Go plugin answers with its first output, not before: there is nothing to wait for here.
        let answer = async move { client.stream_stdio(()).await };
        let pieces = answer.map(|answer| match answer {
            Ok(response) => response.into_inner().left_stream(),
            Err(status) => futures::stream::iter([Err(status)]).right_stream(),
        });
        let pieces = pieces.flatten_stream().scan((), |(), piece| {
            let piece = piece.inspect_err(|status| debug!(%status, "the plugin's output has ended"));
            std::future::ready(piece.ok())
        });
        Self(pieces.filter_map(|piece| std::future::ready(understand(piece))).boxed())
    }
}

fn understand(piece: StdioData) -> Option<(StdioChannel, Bytes)> {
    let channel = match piece.channel() {
        stdio_data::Channel::Stdout => StdioChannel::Stdout,
        stdio_data::Channel::Stderr => StdioChannel::Stderr,
        stdio_data::Channel::Invalid => {
            debug!(channel = piece.channel, "output for a channel that is not known");
            return None;
        }
    };
    Some((channel, piece.data))
}

impl Stream for Stdio {
    type Item = (StdioChannel, Bytes);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").finish_non_exhaustive()
    }
}
