//! Volumes that this node keeps for claims: a folder each, or a file that a block device shows, below `<root>/local-volumes`.
//! They are made, resized and removed when the provisioner asks for it (`/localVolumes/`), and outlive pods and kubelet.

use super::{block, quota};
use nix::{fcntl, sys::statvfs};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What the provisioner asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// The capacity.
    bytes: u64,
    /// A block device instead of a folder.
    #[serde(default)]
    block: bool,
}

/// What there is then.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    path: PathBuf,
    /// Whether the volume can't grow beyond its capacity.
    limited: bool,
}

/// Where a volume is. Its name becomes a part of a path, so it has to be an object's name.
fn place(root: &Path, name: &str) -> io::Result<PathBuf> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 253 || !name.chars().all(fits) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a volume")));
    }
    Ok(root.join("local-volumes").join(name))
}

/// Makes the volume, or gives it another capacity; one that is there keeps its content, and a block device never shrinks.
pub(crate) fn keep(root: &Path, name: &str, wanted: &Wanted) -> io::Result<Kept> {
    let path = place(root, name)?;
    let folder = root.join("local-volumes");
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        // What pods write is theirs: nobody else of this machine looks into it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    }
    let there = fs::symlink_metadata(&path).ok();
    if there.as_ref().is_some_and(|meta| meta.is_dir() == wanted.block) {
        let message = format!("{} is there, and not what is wanted", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    if there.is_none() {
        has_room(&folder, wanted.bytes)?;
    }
    if wanted.block {
        device(&path, wanted.bytes)?;
        return Ok(Kept { path, limited: true });
    }
    if there.is_none() {
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    }
    let limited = quota::limit(&path, wanted.bytes)?;
    Ok(Kept { path, limited })
}

/// A capacity that the disk has not at all is refused; what is there may be promised more than once.
fn has_room(folder: &Path, bytes: u64) -> io::Result<()> {
    let disk = statvfs::statvfs(folder)?;
    let available = disk.blocks_available().saturating_mul(disk.fragment_size());
    if bytes > available {
        let message = format!("{bytes} bytes are wanted, and the node's disk has {available}");
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}

/// The space of a device is taken at once: a write that finds no room would break the file system on it.
fn device(path: &Path, bytes: u64) -> io::Result<()> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let old = file.metadata()?.len();
    let size = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if bytes > old
        && let Err(error) = fcntl::posix_fallocate(&file, 0, size)
    {
        if old == 0 {
            fs::remove_file(path)?;
        } else {
            file.set_len(old)?;
        }
        return Err(error.into());
    }
    if bytes > old && old > 0 { block::grown(path) } else { Ok(()) }
}

/// Removes the volume and what is in it; that it has gone is no error.
pub(crate) fn remove(root: &Path, name: &str) -> io::Result<()> {
    let path = place(root, name)?;
    let removed = match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => quota::lift(&path).and_then(|()| fs::remove_dir_all(&path)),
        Ok(_) => fs::remove_file(&path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(bytes: u64) -> Wanted {
        Wanted { bytes, block: false }
    }

    fn block_device(bytes: u64) -> Wanted {
        Wanted { bytes, block: true }
    }

    #[test]
    fn a_volume_keeps_its_content_until_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let kept = keep(root.path(), "pvc-1", &folder(1 << 20)).unwrap();
        assert_eq!(kept.path, root.path().join("local-volumes/pvc-1"));
        assert_eq!(fs::metadata(&kept.path).unwrap().permissions().mode() & 0o777, 0o777);
        fs::write(kept.path.join("data"), "x").unwrap();
        assert_eq!(keep(root.path(), "pvc-1", &folder(2 << 20)).unwrap(), kept);
        assert_eq!(fs::read(kept.path.join("data")).unwrap(), b"x");
        remove(root.path(), "pvc-1").unwrap();
        assert!(!kept.path.exists());
        remove(root.path(), "pvc-1").unwrap();
    }

    #[test]
    fn a_device_grows_and_never_shrinks() {
        let root = tempfile::tempdir().unwrap();
        let length = |bytes| {
            let kept = keep(root.path(), "b", &block_device(bytes)).unwrap();
            assert!(kept.limited);
            fs::metadata(&kept.path).unwrap().len()
        };
        assert_eq!(length(4096), 4096);
        fs::write(root.path().join("local-volumes/b"), [7; 4096]).unwrap();
        assert_eq!(length(8192), 8192);
        assert_eq!(length(4096), 8192);
        let content = fs::read(root.path().join("local-volumes/b")).unwrap();
        assert!(content[..4096].iter().all(|b| *b == 7));
        remove(root.path(), "b").unwrap();
        assert!(!root.path().join("local-volumes/b").exists());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "..", "../x", "a/b", ".x", "A"] {
            let kind = |result: io::Result<()>| result.unwrap_err().kind();
            assert_eq!(kind(keep(root.path(), name, &folder(1)).map(drop)), io::ErrorKind::InvalidInput, "{name}");
            assert_eq!(kind(remove(root.path(), name)), io::ErrorKind::InvalidInput, "{name}");
        }
        let error = keep(root.path(), "huge", &folder(1 << 60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!root.path().join("local-volumes/huge").exists());
        keep(root.path(), "a", &folder(1)).unwrap();
        assert_eq!(keep(root.path(), "a", &block_device(1)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
