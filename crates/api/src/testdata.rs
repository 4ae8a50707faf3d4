//! Where upstream's published test data is, for the tests that compare with it. They skip where it is absent.

use std::path::PathBuf;

/// `$FERRY_UPSTREAM`, or `../shared/upstream` beside the repository.
pub fn upstream() -> Option<PathBuf> {
    let beside = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        root.ancestors().map(|a| a.join("shared/upstream")).find(|p| p.is_dir())
    };
    std::env::var_os("FERRY_UPSTREAM").map(PathBuf::from).or_else(beside).filter(|p| p.is_dir())
}

/// The golden files of the current version.
pub fn goldens() -> Option<PathBuf> {
    upstream().map(|p| p.join("testdata/HEAD")).filter(|p| p.is_dir())
}
