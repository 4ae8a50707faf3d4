//! A node of fakes.

use super::{FakeApi, Traps};
use crate::{
    cgroups::Cgroups,
    config::Config,
    cri::grpc::Grpc,
    node::machine::{Disk, Gauges, Machine, Memory, Tasks},
    node_agent::{Agent, Health, Parts},
    pleg, start,
};
use component::{Clock, Supervisor, supervisor::Outcome};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use testkit_cri::FakeRuntime;

/// How long a test waits for something, in the test's own time.
const PATIENCE: Duration = Duration::from_secs(1800);
const LOOK: Duration = Duration::from_millis(100);
const GIB: u64 = 1 << 30;

/// What the test says that the machine measures.
pub(crate) struct FakeGauges {
    pub(crate) memory: Mutex<Memory>,
    pub(crate) tasks: Mutex<Tasks>,
    /// By folder; others are on the node's own.
    pub(crate) disks: Mutex<HashMap<PathBuf, (u64, Disk)>>,
    pub(crate) disk: Mutex<Disk>,
    /// How many more looks at the memory panic.
    pub(crate) panics: AtomicU32,
}

impl FakeGauges {
    pub(crate) const ROOMY: Disk =
        Disk { capacity: 100 * GIB, available: 90 * GIB, inodes: 1_000_000, inodes_free: 900_000 };

    fn new() -> Self {
        let memory = Memory { total: 8 << 30, available: 7 << 30 };
        Self {
            memory: Mutex::new(memory),
            tasks: Mutex::new(Tasks { limit: 32_768, running: 500 }),
            disks: Mutex::default(),
            disk: Mutex::new(Self::ROOMY),
            panics: AtomicU32::new(0),
        }
    }
}

impl Gauges for FakeGauges {
    fn memory(&self) -> Memory {
        let left = self.panics.load(Ordering::Relaxed);
        self.panics.store(left.saturating_sub(1), Ordering::Relaxed);
        assert!(left == 0, "a trap in the gauges");
        *self.memory.lock()
    }
    fn disk(&self, path: &Path) -> io::Result<Disk> {
        Ok(self.disks.lock().get(path).map_or(*self.disk.lock(), |(_, disk)| *disk))
    }
    fn device(&self, path: &Path) -> io::Result<u64> {
        Ok(self.disks.lock().get(path).map_or(1, |(device, _)| *device))
    }
    fn tasks(&self) -> Option<Tasks> {
        Some(*self.tasks.lock())
    }
}

/// The fakes, and the kubelet's own tasks that every pod needs. Time must be paused.
pub(crate) struct TestNode {
    pub(crate) agent: Arc<Agent>,
    pub(crate) runtime: FakeRuntime,
    pub(crate) api: FakeApi,
    pub(crate) gauges: Arc<FakeGauges>,
    pub(crate) traps: Arc<Traps>,
    pub(crate) folder: TempDir,
}

impl TestNode {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::with_tokio("2026-01-01T00:00:00Z".parse().expect("a time"));
        let stamps = clock.clone();
        let now = move || stamps.now().as_nanosecond() as i64;
        let runtime = FakeRuntime::start(&folder.path().join("cri.sock"), now).expect("served");
        runtime.world().images.insert("image:latest".into(), 1000);
        let api = FakeApi::new();
        let gauges = Arc::new(FakeGauges::new());
        let mut config = Config { node_name: "node".into(), hostname: "node".into(), ..Config::default() };
        config.node_ips = vec!["192.0.2.10".parse().expect("an address")];
        config.root_dir = folder.path().join("kubelet");
        config.file.pod_logs_dir = folder.path().join("pods").display().to_string();
        config.container_log_dir = None;
        config.file.cgroups_per_qos = false;
        config.file.container_runtime_endpoint = runtime.endpoint();
        change(&mut config);
        std::fs::create_dir_all(config.root_dir.join("pods")).expect("made");
        let cgroups = folder.path().join("cgroup");
        let connected = Grpc::connect(&config.file.container_runtime_endpoint, config.file.runtime_request_timeout.0);
        let traps = Arc::new(Traps::around(connected.expect("connected")));
        let agent = Agent::new(Parts {
            config,
            client: api.client(),
            runtime: traps.clone(),
            runtime_name: "fake".into(),
            cgroups: Cgroups::at(&cgroups),
            clock,
            gauges: gauges.clone(),
            machine: Machine { cpus: 2, memory_bytes: 8 << 30, ..Machine::default() },
            tasks: Supervisor::new(),
        });
        *agent.health.write() = Health::default();
        let node = Self { agent, runtime, api, gauges, traps, folder };
        node.run("runtime events", pleg::run);
        start::start_following(&node.agent);
        node
    }

    /// Runs one more of the kubelet's loops.
    pub(crate) fn run<F>(&self, name: &'static str, work: impl Fn(Arc<Agent>) -> F + Send + 'static)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let agent = self.agent.clone();
        start::keep(&self.agent.tasks, name, move || work(agent.clone()));
    }

    /// A pod in namespace `n` of which the uid is its name, bound to this node. Containers get an image that is there.
    pub(crate) fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = json!("image:latest");
                }
            }
        }
        if spec["initContainers"].is_null() {
            spec.as_object_mut().expect("an object").remove("initContainers");
        }
        spec["nodeName"] = json!("node");
        if spec["restartPolicy"].is_null() {
            spec["restartPolicy"] = json!("Always");
        }
        let metadata = json!({
            "name": name, "namespace": "n", "uid": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"
        });
        self.api.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {}}));
    }

    /// A pod of one container `c`.
    pub(crate) fn simple_pod(&self, name: &str) {
        self.pod(name, json!({"containers": [{"name": "c"}]}));
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            if tokio::time::Instant::now() > deadline {
                let (calls, events) = (self.runtime.world().calls.clone(), self.api.events());
                panic!("never: {what}\ncalls: {calls:#?}\nevents: {events:#?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the API server has of the pod's status.
    pub(crate) fn status(&self, pod: &str) -> Value {
        self.api.pod(pod).map(|p| p["status"].clone()).unwrap_or_default()
    }

    pub(crate) fn phase(&self, pod: &str) -> String {
        self.status(pod)["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// The status of the pod's container.
    pub(crate) fn container(&self, pod: &str, name: &str) -> Value {
        let status = self.status(pod);
        let lists = ["containerStatuses", "initContainerStatuses"].map(|list| status[list].clone());
        let all = lists.iter().filter_map(Value::as_array).flatten();
        all.into_iter().find(|c| c["name"] == name).cloned().unwrap_or_default()
    }

    pub(crate) fn ready(&self, pod: &str, name: &str) -> bool {
        self.container(pod, name)["ready"] == true
    }

    /// Seconds since the test began.
    pub(crate) fn seconds(&self) -> i64 {
        self.agent.clock.now().duration_since(Timestamp::from_second(START_SECOND).expect("a time")).as_secs()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.agent.tasks.stop();
    }
}

/// 2026-01-01T00:00:00Z, with which the test's clock begins.
const START_SECOND: i64 = 1_767_225_600;
