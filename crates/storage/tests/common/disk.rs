//! A disk in memory that knows what was synced and what was not, fails at any step it is told to, runs full, and comes back
//! after a crash with what a real one could hold: everything synced, and of the rest nothing, all, or any part.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use storage::disk::{Disk, DiskFile};

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Only the process was killed: the system still has all of it, and the disk still has not.
    Process,
    /// All of it is lost.
    Everything,
    /// Nothing is lost.
    Nothing,
    /// Each sector and each change of a name is lost or not, as this seed says.
    Random(u64),
}

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: Vec<FileData>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    steps: usize,
    crash_at: Option<usize>,
    crashed: bool,
    /// Bytes that all files together may have.
    space: Option<usize>,
    /// The next syncs to fail.
    failing_syncs: usize,
}

#[derive(Default, Clone)]
struct FileData {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let (start, end) = (*offset as usize, *offset as usize + data.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(data);
        }
        Change::Truncate(length) => content.resize(*length as usize, 0),
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

impl SimDisk {
    /// Fails at this step and ever after, until `after_crash`.
    pub fn crash_at(&self, step: usize) {
        self.0.lock().unwrap().crash_at = Some(step);
    }

    /// Fails from now on, until `after_crash`.
    pub fn crash(&self) {
        self.0.lock().unwrap().crashed = true;
    }

    pub fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    pub fn crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }

    pub fn set_space(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().space = bytes;
    }

    pub fn fail_syncs(&self, count: usize) {
        self.0.lock().unwrap().failing_syncs = count;
    }

    /// The names and lengths of the files.
    pub fn files(&self) -> Vec<(String, usize)> {
        let inner = self.0.lock().unwrap();
        inner.names.iter().map(|(name, file)| (name.clone(), inner.files[*file].content.len())).collect()
    }

    /// Changes one byte of a file, as a bad medium would.
    pub fn damage(&self, name: &str, offset: usize) {
        let mut inner = self.0.lock().unwrap();
        let file = inner.names[name];
        inner.files[file].content[offset] ^= 0x40;
    }

    /// The disk as the next start of the machine finds it.
    pub fn after_crash(&self, loss: Loss) -> SimDisk {
        let inner = self.0.lock().unwrap();
        if let Loss::Process = loss {
            return SimDisk(Arc::new(Mutex::new(inner.of_next_process())));
        }
        let mut random = Random(if let Loss::Random(seed) = loss { seed } else { 0 });
        let mut survives = || match loss {
            Loss::Everything => false,
            Loss::Nothing | Loss::Process => true,
            Loss::Random(_) => random.next().is_multiple_of(2),
        };
        let mut names = inner.durable_names.clone();
        for change in &inner.pending_names {
            if survives() {
                apply_name(&mut names, change);
            }
        }
        let files = inner.files.iter().map(|file| {
            let mut content = file.durable.clone();
            for change in &file.pending {
                match change {
                    Change::Truncate(_) if survives() => apply(&mut content, change),
                    Change::Truncate(_) => {}
                    Change::Write(offset, data) => {
                        // Sectors, as they lie on the disk.
                        let mut at = 0;
                        while at < data.len() {
                            let end = (at + 512 - (*offset as usize + at) % 512).min(data.len());
                            if survives() {
                                apply(&mut content, &Change::Write(offset + at as u64, data[at..end].to_vec()));
                            }
                            at = end;
                        }
                    }
                }
            }
            FileData { durable: content.clone(), content, pending: Vec::new() }
        });
        let files = files.collect();
        SimDisk(Arc::new(Mutex::new(Inner { files, durable_names: names.clone(), names, ..Inner::default() })))
    }

    /// The state, if this step is still made; `true` if it is the one that the crash interrupts.
    fn step<T>(&self, act: impl FnOnce(&mut Inner, bool) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        if inner.crashed {
            return Err(io::Error::other("crashed"));
        }
        inner.steps += 1;
        let last = inner.crash_at == Some(inner.steps);
        inner.crashed = last;
        let result = act(&mut inner, last);
        if last { Err(io::Error::other("crash")) } else { result }
    }
}

impl Inner {
    fn of_next_process(&self) -> Self {
        Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending_names: self.pending_names.clone(),
            ..Self::default()
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].content.len()).sum()
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.step(|inner, _| {
            inner.files.push(FileData::default());
            let file = inner.files.len() - 1;
            inner.change_name(NameChange::Create(name.to_owned(), file));
            Ok(Box::new(SimFile { disk: self.clone(), file }) as Box<dyn DiskFile>)
        })
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.0.lock().unwrap();
        let file = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|inner, _| {
            inner.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|inner, _| {
            inner.change_name(NameChange::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.step(|inner, last| {
            if !last {
                inner.durable_names = inner.names.clone();
                inner.pending_names.clear();
            }
            Ok(())
        })
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.file].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.0.lock().unwrap();
        let rest = inner.files[self.file].content.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.step(|inner, _| {
            let length = inner.files[self.file].content.len();
            let grows = (offset as usize + data.len()).saturating_sub(length);
            let room = inner.space.map_or(usize::MAX, |space| space.saturating_sub(inner.used()));
            // A disk that runs full takes what fits.
            let fits = data.len() - grows.saturating_sub(room).min(data.len());
            let change = Change::Write(offset, data[..fits].to_vec());
            let file = &mut inner.files[self.file];
            apply(&mut file.content, &change);
            file.pending.push(change);
            if fits < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.step(|inner, _| {
            let file = &mut inner.files[self.file];
            apply(&mut file.content, &Change::Truncate(length));
            file.pending.push(Change::Truncate(length));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(|inner, last| {
            if inner.failing_syncs > 0 {
                inner.failing_syncs -= 1;
                return Err(io::Error::other("input/output error"));
            }
            if !last {
                let file = &mut inner.files[self.file];
                file.durable = file.content.clone();
                file.pending.clear();
            }
            Ok(())
        })
    }
}
