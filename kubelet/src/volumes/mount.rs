//! The few mount calls that volumes need.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

const NONE: Option<&str> = None;

/// A file system in memory, `limit_bytes` large at most; zero: as the kernel likes.
pub(crate) fn tmpfs(target: &Path, limit_bytes: i64) -> io::Result<()> {
    let options = (limit_bytes > 0).then(|| format!("size={limit_bytes}"));
    match mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::empty(),
        options.as_deref().map(|o| format!("{o},noswap")).as_deref().or(Some("noswap")),
    ) {
        Ok(()) => Ok(()),
        // Kernels before 6.3 do not know `noswap`.
        Err(_) => Ok(mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), options.as_deref())?),
    }
}

pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

/// No error if nothing is mounted there.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    match umount2(target, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the path is on another file system than its parent.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let device = |p: &Path| fs::symlink_metadata(p).map(|m| m.dev()).ok();
    path.parent().is_some_and(|parent| device(path).is_some() && device(path) != device(parent))
}

/// Unmounts everything below a folder, the deepest first, by the kernel's table.
pub(crate) fn unmount_below(folder: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|p| Path::new(p).starts_with(folder))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    points.iter().try_for_each(|point| unmount(Path::new(point)))
}

fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
