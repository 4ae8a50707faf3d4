//! Files that change all at once: a folder of links through `..data`, one rename switches them.
//! Upstream: pkg/volume/util/atomic_writer.go; the layout is a contract with the programs in containers.

use rand::RngExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::Path,
};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) user: Option<u32>,
}

/// Relative path to file.
pub(crate) type Payload = BTreeMap<String, File>;

/// Makes the folder show the payload. `own` sets owners and modes of a new set of files before it is seen. True if it changed.
pub(crate) fn write(target: &Path, payload: &Payload, own: impl Fn(&Path) -> io::Result<()>) -> io::Result<bool> {
    for path in payload.keys() {
        validate(path)?;
    }
    let data = target.join(DATA);
    let old = match fs::read_link(&data) {
        Ok(name) => Some(target.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut obsolete = BTreeSet::new();
    let mut changed = true;
    if let Some(old) = &old {
        obsolete = obsolete_paths(old, payload)?;
        changed = !obsolete.is_empty() || differs(old, payload)?;
    }
    if changed {
        let name = stamp();
        let fresh = target.join(&name);
        fs::create_dir(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        let link = target.join(DATA_NEW);
        let _ = fs::remove_file(&link);
        let made = fill(&fresh, payload)
            .and_then(|()| own(&fresh))
            .and_then(|()| symlink(&name, &link))
            .and_then(|()| fs::rename(&link, &data));
        if let Err(error) = made {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
    }
    for (path, file) in payload {
        let first = path.split('/').next().unwrap_or(path);
        let visible = target.join(first);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(first), &visible)?;
            if let Some(user) = file.user {
                lchown(&visible, Some(user), None)?;
            }
        }
    }
    for path in obsolete {
        let _ = fs::remove_file(target.join(path));
    }
    if let Some(old) = old.filter(|_| changed) {
        fs::remove_dir_all(old)?;
    }
    Ok(changed)
}

fn stamp() -> String {
    let random: u32 = rand::rng().random_range(100_000_000..=4_000_000_000);
    format!("{}.{random}", jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S"))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn validate(path: &str) -> io::Result<()> {
    if path.is_empty() {
        return Err(invalid("invalid path: must not be empty".into()));
    }
    if path.starts_with('/') {
        return Err(invalid(format!("invalid path: must be relative path: {path}")));
    }
    if path.len() > 4096 {
        return Err(invalid("invalid path: must be less than or equal to 4096 characters".into()));
    }
    let items: Vec<&str> = path.split('/').collect();
    if items.contains(&"..") {
        return Err(invalid(format!("invalid path: must not contain '..': {path}")));
    }
    if items.iter().any(|i| i.len() > 255) {
        return Err(invalid("invalid path: filenames must be less than or equal to 255 characters".into()));
    }
    if items[0].starts_with("..") && items[0].len() > 2 {
        return Err(invalid(format!("invalid path: must not start with '..': {path}")));
    }
    Ok(())
}

fn fill(folder: &Path, payload: &Payload) -> io::Result<()> {
    for (path, file) in payload {
        let full = folder.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&full, &file.data)?;
        fs::set_permissions(&full, fs::Permissions::from_mode(file.mode & 0o7777))?;
        if let Some(user) = file.user {
            lchown(&full, Some(user), None)?;
        }
    }
    Ok(())
}

fn differs(old: &Path, payload: &Payload) -> io::Result<bool> {
    for (path, file) in payload {
        match fs::read(old.join(path)) {
            Ok(data) if data == file.data => {}
            Ok(_) => return Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// First path elements that were visible and are not any more, and deeper files, as a reason to write.
fn obsolete_paths(old: &Path, payload: &Payload) -> io::Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for path in payload.keys() {
        let mut at = path.as_str();
        while !at.is_empty() {
            wanted.insert(at.to_owned());
            at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
    let mut found = BTreeSet::new();
    walk(old, "", &mut found)?;
    Ok(found.into_iter().filter(|path| !wanted.contains(path)).collect())
}

fn walk(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        }
        found.insert(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(path, data)| ((*path).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o644, user: None }))
            .collect()
    }

    #[test]
    fn switches_all_at_once_and_forgets_what_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path();
        let none = |_: &Path| Ok(());
        assert!(write(target, &payload(&[("a", "1"), ("dir/b", "2")]), none).expect("writes"));
        assert_eq!(fs::read_to_string(target.join("dir/b")).expect("there"), "2");
        assert_eq!(fs::read_link(target.join("a")).expect("a link"), Path::new("..data/a"));
        assert!(!write(target, &payload(&[("a", "1"), ("dir/b", "2")]), none).expect("writes nothing"));
        assert!(write(target, &payload(&[("a", "3")]), none).expect("writes"));
        assert_eq!(fs::read_to_string(target.join("a")).expect("there"), "3");
        assert!(fs::symlink_metadata(target.join("dir")).is_err());
        let sets = fs::read_dir(target)
            .expect("a folder")
            .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("..2")))
            .count();
        assert_eq!(sets, 1);
    }

    #[test]
    fn paths_stay_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in ["", "/etc/x", "../x", "a/../../x", "..x"] {
            assert!(write(folder.path(), &payload(&[(bad, "")]), |_| Ok(())).is_err(), "{bad}");
        }
    }
}
