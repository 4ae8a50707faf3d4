//! What stands in clear at a snapshot's beginning, and what is counted at its end.

use serde::{Deserialize, Serialize};

/// Which cluster, when, how much. It is readable without a key, and bound to every chunk by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The UID of the namespace `kube-system`, which is what clusters are told apart by; empty if there is none yet.
    pub cluster: String,
    /// The store's revision that the objects are exact at.
    pub revision: i64,
    /// The version of the API server that wrote it.
    pub server_version: String,
    /// When it was taken, RFC 3339 in UTC.
    pub time: String,
    /// How many keys of the store are in it.
    pub keys: u64,
    /// Whether values are as the embedded store keeps them: JSON, in the storage version, with all defaults. Otherwise they
    /// are as etcd has them: in protobuf mostly, and perhaps another server's.
    #[serde(default)]
    pub canonical: bool,
    /// Whether the cluster's certificate authorities and the key of service account tokens are in it.
    #[serde(default)]
    pub cluster_keys: bool,
    /// The folder below which local volumes were whose content is in it; empty where none is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volumes: String,
    /// The data directory of the machine that it was taken on, below which local volumes are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_dir: String,
    /// How it is encrypted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// How the chunks are encrypted. The secret itself is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// `AES-256-GCM`.
    pub cipher: String,
    /// How the file's own key is made of the secret: `HKDF-SHA256` of a key file, `PBKDF2-HMAC-SHA256` of a passphrase.
    pub derivation: String,
    /// Random, base64.
    pub salt: String,
    /// Rounds of PBKDF2; 0 with HKDF.
    #[serde(default)]
    pub iterations: u32,
}

/// What is in a snapshot, counted while it was written: the content of its last chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Chunks before the last.
    pub chunks: u32,
    /// Keys of the store.
    pub objects: u64,
    /// Files of the cluster's keys.
    pub files: u64,
    /// Bytes before compression.
    pub bytes: u64,
}
