//! The private containerd: its configuration, its network plugins' configuration, its start. It outlives Ferry, so that
//! containers go on when Ferry restarts; the next start finds it by its socket.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use component::Supervisor;
use network::Mode;
use proto::cri::VersionRequest;
use tokio::process::{Child, Command};

use super::flags::Layout;
use super::{cri, image};

/// How long containerd may take to listen.
const START: Duration = Duration::from_secs(20);

/// How long one that is found may take to say its version.
const ANSWER: Duration = Duration::from_secs(2);

/// The endpoint of the private containerd, and its process if it had to be started.
pub async fn containerd(layout: &Layout, mode: Mode) -> anyhow::Result<(String, Option<Child>)> {
    let (dir, socket) = (layout.containerd(), layout.socket());
    fs::create_dir_all(dir.join("cni"))?;
    fs::write(layout.containerd_config(), config(&dir, mode))?;
    let endpoint = format!("unix://{}", socket.display());
    let deadline = tokio::time::Instant::now() + START;
    let mut child: Option<Child> = None;
    loop {
        let listening = listens(&socket).await;
        // One that is being killed takes connections until it is dead, so one that was found has to answer.
        if listening && (child.is_some() || answers(&socket).await) {
            return Ok((endpoint, child));
        }
        let log = dir.join("containerd.log");
        match &mut child {
            None if !listening => child = Some(start(layout, &log)?),
            None => {}
            Some(child) => {
                if let Some(status) = child.try_wait()? {
                    bail!("containerd ended with {status}; see {}", log.display());
                }
            }
        }
        if tokio::time::Instant::now() > deadline {
            let what = if listening { "answer" } else { "listen" };
            bail!("containerd does not {what} after {} s; see {}", START.as_secs(), log.display());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn start(layout: &Layout, log: &Path) -> anyhow::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new("containerd");
    command.arg("-c").arg(layout.containerd_config());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: a Ctrl-C for Ferry is none for the containers.
    command.process_group(0);
    // Its readiness is not Ferry's.
    for name in component::notify::VARIABLES {
        command.env_remove(name);
    }
    let child = command.spawn().context("starting containerd")?;
    fs::write(layout.containerd_pid_file(), child.id().map(|id| id.to_string()).unwrap_or_default())?;
    Ok(child)
}

/// Says so if it ends while `tasks` go on.
pub fn watch(mut containerd: Child, layout: &Layout, tasks: &Supervisor) {
    let log = layout.containerd().join("containerd.log").display().to_string();
    let watching = async move {
        let status = containerd.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::error!(status, log, "containerd has ended: no container can be started");
    };
    tasks.one_shot("containerd", tasks.token().run_until_cancelled_owned(watching));
}

async fn listens(socket: &Path) -> bool {
    tokio::net::UnixStream::connect(socket).await.is_ok()
}

/// Whether a container runtime answers there.
async fn answers(socket: &Path) -> bool {
    let version = async { Some(cri::connect(socket).await.ok()?.version(VersionRequest::default()).await.is_ok()) };
    tokio::time::timeout(ANSWER, version).await.ok().flatten().unwrap_or(false)
}

fn config(dir: &Path, mode: Mode) -> String {
    // Somebody else's plugin is where such plugins put themselves; Debian has its own elsewhere.
    const OTHERS: &str = "/opt/cni/bin";
    let own = mode != Mode::None;
    let configurations = if own { dir.join("cni").display().to_string() } else { "/etc/cni/net.d".to_owned() };
    let plugins = if own || !Path::new(OTHERS).exists() { "/usr/lib/cni" } else { OTHERS };
    let dir = dir.display();
    let pause = image::PAUSE;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
  address = "{dir}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{configurations}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#
    )
}
