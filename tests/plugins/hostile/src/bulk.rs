//! Streams of as many bytes as a host wants, in either direction.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use go_plugin::external::Bytes;
use proto::{
    Piece, Size,
    bulk_server::{Bulk, BulkServer},
};
use tonic::{Request, Response, Status, Streaming, service::Routes};

/// Generated from `proto/bulk.proto`.
mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("bulk");
}

/// The bytes of a piece.
static PIECE: [u8; 64 << 10] = [7; 64 << 10];

struct Streams;

/// The plugin's service.
pub(crate) fn service() -> Routes {
    Routes::new(BulkServer::new(Streams))
}

#[tonic::async_trait]
impl Bulk for Streams {
    type DownloadStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn download(&self, request: Request<Size>) -> Result<Response<Self::DownloadStream>, Status> {
        let pieces = stream::unfold(request.into_inner().bytes, |left| async move {
            let length = PIECE.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let data = Bytes::from_static(&PIECE[..length]);
            (length > 0).then(|| (Ok(Piece { data }), left - length as u64))
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn upload(&self, request: Request<Streaming<Piece>>) -> Result<Response<Size>, Status> {
        let pieces = request.into_inner();
        let bytes = pieces.try_fold(0, |sum, piece| async move { Ok(sum + piece.data.len() as u64) }).await?;
        Ok(Response::new(Size { bytes }))
    }
}
