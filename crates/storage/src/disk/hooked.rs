//! A disk under observation: tests of what becomes of an engine, and of a server on it, when a disk hangs or panics.

use std::io;
use std::sync::Arc;

use super::{Disk, DiskFile};

/// What a disk is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Create the file of that name.
    Create(&'a str),
    /// Write to a file.
    Write,
}

type Hook = Arc<dyn Fn(Step<'_>) + Send + Sync>;

/// Another disk, and a function that is called before each [`Step`]: it may wait, and it may panic.
#[derive(Clone)]
pub struct HookedDisk {
    disk: Arc<dyn Disk>,
    hook: Hook,
}

impl HookedDisk {
    /// That disk with a hook.
    pub fn new(disk: impl Disk, hook: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        Self { disk: Arc::new(disk), hook: Arc::new(hook) }
    }

    fn hooked(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(HookedFile { file, hook: self.hook.clone() })
    }
}

impl Disk for HookedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        (self.hook)(Step::Create(name));
        Ok(self.hooked(self.disk.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.hooked(self.disk.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

struct HookedFile {
    file: Box<dyn DiskFile>,
    hook: Hook,
}

impl DiskFile for HookedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (self.hook)(Step::Write);
        self.file.write_at(offset, data)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
