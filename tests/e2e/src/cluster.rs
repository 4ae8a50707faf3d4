//! `ferry up` on a machine, and kubectl against it.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use serde_json::Value;

use crate::machine::{Machine, text};
use crate::wait;

/// A machine with `ferry up` on it.
pub struct Cluster {
    /// Where it runs.
    pub machine: Machine,
    /// Flags of `ferry up` beside `--data-dir`.
    pub flags: Vec<String>,
    /// Environment of `ferry up`.
    pub environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Deref for Cluster {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Cluster {
    /// Starts it and waits for the node. `None` where the test has to skip.
    pub fn up(test: &str) -> Option<Self> {
        Some(Self::up_on(Machine::new(test, &[])?, &[]))
    }

    /// The same on a machine that is there, with flags.
    pub fn up_on(machine: Machine, flags: &[&str]) -> Self {
        let mut cluster = Self::on(machine, flags);
        cluster.start();
        cluster.node_ready();
        cluster
    }

    /// The same, to be started.
    pub fn on(machine: Machine, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { machine, flags, environment: Vec::new(), process: None }
    }

    /// `--data-dir`.
    pub fn data(&self) -> PathBuf {
        self.machine.dir.join("d")
    }

    /// Starts `ferry up`, and waits for nothing.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("ferry.log")).expect("a log");
        let mut command = self.machine.command(self.ferry());
        command.arg("up").arg("--data-dir").arg(self.data()).args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.process = Some(command.spawn().expect("ferry"));
    }

    /// Waits for `/readyz`.
    pub fn api_ready(&self) {
        wait::until("the API server is ready", || self.try_kubectl("get --raw /readyz").map(drop));
    }

    /// Waits for the node.
    pub fn node_ready(&self) {
        self.api_ready();
        wait::until("the node is Ready", || {
            let nodes = self.try_kubectl("get nodes --no-headers")?;
            if nodes.contains(" Ready ") { Ok(()) } else { Err(format!("{nodes}\n{}", self.log())) }
        });
    }

    /// What Ferry has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("ferry.log")).unwrap_or_default()
    }

    /// Ferry's process number on its machine.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.data().join("ferry.pid")).expect("a pid file").trim().parse().expect("a number")
    }

    /// `kill -9`; back when it is dead.
    pub fn kill_9(&mut self) {
        self.sh(&format!("kill -9 {}", self.pid()));
        self.ended();
    }

    /// Waits for the end of `ferry up`; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("started");
        wait::until("ferry ends", || process.try_wait().ok().flatten().ok_or_else(|| "it runs".into())).code()
    }

    /// `ferry down` with further flags.
    pub fn down(&self, flags: &[&str]) -> Output {
        self.command(self.ferry()).arg("down").arg("--data-dir").arg(self.data()).args(flags).output().expect("ferry")
    }

    /// A kubectl command, to be given arguments and run.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.command("kubectl");
        command.env("KUBECONFIG", self.data().join("admin.conf"));
        command
    }

    /// Runs kubectl with arguments split at spaces: what it printed, or what it said.
    pub fn try_kubectl(&self, arguments: &str) -> Result<String, String> {
        self.try_kubectl_args(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with arguments as they are.
    pub fn try_kubectl_args(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.kubectl_command().args(arguments).output().expect("kubectl");
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr) + &text(&output.stdout))
        }
    }

    /// The same; panics if it fails.
    pub fn kubectl(&self, arguments: &str) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|said| panic!("kubectl {arguments}: {said}"))
    }

    /// The same with arguments as they are.
    pub fn kubectl_args(&self, arguments: &[&str]) -> String {
        self.try_kubectl_args(arguments).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
    }

    /// The JSON of `kubectl get ...`.
    pub fn get(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {arguments} -o json"))).expect("json")
    }

    /// `kubectl apply` of a text.
    pub fn apply(&self, yaml: &str) {
        let file = self.dir.join("manifest.yaml");
        fs::write(&file, yaml).expect("written");
        self.kubectl(&format!("apply -f {}", file.display()));
    }

    /// Waits until `kubectl wait --for` is content.
    pub fn wait_for(&self, condition: &str, what: &str) {
        self.kubectl(&format!("wait --for={condition} {what} --timeout={}s", wait::PATIENCE.as_secs()));
    }

    /// Applies `examples/web.yaml` and waits for its three pods.
    pub fn apply_example(&self) {
        self.kubectl(&format!("apply -f {}", example().display()));
        self.kubectl(&format!("rollout status deployment/web --timeout={}s", wait::PATIENCE.as_secs()));
    }

    /// Names of the pods with that label.
    pub fn pods(&self, selector: &str) -> Vec<String> {
        let names = self.kubectl(&format!("get pods -l {selector} -o jsonpath={{.items[*].metadata.name}}"));
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// `http://ADDRESS/` of the example's Service, from inside.
    pub fn web_url(&self) -> String {
        format!("http://{}/", self.get("service web")["spec"]["clusterIP"].as_str().expect("an address"))
    }

    /// The same by its node port.
    pub fn node_port_url(&self) -> String {
        format!("http://{}:{}/", self.address, self.get("service web")["spec"]["ports"][0]["nodePort"])
    }
}

/// `examples/web.yaml`.
pub fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/web.yaml").canonicalize().expect("the example")
}
