//! The folders of local volumes as a tar stream: with owners, modes, links and times, as they are while pods may write to
//! them. A file that changes meanwhile is in it as long as it was when its turn came; whoever needs more stops the pods first.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::reader::Reader;
use crate::{Error, Result};

/// Writes everything below a folder to `out`; a folder that is not there has nothing in it.
pub(crate) fn pack<W: Write>(folder: &Path, out: W) -> io::Result<W> {
    let mut tar = tar::Builder::new(out);
    match fs::symlink_metadata(folder) {
        Ok(_) => below(&mut tar, folder, Path::new(""))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    tar.into_inner()
}

fn below<W: Write>(tar: &mut tar::Builder<W>, folder: &Path, name: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        match add(tar, &path, &name) {
            // It has gone since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
        }
    }
    Ok(())
}

fn add<W: Write>(tar: &mut tar::Builder<W>, path: &Path, name: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&meta);
    if kind.is_dir() {
        tar.append_data(&mut header, name, io::empty())?;
        return below(tar, path, name);
    }
    if kind.is_symlink() {
        return tar.append_link(&mut header, name, fs::read_link(path)?);
    }
    if kind.is_file() {
        let file = fs::File::open(path)?;
        let length = meta.len();
        header.set_size(length);
        // As long as it was, whatever happens to it now.
        return tar.append_data(&mut header, name, file.chain(io::repeat(0)).take(length));
    }
    if kind.is_fifo() {
        return tar.append_data(&mut header, name, io::empty());
    }
    // A socket belongs to a process, and a device to a machine.
    Ok(())
}

/// Makes what is in the stream that begins with this piece, below a folder that is made where it is missing.
pub fn unpack<R: Read>(reader: &mut Reader<R>, first: Vec<u8>, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut rest = reader.volumes(first);
    let mut archive = tar::Archive::new(&mut rest);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_overwrite(false);
    restore(&mut archive, folder)
        .map_err(|error| Error::Io(io::Error::new(error.kind(), format!("volumes: {error}"))))?;
    // The archive's end may come before that of the stream.
    io::copy(&mut rest, &mut io::sink())?;
    Ok(())
}

fn restore<R: Read>(archive: &mut tar::Archive<R>, folder: &Path) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = folder.join(entry.path()?);
        let time = entry.header().mtime()?;
        let is_folder = entry.header().entry_type().is_dir();
        if !entry.unpack_in(folder)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} leads elsewhere", path.display())));
        }
        if is_folder {
            folders.push((path, time));
        }
    }
    // What is made in a folder changes its time: the innermost first, when all is there.
    for (path, time) in folders.into_iter().rev() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        fs::File::open(&path)?.set_times(fs::FileTimes::new().set_modified(time))?;
    }
    Ok(())
}
