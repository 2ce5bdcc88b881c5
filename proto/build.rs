//! Compiles the contracts with protox, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const ORDERS: &str = "docket/v1/order.proto";
const PUBLIC: [&str; 9] = [
    ORDERS,
    "docket/v1/customer.proto",
    "docket/v1/item.proto",
    "docket/v1/auth.proto",
    "docket/v1/node.proto",
    "docket/v1/webhook.proto",
    "docket/v1/steering.proto",
    "docket/v1/backup.proto",
    "docket/v1/standby.proto",
];
const JOURNAL: [&str; 5] = [
    "docket/journal/v1/record.proto",
    "docket/journal/v1/access.proto",
    "docket/journal/v1/steering.proto",
    "docket/journal/v1/webhook.proto",
    "docket/journal/v1/registry.proto",
];
/// What nodes say to one another. Apart from the public contract, so that reflection does not show it.
const PEER: [&str; 2] = ["docket/peer/v1/peer.proto", "docket/peer/v1/call.proto"];
/// Messages with a secret in them: what prints them is written by hand.
const SECRET: [&str; 12] = [
    "docket.v1.RegisterRequest",
    "docket.v1.LoginRequest",
    "docket.v1.Session",
    "docket.v1.RefreshRequest",
    "docket.v1.LogoutRequest",
    "docket.v1.CreateApiKeyResponse",
    "docket.v1.CreateWebhookResponse",
    "docket.v1.RotateWebhookSecretResponse",
    "docket.v1.ReadBackupResponse",
    "docket.v1.RegisterStandbyResponse",
    "docket.v1.ExchangeEpochsRequest",
    "docket.v1.FollowEntries",
];

/// How messages are read and written.
const CODEC: &str = "crate::codec::MessageCodec";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let public = protox::compile(PUBLIC, ["proto"])?;
    fs::write(out.join("docket.v1.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path(CODEC)
        // An answer is moved a dozen times on its way to its connection.
        .boxed(".docket.v1.PlaceOrdersResponse.result.order")
        .extern_path(".google.rpc", "crate::google::rpc")
        .skip_debug(SECRET)
        .compile_fds(public)?;

    // Orders once more, as a server takes and gives them.
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path(CODEC)
        .extern_path(".docket.v1", "crate::v1")
        .extern_path(".docket.v1.PlaceOrderRequest", "crate::ReceivedOrder")
        .extern_path(".docket.v1.PlaceOrdersResponse", "crate::PlaceOrdersAnswer")
        .extern_path(".docket.v1.WatchOrdersResponse", "crate::WatchOrdersAnswer")
        .out_dir(server)
        .compile_fds(protox::compile([ORDERS], ["proto"])?)?;

    let journal = protox::compile(JOURNAL, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_fds(journal)?;

    let peer = protox::compile(PEER, ["proto"])?;
    tonic_prost_build::configure()
        // tonic's own: large payloads are taken out of its buffer without a copy.
        .bytes(".docket.peer.v1")
        .compile_fds(peer)?;
    Ok(())
}
