//! A folder's limit by a project quota, where its file system has them (ext4 and XFS mounted with `prjquota`). Set with the
//! tools that administrators use: `chattr` (e2fsprogs) marks the folder, `setquota` (quota) limits it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Limits what the folder may hold; `false`: its file system, or this machine, cannot.
pub(crate) fn limit(folder: &Path, bytes: u64) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let Some(mount) = quota_mount(&table, &folder.canonicalize()?) else { return Ok(false) };
    let project = project(folder)?;
    Ok(run("chattr", &["-p", &project, "+P"], folder)? && set(&project, bytes.div_ceil(1024), &mount)?)
}

/// Takes the limit away from a folder that goes.
pub(crate) fn lift(folder: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    match quota_mount(&table, &folder.canonicalize()?) {
        Some(mount) => set(&project(folder)?, 0, &mount).map(drop),
        None => Ok(()),
    }
}

/// A folder's own inode is a number that no other folder of its file system has.
fn project(folder: &Path) -> io::Result<String> {
    Ok((fs::metadata(folder)?.ino() & u64::from(u32::MAX)).to_string())
}

/// Zero blocks: no limit.
fn set(project: &str, kibibytes: u64, mount: &Path) -> io::Result<bool> {
    run("setquota", &["-P", project, "0", &kibibytes.to_string(), "0", "0"], mount)
}

/// `false` if this machine lacks the program.
fn run(program: &str, arguments: &[&str], last: &Path) -> io::Result<bool> {
    let output = match Command::new(program).args(arguments).arg(last).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        output => output?,
    };
    if output.status.success() {
        return Ok(true);
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Where the file system of a path is mounted, if it has project quotas.
fn quota_mount(table: &str, path: &Path) -> Option<PathBuf> {
    let mounts = table.lines().filter_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        Some((Path::new(place.split(' ').nth(4)?), source))
    });
    // Of several at one place the last one shows.
    let (point, source) =
        mounts.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.components().count())?;
    let mut fields = source.split(' ');
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    let has = matches!(kind, "ext4" | "xfs") && options.split(',').any(|o| matches!(o, "prjquota" | "pquota"));
    has.then(|| point.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 254:16 / /var/lib rw,relatime - xfs /dev/vdb rw,attr2,inode64,prjquota
31 30 254:32 / /var/lib/other rw,relatime shared:7 master:1 - ext4 /dev/vdc rw
32 30 254:48 / /var/lib/ext rw - ext4 /dev/vdd rw,prjquota,data=ordered
33 30 0:5 / /var/lib/memory rw - tmpfs tmpfs rw,prjquota
";

    #[test]
    fn the_file_system_of_a_folder_says_whether_it_has_project_quotas() {
        let check = |path: &str, mount: Option<&str>| {
            assert_eq!(quota_mount(TABLE, Path::new(path)), mount.map(PathBuf::from), "{path}");
        };
        check("/srv/a", None);
        check("/var/lib/ferry", Some("/var/lib"));
        check("/var/library", None);
        check("/var/lib/other/a", None);
        check("/var/lib/ext/a", Some("/var/lib/ext"));
        check("/var/lib/memory/a", None);
    }
}
