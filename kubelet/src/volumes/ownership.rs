//! `fsGroup`: a volume's files belong to the pod's group. Upstream: pkg/volume/volume_linux.go.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

/// Gives the tree to the group: readable (and writable unless `read_only`), folders inheriting it.
pub(crate) fn give(root: &Path, group: i64, read_only: bool) -> io::Result<()> {
    let group = u32::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let meta = fs::symlink_metadata(root)?;
    lchown(root, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = meta.mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
        for entry in fs::read_dir(root)? {
            give(&entry?.path(), i64::from(group), read_only)?;
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o7777))
}

/// Whether the root already is as `give` leaves it; `fsGroupChangePolicy: OnRootMismatch` trusts the rest then.
pub(crate) fn matches(root: &Path, group: i64) -> bool {
    fs::metadata(root).is_ok_and(|m| i64::from(m.gid()) == group && m.mode() & 0o2770 == 0o2770)
}
