//! A link between machines: a switch in a network namespace of its own, which is also the outside host at .99 and the
//! machines' gateway. It ends with the test, however that ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::machine::text;

const INIT: &str = "
set -e
ip link set lo up
ip link add switch type bridge
ip addr add 192.0.2.99/24 dev switch
ip link set switch up
sysctl -qw net.ipv4.ip_forward=1
echo ready
exec sleep infinity
";

/// See the module.
pub struct Link {
    process: Child,
}

impl Link {
    /// One without machines.
    pub fn new() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", INIT]);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("setpriv, as the tests need it");
        let mut line = String::new();
        let _ = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
        assert_eq!(line.trim(), "ready", "a link");
        Self { process }
    }

    /// Gives a machine, by its first process, the address 192.0.2.`host` on the link.
    pub(crate) fn attach(&self, init: i32, host: u8) {
        self.sh(&format!(
            "ip link add m{host} type veth peer name eth0 netns {init}
             ip link set m{host} master switch up"
        ));
        let script =
            format!("ip addr add 192.0.2.{host}/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.99");
        let output = Command::new("nsenter").args(["-t", &init.to_string(), "--net", "sh", "-ec", &script]).output();
        let output = output.expect("nsenter");
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    }

    /// Cuts a machine off, or lets it back.
    pub fn set_cut(&self, host: u8, is_cut: bool) {
        self.sh(&format!("ip link set m{host} {}", if is_cut { "down" } else { "up" }));
    }

    /// Starts a shell script on the outside host, with mounts of its own; it ends with what is returned.
    pub fn spawn(&self, script: &str) -> Daemon {
        let pid = self.process.id().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "-t", &pid, "--net"]);
        command.args(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]);
        Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("nsenter"))
    }

    /// Runs a shell script on the outside host; its output, trimmed. Panics if it fails.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}\n{err}", output.status);
        out.trim().to_owned()
    }

    /// The same, with whatever comes of it.
    pub fn try_sh(&self, script: &str) -> Output {
        let pid = self.process.id().to_string();
        Command::new("nsenter").args(["-t", &pid, "--net", "sh", "-ec", script]).output().expect("nsenter")
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process on the outside host.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
