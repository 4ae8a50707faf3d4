//! `hostPath` and its type checks. Upstream: pkg/volume/hostpath/host_path.go.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

pub(crate) fn prepare(path: &str, kind: &str) -> Result<(), String> {
    let file = Path::new(path);
    let meta = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("stat {path}: {error}")),
        Ok(meta) => Some(meta),
    };
    let is = |test: &dyn Fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(test);
    let check = |ok: bool, what: &str| {
        if ok { Ok(()) } else { Err(format!("hostPath type check failed: {path} is not {what}")) }
    };
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_none() => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(file).map_err(|e| e.to_string())
        }
        "FileOrCreate" if meta.is_none() => {
            fs::OpenOptions::new().create(true).append(true).mode(0o644).open(file).map(drop).map_err(|e| e.to_string())
        }
        "DirectoryOrCreate" | "Directory" => check(is(&|m| m.is_dir()), "a directory"),
        "FileOrCreate" | "File" => check(is(&|m| m.is_file()), "a file"),
        "Socket" => check(is(&|m| m.file_type().is_socket()), "a socket file"),
        "CharDevice" => check(is(&|m| m.file_type().is_char_device()), "a character device"),
        "BlockDevice" => check(is(&|m| m.file_type().is_block_device()), "a block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}
