//! Sub-paths: part of a volume, opened beneath it and bound to a place that a container cannot change any more.
//!
//! A container may own the volume and put a link, or swap a folder for one, between any two looks at it. So the kernel resolves
//! the path in one step that cannot leave the volume, and what is mounted is the file handle, not the name. Volumes that only
//! the kubelet writes (`..data` is a link) may be resolved through links, still never out of the volume.
//! Upstream: pkg/volume/util/subpath.

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2},
    sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat, stat},
};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// Refuses what could not be a path in a volume.
pub(crate) fn validate(sub_path: &str) -> Result<(), String> {
    if sub_path.starts_with('/') {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    Ok(())
}

/// Opens `sub_path` in the volume, making folders that are missing; `links`: the volume's content is the kubelet's own.
pub(crate) fn open_beneath(volume: &Path, sub_path: &str, links: bool) -> io::Result<OwnedFd> {
    let root = open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    if !links {
        resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
    }
    match openat2(&root, sub_path, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve)) {
        Ok(fd) => Ok(fd),
        Err(Errno::ENOENT) if !links => make(root, volume, sub_path),
        Err(error) => Err(error.into()),
    }
}

/// Makes the folders one by one, each opened without following a link.
fn make(root: OwnedFd, volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(stat(volume)?.st_mode);
    let mut at = root;
    for part in Path::new(sub_path).components() {
        let Component::Normal(name) = part else { continue };
        match mkdirat(&at, name, mode) {
            Ok(()) => {
                let folder = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let made = openat(&at, name, folder, Mode::empty())?;
                fchmod(&made, mode)?;
                at = made;
                continue;
            }
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = openat(&at, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        if SFlag::from_bits_truncate(fstat(&at)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK {
            return Err(Errno::ELOOP.into());
        }
    }
    Ok(at)
}

/// The handle's mount point for a container: `volume-subpaths/<volume>/<container>/<index>` in the pod's folder.
pub(crate) fn bind(fd: &OwnedFd, pod_dir: &Path, volume: &str, container: &str, index: usize) -> io::Result<PathBuf> {
    let target = pod_dir.join("volume-subpaths").join(volume).join(container).join(index.to_string());
    let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let folder = fs::metadata(&source)?.is_dir();
    // A restarted container gets what is there now.
    let _ = super::mount::unmount(&target);
    if folder {
        fs::create_dir_all(&target)?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::OpenOptions::new().create(true).append(true).open(&target)?;
    }
    super::mount::bind(&source, &target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn never_out_of_the_volume_and_never_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let volume = folder.path().join("volume");
        fs::create_dir_all(volume.join("a/b")).expect("made");
        fs::write(folder.path().join("outside"), "").expect("written");
        symlink("../outside", volume.join("out")).expect("linked");
        symlink("a", volume.join("inside")).expect("linked");
        symlink("/etc", volume.join("absolute")).expect("linked");
        for (path, links, allowed) in [
            ("a/b", false, true),
            ("new/deeper", false, true),
            ("inside/b", false, false),
            ("inside/b", true, true),
            ("out", false, false),
            ("out", true, false),
            ("absolute/passwd", true, false),
            ("absolute/new", false, false),
        ] {
            assert_eq!(open_beneath(&volume, path, links).is_ok(), allowed, "{path} {links}");
        }
        assert!(volume.join("new/deeper").is_dir());
        assert!(validate("a/../b").is_err() && validate("/a").is_err() && validate("a..b/c").is_ok());
    }
}
