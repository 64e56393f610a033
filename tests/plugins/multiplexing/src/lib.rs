//! What makes a plugin one that several mounts share, as Vault has it: a service by which it says so, and the metadata
//! `multiplex_id` by which each call says whose it is.

use proto::{
    MultiplexingSupportRequest, MultiplexingSupportResponse,
    plugin_multiplexing_server::{PluginMultiplexing, PluginMultiplexingServer},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("pluginutil.multiplexing");
}

/// The metadata that names the mount of a call.
const KEY: &str = "multiplex_id";

struct Supported;

/// The service that says yes.
pub fn service() -> PluginMultiplexingServer<impl PluginMultiplexing> {
    PluginMultiplexingServer::new(Supported)
}

/// The id of the mount that a call is for.
///
/// # Errors
///
/// `INVALID_ARGUMENT` when there is not exactly one, or it is empty: a plugin of Vault's refuses such calls, too.
pub fn id(metadata: &MetadataMap) -> Result<&str, Status> {
    let mut ids = metadata.get_all(KEY).iter();
    let id = ids.next().ok_or_else(|| Status::invalid_argument(format!("a call needs a {KEY}")))?;
    if ids.next().is_some() {
        return Err(Status::invalid_argument(format!("a call has one {KEY}, not several")));
    }
    match id.to_str() {
        Ok(id) if !id.is_empty() => Ok(id),
        _ => Err(Status::invalid_argument(format!("a {KEY} is visible ASCII, and not empty"))),
    }
}

#[tonic::async_trait]
impl PluginMultiplexing for Supported {
    async fn multiplexing_support(
        &self,
        _: Request<MultiplexingSupportRequest>,
    ) -> Result<Response<MultiplexingSupportResponse>, Status> {
        Ok(Response::new(MultiplexingSupportResponse { supported: true }))
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, metadata::MetadataValue};

    use super::*;

    fn metadata(ids: &[&'static str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for id in ids {
            metadata.append(KEY, MetadataValue::from_static(id));
        }
        metadata
    }

    #[test]
    fn a_call_is_for_exactly_one_mount() {
        assert_eq!(id(&metadata(&["orders"])).ok(), Some("orders"));
        for ids in [&[] as &[_], &[""], &["orders", "billing"], &["orders", "orders"]] {
            assert_eq!(
                id(&metadata(ids)).map_err(|status| status.code()),
                Err(Code::InvalidArgument),
                "{ids:?}"
            );
        }
    }
}
