//! Upstream's published data, to compare with. It is no part of the project: tests know its digests, which are committed,
//! and where the data itself is here, they check the digests (`UPDATE_EXPECT=1` writes them anew) and say what differs.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The folder of the data: `$FERRY_UPSTREAM`, or `../shared/upstream` beside the repository.
pub fn folder() -> Option<PathBuf> {
    let beside = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        root.ancestors().map(|a| a.join("shared/upstream")).find(|p| p.is_dir())
    };
    let found = std::env::var_os("FERRY_UPSTREAM").map(PathBuf::from).or_else(beside).filter(|p| p.is_dir());
    if found.is_none() {
        skips::skip("upstream's data", "(FERRY_UPSTREAM)");
    }
    found
}

/// The digest of a file as the lists have it: the first half of its SHA-256.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|b| format!("{b:02x}")).collect()
}
