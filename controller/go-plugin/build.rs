//! Compiles the protocol's messages and services. Needs no protoc.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        protox::compile(["proto/plugin.proto", "proto/health.proto", "proto/multiplexing.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(env::var_os("CARGO_FEATURE_SERVE").is_some())
        .build_transport(false)
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
