//! Volumes that containers get as block devices. Each pod has a link to each of its own, at upstream's place; a file becomes
//! a device by a loop device, which goes with the last pod that has it.

use super::{Volumes, known_pods, pod_dir};
use k8s_openapi::api::core::v1::{Container, VolumeDevice};
use parking_lot::Mutex;
use proto::cri;
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// A loop device is not taken away while another pod gets it.
static TURN: Mutex<()> = Mutex::new(());

/// Where a pod's links are.
fn links(folder: &Path) -> PathBuf {
    folder.join("volumeDevices/kubernetes.io~local-volume")
}

/// The device of a volume that is a device or a file, for a pod.
pub(crate) fn attach(folder: &Path, volume: &str, source: &Path) -> io::Result<PathBuf> {
    let kind = fs::metadata(source)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(io::Error::other(format!("{} is no block device", source.display())));
    }
    let _turn = TURN.lock();
    fs::create_dir_all(links(folder))?;
    match symlink(source, links(folder).join(volume)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if kind.is_block_device() { fs::canonicalize(source) } else { loop_device(source) }
}

/// Removes a pod's folder, by `remove`, and then the loop devices that no other pod has.
pub(crate) fn detach(root: &Path, folder: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let _turn = TURN.lock();
    let gone = sources(folder);
    remove()?;
    if gone.is_empty() {
        return Ok(());
    }
    let used: Vec<PathBuf> = known_pods(root).iter().flat_map(|uid| sources(&pod_dir(root, uid))).collect();
    for source in gone.iter().filter(|source| !used.contains(source)) {
        for device in loop_devices(source)? {
            losetup(&["-d", &device], None)?;
        }
    }
    Ok(())
}

/// A file that a loop device shows has grown.
pub(crate) fn grown(file: &Path) -> io::Result<()> {
    let _turn = TURN.lock();
    loop_devices(file)?.iter().try_for_each(|device| losetup(&["-c", device], None).map(drop))
}

/// What a pod's links lead to.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(links(folder)).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// The loop device of a file, made if there is none.
fn loop_device(file: &Path) -> io::Result<PathBuf> {
    match loop_devices(file)?.into_iter().next() {
        Some(device) => Ok(device.into()),
        None => Ok(losetup(&["--show", "-f"], Some(file))?.trim().into()),
    }
}

fn loop_devices(file: &Path) -> io::Result<Vec<String>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let list = losetup(&["-n", "-O", "NAME", "-j"], Some(file))?;
    Ok(list.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// What the program (util-linux) prints.
fn losetup(arguments: &[&str], last: Option<&Path>) -> io::Result<String> {
    let output = Command::new("losetup").args(arguments).args(last).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("losetup: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A container's devices from its pod's volumes. Upstream: kubelet_pods.go, makeBlockVolumes.
pub(crate) fn devices(container: &Container, volumes: &Volumes) -> Result<Vec<cri::Device>, String> {
    let wanted = container.volume_devices.iter().flatten();
    let device = |wanted: &VolumeDevice| {
        let volume = volumes.get(&wanted.name).ok_or_else(|| {
            format!("cannot find volume {:?} to pass into container {:?}", wanted.name, container.name)
        })?;
        Ok(cri::Device {
            container_path: wanted.device_path.clone(),
            host_path: volume.path.to_string_lossy().into_owned(),
            permissions: if volume.read_only { "r" } else { "mrw" }.into(),
        })
    };
    wanted.map(device).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::volumes::{Mounted, local};
    use serde_json::json;

    pub(crate) fn loop_devices_can_be_made() -> bool {
        let can = nix::unistd::Uid::effective().is_root() && Path::new("/dev/loop-control").exists();
        if !can {
            skips::skip("loop devices", "");
        }
        can
    }

    #[test]
    fn a_file_is_a_device_as_long_as_a_pod_has_it() {
        if !loop_devices_can_be_made() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let wanted = |bytes: u64| serde_json::from_value(json!({"bytes": bytes, "block": true})).unwrap();
        local::keep(root, "v", &wanted(1 << 20)).unwrap();
        let file = root.join("local-volumes/v");
        let device = attach(&pod_dir(root, "a"), "v", &file).unwrap();
        assert_eq!(attach(&pod_dir(root, "b"), "v", &file).unwrap(), device);
        assert_eq!(attach(&pod_dir(root, "a"), "v", &file).unwrap(), device, "again");
        let sectors = || {
            let name = device.file_name().unwrap().to_string_lossy().into_owned();
            fs::read_to_string(format!("/sys/block/{name}/size")).unwrap().trim().to_owned()
        };
        assert_eq!(sectors(), "2048");
        local::keep(root, "v", &wanted(2 << 20)).unwrap();
        assert_eq!(sectors(), "4096");
        super::super::remove_pod_dir(root, "a").unwrap();
        assert_eq!(loop_devices(&file).unwrap(), [device.display().to_string()]);
        super::super::remove_pod_dir(root, "b").unwrap();
        assert!(loop_devices(&file).unwrap().is_empty());
        assert!(file.exists());
    }

    #[test]
    fn a_folder_is_no_device() {
        let root = tempfile::tempdir().unwrap();
        let error = attach(&pod_dir(root.path(), "a"), "v", root.path()).unwrap_err();
        assert!(error.to_string().ends_with("is no block device"), "{error}");
    }

    #[test]
    fn a_container_gets_the_devices_that_it_names() {
        let volume = |read_only| Mounted { path: "/dev/loop7".into(), read_only, managed: false };
        let volumes = Volumes::from([("data".to_owned(), volume(false)), ("old".to_owned(), volume(true))]);
        let container = |name: &str| -> Container {
            serde_json::from_value(json!({"name": "c", "volumeDevices": [{"name": name, "devicePath": "/dev/x"}]}))
                .unwrap()
        };
        let got = |name: &str| {
            let list = devices(&container(name), &volumes)?;
            Ok::<_, String>(
                list.into_iter().map(|d| (d.host_path, d.container_path, d.permissions)).collect::<Vec<_>>(),
            )
        };
        let device = |permissions: &str| vec![("/dev/loop7".into(), "/dev/x".into(), permissions.into())];
        assert_eq!(got("data"), Ok(device("mrw")));
        assert_eq!(got("old"), Ok(device("r")));
        assert_eq!(got("none"), Err("cannot find volume \"none\" to pass into container \"c\"".into()));
    }
}
