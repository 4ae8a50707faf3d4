//! Compiles the protocol definitions with protox, so that no `protoc` is needed on the building machine.

use std::path::Path;

/// One protocol: its folder beside this file, its entry file, and whether the server side is generated too.
const PROTOCOLS: &[(&str, &str, bool)] =
    &[("cri", "runtime.proto", false), ("etcd", "kv.proto", false), ("etcd", "rpc.proto", false)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (folder, file, server) in PROTOCOLS {
        let path = Path::new(folder).join(file);
        println!("cargo:rerun-if-changed={}", path.display());
        let descriptors = protox::compile([file], [folder])?;
        tonic_prost_build::configure().build_server(*server).build_transport(false).compile_fds(descriptors)?;
    }
    Ok(())
}
