//! Local volumes that are block devices, for pods that want a folder: a device is given a file system if it has none, is mounted
//! once at upstream's place, and bound into each pod that has it. The mount goes with the last of them.
//! Upstream: pkg/volume/local, and mount-utils' SafeFormatAndMount.

use super::{known_pods, mount, pod_dir};
use parking_lot::Mutex;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A device is not let go of while another pod gets it.
static TURN: Mutex<()> = Mutex::new(());

/// What of a volume says how its device is mounted.
pub(crate) struct Device {
    /// The PersistentVolume's name.
    pub(crate) volume: String,
    pub(crate) path: PathBuf,
    pub(crate) fs_type: String,
    /// As `mount -o` takes them.
    pub(crate) options: Vec<String>,
}

/// Where a pod has its volumes, by their names.
fn folder_in(pod: &Path) -> PathBuf {
    pod.join("volumes/kubernetes.io~local-volume")
}

/// Where a device is mounted for all pods.
fn shared(root: &Path, volume: &str) -> PathBuf {
    root.join("plugins/kubernetes.io/local-volume/mounts").join(volume)
}

/// The folder of a pod with that UID, and whether no other pod has the device.
pub(crate) fn attach(root: &Path, uid: &str, device: &Device) -> io::Result<(PathBuf, bool)> {
    let _turn = TURN.lock();
    let (all, own) = (shared(root, &device.volume), folder_in(&pod_dir(root, uid)).join(&device.volume));
    // The pod's folder first: by it whoever removes the pod knows of the mount, even if this process ends in between.
    fs::create_dir_all(&own)?;
    if !mount::is_mount_point(&all) {
        fs::create_dir_all(&all)?;
        if let Err(error) = format_and_mount(device, &all) {
            let _ = fs::remove_dir(&all);
            let (path, all, kind) = (device.path.display(), all.display(), &device.fs_type);
            let why = format!("local: failed to mount device {path} at {all} (fstype: {kind}), error {error}");
            return Err(io::Error::other(why));
        }
    }
    if !mount::is_mount_point(&own) {
        mount::bind(&all, &own)?;
    }
    let alone = known_pods(root).iter().all(|other| other == uid || !has(root, other, &device.volume));
    Ok((own, alone))
}

fn has(root: &Path, uid: &str, volume: &str) -> bool {
    folder_in(&pod_dir(root, uid)).join(volume).exists()
}

/// Removes a pod's folder, by `remove`, and then the mounts that no other pod has.
pub(crate) fn detach(root: &Path, pod: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let _turn = TURN.lock();
    let entries = fs::read_dir(folder_in(pod)).into_iter().flatten().flatten();
    let gone: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    remove()?;
    for volume in gone {
        if !known_pods(root).iter().any(|uid| has(root, uid, &volume)) {
            mount::unmount(&shared(root, &volume))?;
            match fs::remove_dir(shared(root, &volume)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn format_and_mount(device: &Device, target: &Path) -> Result<(), String> {
    let (disk, kind) = (device.path.as_path(), device.fs_type.as_str());
    let read_only = device.options.iter().any(|option| option == "ro");
    let found =
        format_of(disk).map_err(|why| format!("failed to get disk format of disk {}: {why}", disk.display()))?;
    match found.as_deref() {
        None if read_only => {
            let disk = disk.display();
            return Err(format!("cannot mount unformatted disk {disk} as we are manipulating it in read-only mode"));
        }
        None => {
            tracing::info!(disk = %disk.display(), kind, "formatting a disk that has no file system");
            let force: &[&str] = match kind {
                "ext3" | "ext4" => &["-F", "-m0"],
                "xfs" => &["-f"],
                _ => &[],
            };
            let output = run(Command::new(format!("mkfs.{kind}")).args(force).arg(disk))?;
            if !output.status.success() {
                let (disk, target) = (disk.display(), target.display());
                let why = text(&output);
                return Err(format!(
                    "format of disk {disk:?} failed: type:({kind:?}) target:({target:?}) output:({why})"
                ));
            }
        }
        Some(found) => {
            if found != kind {
                tracing::warn!(disk = %disk.display(), kind, found, "a disk has another file system than is configured");
            }
            if !read_only {
                check(disk)?;
            }
        }
    }
    let options = [device.options.as_slice(), &["defaults".to_owned()]].concat().join(",");
    let output = run(Command::new("mount").args(["-t", kind, "-o", &options]).arg(disk).arg(target))?;
    if output.status.success() { Ok(()) } else { Err(text(&output)) }
}

/// Repairs what can be repaired without asking.
fn check(disk: &Path) -> Result<(), String> {
    /// `fsck`: errors are left.
    const UNCORRECTED: i32 = 4;
    match run(Command::new("fsck").arg("-a").arg(disk)) {
        Ok(output) if output.status.code() == Some(UNCORRECTED) => {
            let (disk, why) = (disk.display(), text(&output));
            Err(format!("'fsck' found errors on device {disk} but could not correct them: {why}"))
        }
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            tracing::info!(disk = %disk.display(), output = text(&output), "fsck");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(disk = %disk.display(), error, "mounted without fsck");
            Ok(())
        }
    }
}

/// What a disk has on it: the type of its file system, or words for what must not be formatted.
fn format_of(disk: &Path) -> Result<Option<String>, String> {
    /// `blkid`: nothing is there that it knows.
    const NOTHING: i32 = 2;
    let output = run(Command::new("blkid").args(["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export"]).arg(disk))?;
    if output.status.code() == Some(NOTHING) {
        return Ok(None);
    }
    if !output.status.success() {
        return Err(text(&output));
    }
    Ok(format_in(&String::from_utf8_lossy(&output.stdout)))
}

fn format_in(exported: &str) -> Option<String> {
    let value = |name: &str| exported.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match value("PTTYPE") {
        Some(_) => Some("unknown data, probably partitions".to_owned()),
        None => value("TYPE").map(str::to_owned),
    }
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().map_err(|error| format!("{program}: {error}"))
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::{block, remove_pod_dir};

    #[test]
    fn a_disk_with_partitions_is_not_taken_for_an_empty_one() {
        assert_eq!(format_in("DEVNAME=/dev/x\nTYPE=ext4\n").as_deref(), Some("ext4"));
        assert_eq!(format_in("DEVNAME=/dev/x\n"), None);
        assert_eq!(format_in("PTTYPE=gpt\nTYPE=vfat\n").as_deref(), Some("unknown data, probably partitions"));
    }

    #[test]
    fn a_device_is_formatted_once_and_mounted_as_long_as_a_pod_has_it() {
        if !block::tests::loop_devices_can_be_made() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (root, file) = (root.path(), root.path().join("disk"));
        fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
        let owner = pod_dir(root, "owner");
        let path = block::attach(&owner, "disk", &file).unwrap();
        let device = |options: &[&str]| Device {
            volume: "v".to_owned(),
            path: path.clone(),
            fs_type: "ext4".to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        let refused = attach(root, "a", &device(&["ro"])).unwrap_err().to_string();
        assert!(refused.contains("cannot mount unformatted disk"), "{refused}");
        assert!(!shared(root, "v").exists());

        let (a, alone) = attach(root, "a", &device(&["noatime"])).unwrap();
        assert!(alone);
        fs::write(a.join("kept"), "1").unwrap();
        assert_eq!(attach(root, "a", &device(&[])).unwrap(), (a.clone(), true), "again");
        let (b, alone) = attach(root, "b", &device(&[])).unwrap();
        assert!(!alone);
        remove_pod_dir(root, "a").unwrap();
        assert_eq!(fs::read_to_string(b.join("kept")).unwrap(), "1");
        remove_pod_dir(root, "b").unwrap();
        assert!(!shared(root, "v").exists());

        let (c, _) = attach(root, "c", &device(&["ro"])).unwrap();
        assert_eq!(fs::read_to_string(c.join("kept")).unwrap(), "1");
        assert!(fs::write(c.join("more"), "").is_err());
        remove_pod_dir(root, "c").unwrap();
        // A kubelet that ended between the mount and the bind.
        for folder in [folder_in(&pod_dir(root, "d")).join("v"), shared(root, "v")] {
            fs::create_dir_all(folder).unwrap();
        }
        format_and_mount(&device(&[]), &shared(root, "v")).unwrap();
        remove_pod_dir(root, "d").unwrap();
        assert!(!shared(root, "v").exists());
        remove_pod_dir(root, "owner").unwrap();
    }
}
