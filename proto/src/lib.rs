//! Protocol definitions written for this project and the code generated from them: CRI runtime.v1, etcd v3.
//!
//! Nothing else lives here: whoever speaks a protocol owns its client.

/// The container runtime interface, `runtime.v1`.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// etcd's v3 API; the packages are modules of their own because the generated code refers to them so.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod etcd {
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
}
