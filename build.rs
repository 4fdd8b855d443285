//! Generates code from the proto files with protox, so that the build does not need protoc.

use std::{env, fs, path::PathBuf};

use prost::Message as _;
use tonic_build::manual::{Builder, Method, Service};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(
        [
            "killfeed/v1/killmail_service.proto",
            "killfeed/v1/universe_service.proto",
            "killfeed/v1/subscription_service.proto",
        ],
        ["proto"],
    )?;
    // Server reflection serves these bytes unchanged.
    fs::write(out.join("killfeed.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;

    // Generate a second server for KillmailService without its stream, because the ingestor serves the stream from encoded
    // messages that all streams share (see `wire`). The client and the message types above work with it unchanged.
    let unary = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::v1::{route}Request"))
            .output_type(format!("crate::v1::{route}Response"))
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let service = Service::builder()
        .name("KillmailService")
        .package("killfeed.v1")
        .method(unary("list_killmails", "ListKillmails"))
        .method(unary("get_killmail", "GetKillmail"))
        .method(unary("get_feed_status", "GetFeedStatus"))
        .build();
    Builder::new().build_client(false).out_dir(&out).compile(&[service]);
    Ok(())
}
