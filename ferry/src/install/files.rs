//! The files of an installation: the program, a `kubectl` beside it where the machine has none, the units, and the file of
//! flags that the unit reads. What an administrator has changed in that last one is kept.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Name, text. The packages have the same files, at `/usr`.
const UNITS: [(&str, &str); 2] = [
    ("ferry.service", include_str!("../../../deploy/ferry.service")),
    ("ferry-node.service", include_str!("../../../deploy/ferry-node.service")),
];
const DEFAULTS: &str = include_str!("../../../deploy/ferry.default");
/// Where the packages have the program.
const PACKAGED: &str = "/usr/bin/ferry";
/// Where a machine may have a kubectl already.
const PROGRAMS: [&str; 6] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];

/// Where the files go.
pub struct Files {
    root: PathBuf,
    /// As the installed machine names it.
    program: PathBuf,
}

impl Files {
    /// An installation in `prefix` of the machine whose files are below `root`.
    pub fn new(root: &Path, prefix: &Path) -> anyhow::Result<Self> {
        if !prefix.is_absolute() {
            bail!("--prefix {} is not an absolute path", prefix.display());
        }
        Ok(Self { root: root.to_path_buf(), program: prefix.join("bin/ferry") })
    }

    /// Puts them in place; a line for each that changed.
    pub fn install(&self, executable: &Path) -> anyhow::Result<Vec<String>> {
        let mut changed = Vec::new();
        let program = self.below(&self.program);
        let bytes = fs::read(executable).with_context(|| format!("reading {}", executable.display()))?;
        put(&program, &bytes, 0o755, &mut changed)?;
        let link = program.with_file_name("kubectl");
        if !self.has_kubectl() && !link.is_symlink() {
            symlink("ferry", &link).with_context(|| format!("linking {}", link.display()))?;
            changed.push(format!("installed {} (ferry's own; this machine has no other)", link.display()));
        }
        for (name, text) in UNITS {
            let text = text.replace(PACKAGED, &self.program.display().to_string());
            put(&self.unit(name), text.as_bytes(), 0o644, &mut changed)?;
        }
        if !self.defaults().exists() {
            put(&self.defaults(), DEFAULTS.as_bytes(), 0o644, &mut changed)?;
        }
        Ok(changed)
    }

    /// Takes them away; a line for each that was there.
    pub fn uninstall(&self) -> anyhow::Result<Vec<String>> {
        let program = self.below(&self.program);
        let link = program.with_file_name("kubectl");
        let mut gone: Vec<PathBuf> =
            UNITS.iter().map(|(name, _)| self.unit(name)).filter(|unit| unit.exists()).collect();
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("ferry")) {
            gone.push(link);
        }
        gone.extend(Some(program).filter(|program| program.exists()));
        if fs::read_to_string(self.defaults()).is_ok_and(|text| text == DEFAULTS) {
            gone.push(self.defaults());
        }
        for file in &gone {
            fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
        }
        Ok(gone.iter().map(|file| format!("removed {}", file.display())).collect())
    }

    /// Where a unit is.
    pub fn unit(&self, name: &str) -> PathBuf {
        self.root.join("etc/systemd/system").join(name)
    }

    fn defaults(&self) -> PathBuf {
        self.root.join("etc/default/ferry")
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn has_kubectl(&self) -> bool {
        PROGRAMS.iter().any(|folder| self.root.join(folder).join("kubectl").is_file())
    }
}

/// Whole or not at all: the program may be running, and then its file cannot be written.
fn put(file: &Path, bytes: &[u8], mode: u32, changed: &mut Vec<String>) -> anyhow::Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&new, bytes)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, file)
    };
    write().with_context(|| format!("writing {}", file.display()))?;
    changed.push(format!("installed {}", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use expect_test::expect;

    use super::*;

    /// A machine's files, and a program to install there.
    fn machine() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("built");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        (dir, program)
    }

    fn lines(root: &Path, lines: Vec<String>) -> String {
        lines.join("\n").replace(&root.display().to_string(), "")
    }

    #[test]
    fn installed_twice_and_taken_away_twice() {
        let (dir, program) = machine();
        let root = dir.path().join("root");
        let files = Files::new(&root, Path::new("/usr/local")).unwrap();
        expect![[r#"
            installed /usr/local/bin/ferry
            installed /usr/local/bin/kubectl (ferry's own; this machine has no other)
            installed /etc/systemd/system/ferry.service
            installed /etc/systemd/system/ferry-node.service
            installed /etc/default/ferry"#]]
        .assert_eq(&lines(&root, files.install(&program).unwrap()));
        assert_eq!(files.install(&program).unwrap(), [""; 0]);
        let installed = root.join("usr/local/bin/ferry");
        assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o777, 0o755);
        let unit = fs::read_to_string(files.unit("ferry.service")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/local/bin/ferry up "), "{unit}");

        // A new version, and flags of the administrator's.
        fs::write(&program, "#!/bin/sh\nexit\n").unwrap();
        fs::write(files.defaults(), "FERRY_UP_FLAGS=-v=4\n").unwrap();
        expect!["installed /usr/local/bin/ferry"].assert_eq(&lines(&root, files.install(&program).unwrap()));

        expect![[r#"
            removed /etc/systemd/system/ferry.service
            removed /etc/systemd/system/ferry-node.service
            removed /usr/local/bin/kubectl
            removed /usr/local/bin/ferry"#]]
        .assert_eq(&lines(&root, files.uninstall().unwrap()));
        assert!(files.defaults().exists(), "an administrator's file is not ours");
        assert_eq!(files.uninstall().unwrap(), [""; 0]);
    }

    #[test]
    fn a_kubectl_that_is_there_is_left_alone() {
        let (dir, program) = machine();
        let root = dir.path().join("root");
        for place in ["usr/bin", "usr/local/bin"] {
            let kubectl = root.join(place).join("kubectl");
            fs::create_dir_all(kubectl.parent().unwrap()).unwrap();
            fs::write(&kubectl, "another").unwrap();
            let files = Files::new(&root, Path::new("/usr/local")).unwrap();
            assert!(!lines(&root, files.install(&program).unwrap()).contains("kubectl"));
            files.uninstall().unwrap();
            assert_eq!(fs::read_to_string(&kubectl).unwrap(), "another");
            fs::remove_file(kubectl).unwrap();
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let (dir, program) = machine();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let files = Files::new(&file, Path::new("/usr/local")).unwrap();
        let said = format!("{:#}", files.install(&program).unwrap_err()).replace(&dir.path().display().to_string(), "");
        expect!["writing /file/usr/local/bin/ferry: Not a directory (os error 20)"].assert_eq(&said);
        assert!(Files::new(&file, Path::new("usr")).is_err());
    }

    #[test]
    fn systemd_takes_the_units() {
        if !Path::new("/usr/bin/systemd-analyze").exists() {
            skips::skip("systemd-analyze", "(Debian package systemd)");
            return;
        }
        let (dir, program) = machine();
        // Below no other root: the units name the program where it is.
        let prefix = dir.path().join("prefix");
        let files = Files::new(&dir.path().join("root"), &prefix).unwrap();
        files.install(&program).unwrap();
        fs::create_dir_all(prefix.join("bin")).unwrap();
        fs::copy("/bin/true", prefix.join("bin/ferry")).unwrap();
        let units = UNITS.map(|(name, _)| files.unit(name));
        let output = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");

        // It does find what is wrong.
        let text = fs::read_to_string(&units[0]).unwrap();
        fs::write(&units[0], text.replace("KillMode=process", "KillMode=proces")).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(&units[0]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("proces"), "{output:?}");
    }

    #[test]
    fn the_units_keep_containers_and_watch_the_process() {
        for (name, text) in UNITS {
            for line in ["Type=notify", "WatchdogSec=60", "Delegate=yes", "KillMode=process", "Restart=always"] {
                assert!(text.lines().any(|l| l == line), "{name} lacks {line}");
            }
        }
    }
}
