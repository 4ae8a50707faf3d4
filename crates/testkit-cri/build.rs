//! Generates the server's side of CRI. The messages are those of `proto`, which itself has only the client's side: the
//! product never serves this interface, and need not compile its server.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/cri/runtime.proto");
    let descriptors = protox::compile(["runtime.proto"], ["../../proto/cri"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .extern_path(".runtime.v1", "::proto::cri")
        .compile_fds(descriptors)?;
    Ok(())
}
