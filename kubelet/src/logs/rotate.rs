//! Turning logs over by size. Upstream: pkg/kubelet/logs/container_log_manager.go.

use crate::cri::Runtime;
use component::supervisor;
use flate::compress;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// `containerLogMaxSize` and `containerLogMaxFiles` (the current one included).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) size_bytes: u64,
    pub(crate) files: usize,
}

/// Looks at one running container's log. Files are handled on the blocking pool: compressing one takes a while.
pub(crate) async fn rotate(runtime: &dyn Runtime, id: &str, log: &Path, limits: Limits) -> anyhow::Result<()> {
    let path = log.to_owned();
    match supervisor::blocking("log rotation", move || set_aside(&path, limits)).await?? {
        Found::Small => Ok(()),
        // The runtime lost the file: it makes a new one when told to open it.
        Found::Missing => Ok(runtime.reopen_log(id).await?),
        Found::Renamed(aside) => {
            let Err(error) = runtime.reopen_log(id).await else { return Ok(()) };
            let path = log.to_owned();
            supervisor::blocking("log rotation", move || fs::rename(aside, path)).await??;
            Err(error.into())
        }
    }
}

enum Found {
    Small,
    Missing,
    /// It was too large, and has this name now.
    Renamed(PathBuf),
}

fn set_aside(log: &Path, limits: Limits) -> io::Result<Found> {
    let size = match fs::metadata(log) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    if size < limits.size_bytes {
        return Ok(Found::Small);
    }
    let mut old = rotated(log)?;
    // With the newest one the limit must hold; the current log counts too.
    while old.len() + 2 > limits.files.max(2) {
        fs::remove_file(old.remove(0))?;
    }
    for file in old.iter().filter(|f| f.extension().is_none_or(|e| e != "gz")) {
        compress(file)?;
    }
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = PathBuf::from(format!("{}.{stamp}", log.display()));
    fs::rename(log, &aside)?;
    Ok(Found::Renamed(aside))
}

/// The log's older files, oldest first.
fn rotated(log: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{}.", log.file_name().unwrap_or_default().to_string_lossy());
    let folder = log.parent().unwrap_or(Path::new("/"));
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
                && p.extension().is_none_or(|e| e != "tmp")
        })
        .collect();
    files.sort();
    Ok(files)
}

mod flate {
    //! Old logs are kept as gzip, the form that upstream leaves and log collectors expect.

    use std::{fs, io, path::Path};

    pub(super) fn compress(file: &Path) -> io::Result<()> {
        let target = format!("{}.gz", file.display());
        let partial = format!("{target}.tmp");
        let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&partial)?, flate2::Compression::default());
        io::copy(&mut fs::File::open(file)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(partial, target)?;
        fs::remove_file(file)
    }
}
