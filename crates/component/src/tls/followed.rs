//! A value made of files, made anew when these change: what rotates certificates on disk restarts nothing.
//!
//! Who needs the value looks at the files then, at most once a second; no task watches them. A change is any of a file's
//! place, size or times, so that a rename, a symlink that points elsewhere (as in mounted Secrets) and a file older than the
//! one that it replaces are all seen. Files that make no value, as a half-written pair, leave the old one in force until
//! they change again or can be read. Upstream: `dynamiccertificates` of the API server's library.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Of one file: device, inode, size, and when content and inode changed; none if there is no such file.
type Print = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

type Read<T> = Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>;

/// See the module.
pub struct Followed<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    version: u64,
    /// Of the files that `current` was made of.
    seen: Vec<Print>,
    /// Of those that made none, so that each is told of once.
    failed: Option<Vec<Print>>,
    looked: Instant,
}

impl<T> Followed<T> {
    /// Makes the value for the first time; `read` must read these files and no others.
    ///
    /// # Errors
    /// They can't be used.
    pub fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // Before the reading: what changes meanwhile is another change.
        let seen = prints(&files);
        let current = Arc::new(read()?);
        let state = State { current, version: 0, seen, failed: None, looked: Instant::now() };
        Ok(Self { files, read: Box::new(read), state: Mutex::new(state) })
    }

    /// The value in force.
    pub fn current(&self) -> Arc<T> {
        self.look().0
    }

    /// The value in force, and how many were before it.
    pub fn look(&self) -> (Arc<T>, u64) {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            self.refresh(&mut state);
        }
        (state.current.clone(), state.version)
    }

    fn refresh(&self, state: &mut State<T>) {
        let prints = prints(&self.files);
        if prints == state.seen {
            return;
        }
        match (self.read)() {
            Ok(new) => {
                (state.current, state.seen, state.failed) = (Arc::new(new), prints, None);
                state.version += 1;
                tracing::info!(files = ?self.files, "read again, for they changed");
            }
            Err(error) if state.failed.as_ref() != Some(&prints) => {
                tracing::warn!(files = ?self.files, error = format!("{error:#}"), "they changed and can't be used");
                state.failed = Some(prints);
            }
            Err(_) => {}
        }
    }
}

impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("files", &self.files).finish_non_exhaustive()
    }
}

fn prints(files: &[PathBuf]) -> Vec<Print> {
    let print = |file: &PathBuf| {
        let of = std::fs::metadata(file).ok()?;
        Some((of.dev(), of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())))
    };
    files.iter().map(print).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As if a second had passed.
    fn now<T: Clone>(followed: &Followed<T>) -> T {
        let long_ago = Instant::now().checked_sub(LOOK).expect("a clock that has run for a second");
        followed.state.lock().looked = long_ago;
        (*followed.current()).clone()
    }

    #[test]
    fn every_sort_of_change_is_seen_and_broken_files_leave_the_old_value() {
        let dir = tempfile::tempdir().unwrap();
        let [file, old, link] = ["file", "old", "link"].map(|name| dir.path().join(name));
        fs::write(&old, "10").unwrap();
        fs::write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let read = link.clone();
        let followed =
            Followed::new(vec![link.clone()], move || Ok(fs::read_to_string(&read)?.parse::<u8>()?)).unwrap();
        assert_eq!(now(&followed), 1);
        fs::write(&file, "2").unwrap();
        assert_eq!(now(&followed), 2, "written");
        fs::write(&file, "nonsense").unwrap();
        assert_eq!(now(&followed), 2, "broken");
        fs::write(&file, "3").unwrap();
        assert_eq!(now(&followed), 3, "mended");
        fs::rename(&old, &file).unwrap();
        assert_eq!(now(&followed), 10, "another file, which is older");
        fs::remove_file(&link).unwrap();
        assert_eq!(now(&followed), 10, "gone");
        let other = dir.path().join("other");
        fs::write(&other, "11").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert_eq!(now(&followed), 11, "the link points elsewhere");
        assert_eq!(followed.look().1, 4);
        assert!(Followed::new(vec![dir.path().join("none")], || anyhow::bail!("none") as anyhow::Result<u8>).is_err());
    }
}
