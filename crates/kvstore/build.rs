//! Turns `proto/*.proto` into Rust: messages, and the server's and the client's side of each service. No `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/rpc.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Keys and values are shared slices: decoding copies nothing.
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
