//! A machine of the test's own, made of namespaces: network, processes, mounts, names and cgroups. Everything on it dies
//! with its first process, which dies with the test, however that ends; only empty cgroups and a folder are left to
//! remove. So tests neither see nor touch each other or the real machine.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::link::Link;
use crate::{needs, wait};

/// The address of a machine that is alone; its network is 192.0.2.0/24, with an outside host at .99.
pub const ADDRESS: &str = "192.0.2.10";

/// Runs as the machine's first process. `$1` its folder, `$2` its name, `$3` the program that then reaps, `$4` whether it
/// has a network, and after them a mount point, type and options for each cgroup tree.
const INIT: &str = r#"
set -e
dir=$1 name=$2 ferry=$3 network=$4; shift 4
mount --make-rprivate /
while [ $# -gt 0 ]; do
  umount "$1"; mount -t "$2" -o "$3" cgroup "$1"
  if [ "$2" = cgroup2 ]; then mkdir -p "$1/init"; echo 0 >"$1/init/cgroup.procs"; fi
  shift 3
done
mount -t proc proc /proc
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
hostname "$name"
ip link set lo up
if [ $network = yes ]; then
ip netns add outside
ip link add eth0 type veth peer name eth0 netns outside
ip addr add 192.0.2.10/24 dev eth0; ip link set eth0 up
ip route add default via 192.0.2.99
ip -n outside addr add 192.0.2.99/24 dev eth0; ip -n outside link set eth0 up; ip -n outside link set lo up
fi
echo ready
exec "$ferry" pause
"#;

/// One cgroup tree: where it is mounted, how, and the machine's group in it as the real machine names it.
struct Tree {
    mount: PathBuf,
    kind: String,
    options: String,
    group: PathBuf,
}

/// See the module.
pub struct Machine {
    /// A short path (unix sockets have 107 bytes): data directories and whatever else a test writes.
    pub dir: PathBuf,
    /// Its host's name.
    pub name: String,
    /// Its address.
    pub address: String,
    shell: Child,
    /// The machine's first process, as the real machine numbers it.
    init: i32,
    trees: Vec<Tree>,
}

impl Machine {
    /// `None`, with a word why, where this cannot be done.
    pub fn new(test: &str, also: &[&str]) -> Option<Self> {
        Self::with_network("yes", test, also)
    }

    /// The same with no link but loopback.
    pub fn offline(test: &str, also: &[&str]) -> Option<Self> {
        Self::with_network("no", test, also)
    }

    /// The same at 192.0.2.`host` of a link with others.
    pub fn on_link(link: &Link, host: u8, test: &str, also: &[&str]) -> Option<Self> {
        let mut machine = Self::with_network("no", test, also)?;
        link.attach(machine.init, host);
        machine.address = format!("192.0.2.{host}");
        Some(machine)
    }

    fn with_network(network: &str, test: &str, also: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !needs::met(test, also) {
            return None;
        }
        let name = format!("fe{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = PathBuf::from(format!("/tmp/{name}"));
        fs::create_dir_all(&dir).expect("a folder under /tmp");
        let ferry = dir.join("ferry");
        // Without what only a debugger reads: images are made of this file.
        let stripped = Command::new("strip").arg("-o").arg(&ferry).arg(needs::ferry()).output();
        if !stripped.is_ok_and(|output| output.status.success()) {
            fs::copy(needs::ferry(), &ferry).expect("copied");
        }
        let trees = trees(&name);
        for tree in &trees {
            make_group(tree).expect("a cgroup");
        }
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "n=$1; shift; while [ $n -gt 0 ]; do echo $$ >\"$1/cgroup.procs\"; shift; n=$((n-1)); done; exec \"$@\"",
            "sh",
        ]);
        command.arg(trees.len().to_string()).args(trees.iter().map(|tree| &tree.group));
        command.args([
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
        ]);
        command
            .args(["--fork", "--kill-child=KILL", "sh", "-c", INIT, "sh"])
            .arg(&dir)
            .arg(&name)
            .arg(&ferry)
            .arg(network);
        for tree in &trees {
            command.arg(&tree.mount).args([&tree.kind, &tree.options]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut shell = command.spawn().expect("sh");
        let mut line = String::new();
        let _ = BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut line);
        let pid = shell.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let init = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let mut machine = Self { dir, name, address: ADDRESS.into(), shell, init, trees };
        if line.trim() != "ready" || init == 0 {
            let _ = machine.shell.kill();
            let mut said = String::new();
            if let Some(mut stderr) = machine.shell.stderr.take() {
                let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
            }
            skips::skip("a machine of namespaces", &format!("({test}: {})", said.trim()));
            return None;
        }
        Some(machine)
    }

    /// The program under test.
    pub fn ferry(&self) -> PathBuf {
        self.dir.join("ferry")
    }

    /// A command on the machine, to be given arguments and run.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "n=$1; shift; while [ $n -gt 0 ]; do echo $$ >\"$1/cgroup.procs\"; shift; n=$((n-1)); done; exec \"$@\"",
            "sh",
        ]);
        let groups = self
            .trees
            .iter()
            .map(|tree| if tree.kind == "cgroup2" { tree.group.join("init") } else { tree.group.clone() });
        command.arg(self.trees.len().to_string()).args(groups);
        command.args([
            "nsenter",
            "-t",
            &self.init.to_string(),
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
            "--",
        ]);
        command.arg(program.as_ref()).current_dir("/").stdin(Stdio::null());
        command.env("HOME", &self.dir).env_remove("KUBECONFIG");
        command
    }

    /// Runs a shell script on the machine; its output, trimmed. Panics if it fails.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}\n{err}", output.status);
        out.trim().to_owned()
    }

    /// The same, with whatever comes of it.
    pub fn try_sh(&self, script: &str) -> Output {
        self.command("sh").args(["-ec", script]).output().expect("sh")
    }

    /// Runs `work` on a thread that lives in the machine's network.
    pub fn on_network<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = File::open(format!("/proc/{}/ns/net", self.init)).expect("the machine's network");
        std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("entered");
            work()
        })
    }

    /// The machine's cgroup trees, as the real machine sees them.
    pub fn groups(&self) -> impl Iterator<Item = &Path> {
        self.trees.iter().map(|tree| tree.group.as_path())
    }

    /// Processes on the machine: their number there and their command line. The first process is not among them.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let script = r#"for p in /proc/[0-9]*; do n=${p#/proc/}; [ $n = 1 ] || [ $n = $$ ] || printf '%s %s\n' "$n" "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)"; done"#;
        let lines = self.sh(script);
        // Without a command line: a kernel thread, a process that ends, or one of the script's own.
        let parse =
            |line: &str| Some((line.split_once(' ')?.0.parse().ok()?, line.split_once(' ')?.1.trim().to_owned()));
        lines
            .lines()
            .filter_map(parse)
            .filter(|(_, command)| !command.is_empty() && !command.starts_with("sh -ec for p"))
            .collect()
    }
}

/// Ends every process of the machine, and waits until the kernel is done with them.
impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let keep = std::thread::panicking() && std::env::var_os("E2E_KEEP").is_some();
        if std::thread::panicking() {
            tell_logs(&self.dir);
        }
        for tree in &self.trees {
            let gone = || remove_tree(&tree.group).map_err(|error| error.to_string());
            if std::thread::panicking() {
                let _ =
                    (0..50).find(|_| gone().inspect_err(|_| std::thread::sleep(Duration::from_millis(100))).is_ok());
            } else {
                wait::until("the machine's cgroups are empty", gone);
            }
        }
        if !keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
        eprintln!("machine {} is gone", self.name);
    }
}

/// The ends of a failed test's logs.
fn tell_logs(dir: &Path) {
    let logs = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|e| e == "log")) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("== {}\n{}", log.display(), lines[lines.len().saturating_sub(60)..].join("\n"));
    }
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn trees(name: &str) -> Vec<Tree> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = |controllers: &str| {
        let line = own.lines().find_map(|line| {
            let (kind, path) = line.split_once(':')?.1.split_once(':')?;
            (kind.trim_start_matches("name=") == controllers.trim_start_matches("name=")).then(|| path.to_owned())
        });
        line.unwrap_or_else(|| "/".into())
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut trees = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, mount, kind @ ("cgroup" | "cgroup2"), options, ..] = fields[..] else { continue };
        let general = ["rw", "ro", "relatime", "noexec", "nosuid", "nodev", "nsdelegate", "memory_recursiveprot"];
        let kept: Vec<&str> = options
            .split(',')
            .filter(|o| !general.contains(o) && !o.starts_with("release_agent"))
            .filter(|o| *o != "xattr")
            .collect();
        let controllers = kept.join(",");
        let group = Path::new(mount).join(own(&controllers).trim_start_matches('/')).join(name);
        let options = match (kind, controllers.starts_with("name=")) {
            ("cgroup2", _) => "rw".to_owned(),
            (_, true) => format!("none,{controllers}"),
            (_, false) => controllers,
        };
        trees.push(Tree { mount: mount.into(), kind: kind.into(), options, group });
    }
    trees
}

fn make_group(tree: &Tree) -> std::io::Result<()> {
    fs::create_dir_all(&tree.group)?;
    // A new group of this controller holds no processor until it is given some.
    for file in
        ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| tree.kind == "cgroup" && tree.options.contains("cpuset"))
    {
        let parent = tree.group.parent().unwrap_or(&tree.mount).join(file);
        fs::write(tree.group.join(file), fs::read_to_string(parent)?.trim())?;
    }
    Ok(())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for child in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        remove_tree(&child)?;
    }
    fs::remove_dir(group)
}
