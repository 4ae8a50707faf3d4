//! What there is: images, sandboxes, containers, and what containers do.

use crate::{call::Rule, cri};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

const NAME: &str = "io.kubernetes.container.name";
/// Exit codes of a process that a signal ended: SIGKILL, SIGTERM.
pub(crate) const KILLED: i32 = 137;
const TERMINATED: i32 = 143;

/// What a container does once it is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// How long it runs by itself; `None`: for ever.
    pub runs: Option<Duration>,
    /// The exit code when it ends by itself.
    pub exit_code: i32,
    /// How long it takes to end after its stop signal; `None`: it ignores the signal.
    pub stops_after: Option<Duration>,
}

impl Default for Program {
    fn default() -> Self {
        Self { runs: None, exit_code: 0, stops_after: Some(Duration::ZERO) }
    }
}

impl Program {
    /// Ends by itself.
    pub fn ends(after: Duration, exit_code: i32) -> Self {
        Self { runs: Some(after), exit_code, ..Self::default() }
    }

    /// Runs until it is killed.
    pub fn stubborn() -> Self {
        Self { stops_after: None, ..Self::default() }
    }
}

/// A command's outcome.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// 0 is success.
    pub exit_code: i32,
    /// What it printed.
    pub stdout: String,
    /// How long it took; past the call's limit it is `DeadlineExceeded`.
    pub takes: Duration,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Time of processors in nanoseconds, since it was started; 0: nothing is said of it.
    pub cpu_ns: u64,
    /// Memory in bytes.
    pub working_set_bytes: u64,
    /// The writable layer in bytes and inodes.
    pub layer_bytes: u64,
    /// Its files.
    pub layer_inodes: u64,
}

/// A pod's sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// As it was asked for.
    pub config: cri::PodSandboxConfig,
    /// Whether its network is there.
    pub ready: bool,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Empty on the node's network.
    pub ip: String,
}

impl Sandbox {
    /// The pod's name.
    pub fn pod(&self) -> &str {
        self.config.metadata.as_ref().map_or("", |m| m.name.as_str())
    }
}

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The sandbox that it is in.
    pub sandbox: String,
    /// As it was asked for.
    pub config: cri::ContainerConfig,
    /// Created, running or exited.
    pub state: cri::ContainerState,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Nanoseconds since 1970.
    pub started_at: i64,
    /// Nanoseconds since 1970.
    pub finished_at: i64,
    /// Of one that exited.
    pub exit_code: i32,
    /// Where its log is.
    pub log_path: PathBuf,
    pub(crate) program: Program,
    /// When it ends by itself.
    pub(crate) ends: Option<Instant>,
}

impl Container {
    /// The name in the pod's spec.
    pub fn name(&self) -> &str {
        self.config.labels.get(NAME).map_or("", String::as_str)
    }
}

type Command = Box<dyn FnMut(&str, &[String]) -> Exec + Send>;

/// Everything that a test arranges and looks at.
pub struct World {
    pub(crate) now_ns: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Every call but the ones that only look, in order: `StartContainer web`, `StopContainer web 30`.
    pub calls: Vec<String>,
    /// What befalls calls; the first that fits counts.
    pub rules: Vec<Rule>,
    /// Images that are there, by name, with their size in bytes.
    pub images: BTreeMap<String, u64>,
    /// Images that a pull finds, by name.
    pub registry: BTreeMap<String, u64>,
    /// What containers of an image do; others run for ever.
    pub programs: BTreeMap<String, Program>,
    /// All of them, oldest first.
    pub sandboxes: Vec<Sandbox>,
    /// All of them, oldest first.
    pub containers: Vec<Container>,
    /// What the containers of that name use.
    pub figures: HashMap<String, Figures>,
    /// Why there is no network for pods.
    pub network_fault: Option<String>,
    /// The URL at which ports are forwarded; without one they are not.
    pub streams: Option<String>,
    /// Where images are stored.
    pub image_mount: PathBuf,
    pub(crate) command: Command,
    serial: u32,
}

impl World {
    pub(crate) fn new(now_ns: Arc<dyn Fn() -> i64 + Send + Sync>) -> Self {
        Self {
            now_ns,
            calls: Vec::new(),
            rules: Vec::new(),
            images: BTreeMap::new(),
            registry: BTreeMap::new(),
            programs: BTreeMap::new(),
            sandboxes: Vec::new(),
            containers: Vec::new(),
            figures: HashMap::new(),
            network_fault: None,
            streams: None,
            image_mount: "/".into(),
            command: Box::new(|_, _| Exec::default()),
            serial: 0,
        }
    }

    /// What commands in containers do, by the container's name; without it each succeeds.
    pub fn on_command(&mut self, command: impl FnMut(&str, &[String]) -> Exec + Send + 'static) {
        self.command = Box::new(command);
    }

    /// Adds a rule before those that are there.
    pub fn rule(&mut self, rule: Rule) {
        self.rules.insert(0, rule);
    }

    /// The newest container of that name in the pod of that name.
    pub fn container(&self, pod: &str, name: &str) -> Option<&Container> {
        self.containers
            .iter()
            .rev()
            .find(|c| c.name() == name && self.sandboxes.iter().any(|s| s.id == c.sandbox && s.pod() == pod))
    }

    /// Whether such a container runs.
    pub fn runs(&self, pod: &str, name: &str) -> bool {
        self.container(pod, name).is_some_and(|c| c.state == cri::ContainerState::ContainerRunning)
    }

    /// The calls of that name, as noted.
    pub fn calls_of(&self, call: &str) -> Vec<&str> {
        self.calls.iter().filter(|c| c.split(' ').next() == Some(call)).map(String::as_str).collect()
    }

    /// The running container ends now.
    pub fn exit(&mut self, pod: &str, name: &str, exit_code: i32) {
        if let Some(id) = self.container(pod, name).map(|c| c.id.clone()) {
            self.end(&id, exit_code);
        }
    }

    /// Writes a line to the container's log, as it would have printed it.
    ///
    /// # Panics
    /// The log cannot be written.
    pub fn print(&self, pod: &str, name: &str, text: &str) {
        let Some(container) = self.container(pod, name) else { return };
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&container.log_path).expect("a log");
        let line = format!("{} stdout F {text}\n", "2026-01-01T00:00:00.000000000Z");
        file.write_all(line.as_bytes()).expect("written");
    }

    pub(crate) fn id(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{kind}{:04}", self.serial)
    }

    /// A different address each time.
    pub(crate) fn address(&self) -> String {
        format!("10.88.{}.{}", self.serial / 250, self.serial % 250 + 1)
    }

    pub(crate) fn now(&self) -> i64 {
        (self.now_ns)()
    }

    /// Ends those whose time has come.
    pub(crate) fn settle(&mut self) {
        let at = Instant::now();
        let due: Vec<(String, i32)> = self
            .containers
            .iter()
            .filter(|c| c.state == cri::ContainerState::ContainerRunning && c.ends.is_some_and(|ends| ends <= at))
            .map(|c| (c.id.clone(), c.program.exit_code))
            .collect();
        for (id, code) in due {
            self.end(&id, code);
        }
    }

    pub(crate) fn end(&mut self, id: &str, exit_code: i32) {
        let now = self.now();
        if let Some(container) = self.containers.iter_mut().find(|c| c.id == id)
            && container.state == cri::ContainerState::ContainerRunning
        {
            container.state = cri::ContainerState::ContainerExited;
            container.exit_code = exit_code;
            container.finished_at = now;
        }
    }

    /// How a container that is told to stop ends: when, and with which code.
    pub(crate) fn stopping(&self, id: &str, grace: Duration) -> Option<(Duration, i32)> {
        let container = self.containers.iter().find(|c| c.id == id)?;
        if container.state != cri::ContainerState::ContainerRunning {
            return None;
        }
        let own = container.ends.map(|ends| (ends - Instant::now(), container.program.exit_code));
        let signal = container.program.stops_after.filter(|_| !grace.is_zero()).map(|after| (after, TERMINATED));
        [own, signal, Some((grace, KILLED))].into_iter().flatten().min_by_key(|(after, _)| *after)
    }
}
