//! `fsGroup`: a volume's files belong to the pod's group. Upstream: pkg/volume/volume_linux.go.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

/// Gives the tree to the group: readable (and writable unless `read_only`), folders inheriting it. The root may be a link, and is
/// what it leads to; links below it are given themselves.
pub(crate) fn give(root: &Path, group: i64, read_only: bool) -> io::Result<()> {
    let group = u32::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    give_tree(&fs::canonicalize(root)?, group, read_only)
}

fn give_tree(root: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(root)?;
    lchown(root, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = meta.mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
        for entry in fs::read_dir(root)? {
            give_tree(&entry?.path(), group, read_only)?;
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o7777))
}

/// Whether the root already is as `give` leaves it; `fsGroupChangePolicy: OnRootMismatch` trusts the rest then.
pub(crate) fn matches(root: &Path, group: i64) -> bool {
    fs::metadata(root).is_ok_and(|m| i64::from(m.gid()) == group && m.mode() & 0o2770 == 0o2770)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_volume_behind_a_link_is_given_and_what_links_in_it_lead_to_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (volume, link, outside) =
            (folder.path().join("volume"), folder.path().join("link"), folder.path().join("outside"));
        fs::create_dir_all(volume.join("a")).expect("made");
        fs::write(&outside, "").expect("written");
        symlink("volume", &link).expect("linked");
        symlink("../outside", volume.join("out")).expect("linked");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).expect("set");
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o1700)).expect("set");
        let group = i64::from(fs::metadata(&volume).expect("there").gid());

        give(&link, group, false).expect("given");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!(mode(&volume), 0o3770, "the sticky bit stays");
        assert_eq!(mode(&volume.join("a")) & 0o2770, 0o2770);
        assert_eq!(mode(&outside), 0o600);
        assert!(matches(&link, group) && !matches(&link, group + 1));
    }
}
