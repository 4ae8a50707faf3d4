//! One `ferry up` a data directory: its pid file is locked as long as it lives, so that a number left over from a crash is
//! never taken for a process, whatever runs under it now and whatever the program is called.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};

use anyhow::{Context, bail};

use super::flags::Layout;

/// Holds the data directory until dropped.
pub fn take(layout: &Layout) -> anyhow::Result<File> {
    let mut file = open(layout)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = pid(&mut file).map(|pid| format!(" (process {pid})")).unwrap_or_default();
            bail!(
                "{} is in use by another ferry{pid}; end that with `ferry down`, or give another --data-dir",
                layout.data.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).context("locking the data directory"),
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// The process that holds the data directory.
pub fn holder(layout: &Layout) -> anyhow::Result<Option<i32>> {
    if !layout.pid_file().exists() {
        return Ok(None);
    }
    let mut file = open(layout)?;
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(pid(&mut file)),
        Err(TryLockError::Error(error)) => Err(error).context("looking at the data directory's lock"),
    }
}

fn open(layout: &Layout) -> anyhow::Result<File> {
    let file = layout.pid_file();
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&file);
    opened.with_context(|| format!("opening {}", file.display()))
}

fn pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_none_after_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(dir.path()).expect("made");
        assert_eq!(holder(&layout).expect("no fault"), None);
        let lock = take(&layout).expect("free");
        let own = i32::try_from(std::process::id()).expect("small");
        assert_eq!(holder(&layout).expect("no fault"), Some(own));
        let error = take(&layout).expect_err("held").to_string();
        assert!(error.contains(&format!("is in use by another ferry (process {own})")), "{error}");
        drop(lock);
        assert_eq!(holder(&layout).expect("no fault"), None);
        assert!(layout.pid_file().exists(), "a stale file is no holder");
    }
}
