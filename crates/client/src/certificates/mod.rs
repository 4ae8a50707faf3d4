//! Certificates that the cluster signs: asked for with a CertificateSigningRequest, renewed while they are in use.
//!
//! Deciding when to renew is in `due.rs`; asking and waiting for the answer in `ask.rs`; the task that renews in
//! `renewal.rs`; `fault.rs` says in one line why there is no certificate, for whoever has to mend it. Who presents the
//! certificate holds a [`component::tls::Rotating`].
//!
//! Upstream: client-go `util/certificate`, `util/certificate/csr`.

mod ask;
mod due;
mod fault;
mod renewal;

pub use ask::{Asked, ask, wait};
pub use fault::{Cause, Fault, explain};
pub use renewal::{Asker, Renewal, renew};

/// What a certificate is for: who signs it, and what the request says of its use. Keys are elliptic ones, which encipher no
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The signer's name.
    pub signer: &'static str,
    /// In upstream's order, which counts for the names of requests.
    pub usages: [&'static str; 2],
}

/// A kubelet's towards the API server.
pub const KUBELET_CLIENT: Purpose =
    Purpose { signer: "kubernetes.io/kube-apiserver-client-kubelet", usages: ["digital signature", "client auth"] };
/// Any other client's.
pub const CLIENT: Purpose =
    Purpose { signer: "kubernetes.io/kube-apiserver-client", usages: ["digital signature", "client auth"] };
/// A kubelet's own port's.
pub const KUBELET_SERVING: Purpose =
    Purpose { signer: "kubernetes.io/kubelet-serving", usages: ["digital signature", "server auth"] };

#[cfg(test)]
mod tests;
