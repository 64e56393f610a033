//! The messages and services of the protocol, generated from `proto/`.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; the .proto files say it all"
)]
#![allow(clippy::pedantic, reason = "generated")]

/// What go-plugin adds to every plugin.
pub mod plugin {
    tonic::include_proto!("plugin");
}

/// What Vault's and OpenBao's plugins may add.
pub mod multiplexing {
    tonic::include_proto!("pluginutil.multiplexing");
}

/// gRPC's standard health service.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
