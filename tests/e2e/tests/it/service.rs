//! `ferry up` under a service manager: the test's own socket hears what systemd would.

use std::fs;
use std::os::unix::net::UnixDatagram;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::Machine;
use ferry_e2e::wait;

/// A service manager, and all that it has heard.
pub struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// It listens at `notify` in the machine's folder.
    pub fn new(machine: &Machine) -> Self {
        let socket = UnixDatagram::bind(machine.dir.join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// What has been heard so far of that, by how often.
    fn count(&mut self, message: &str) -> usize {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        }
        self.heard.iter().filter(|heard| *heard == message).count()
    }

    /// Waits until it has heard that so often.
    pub fn hears(&mut self, message: &str, times: usize) {
        wait::until(&format!("the service manager hears {message}"), || match self.count(message) {
            n if n >= times => Ok(()),
            _ => Err(format!("{:?}", self.heard)),
        });
    }
}

#[test]
fn systemd_hears_when_the_node_is_ready_that_it_lives_and_that_it_stops() {
    let test = "systemd_hears_when_the_node_is_ready_that_it_lives_and_that_it_stops";
    let Some(machine) = Machine::new(test, &[]) else { return };
    let mut manager = Manager::new(&machine);
    let mut c = Cluster::on(machine, &[]);
    c.environment = vec![
        ("NOTIFY_SOCKET".into(), c.dir.join("notify").display().to_string()),
        ("WATCHDOG_USEC".into(), "1000000".into()),
    ];
    c.start();
    manager.hears("READY=1", 1);
    let nodes = c.kubectl("get nodes --no-headers");
    assert!(nodes.contains(" Ready "), "ready before its node: {nodes}");
    assert!(manager.heard.iter().any(|heard| heard.starts_with("STATUS=API server ready")), "{:?}", manager.heard);
    let lived = manager.count("WATCHDOG=1");
    manager.hears("WATCHDOG=1", lived + 3);

    // Its containerd speaks this language too, and must not speak for it.
    let containerd = c.processes().into_iter().find(|(_, line)| line.starts_with("containerd -c")).expect("containerd");
    let environment = c.sh(&format!("tr '\\0' '\\n' </proc/{}/environ", containerd.0));
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{environment}");

    assert_eq!(manager.count("STOPPING=1"), 0);
    c.sh(&format!("kill {}", c.pid()));
    assert_eq!(c.ended(), Some(0), "{}", c.log());
    assert_eq!((manager.count("READY=1"), manager.count("STOPPING=1")), (1, 1), "{:?}", manager.heard);
    assert!(c.down(&["--purge"]).status.success());
}

#[test]
fn installed_and_taken_away_below_another_root() {
    let Some(machine) = Machine::new("installed_and_taken_away_below_another_root", &[]) else { return };
    let (ferry, root) = (machine.ferry().display().to_string(), machine.dir.join("root"));
    let at = |path: &str| root.join(path);
    let said = machine.sh(&format!("{ferry} install --root {}", root.display()));
    assert!(said.contains("/root/usr/local/bin/ferry"), "{said}");
    assert_eq!(
        machine.sh(&format!("{} version", at("usr/local/bin/ferry").display())),
        machine.sh(&format!("{ferry} version"))
    );
    assert!(fs::read_to_string(at("etc/systemd/system/ferry.service")).unwrap().contains("=/usr/local/bin/ferry up"));
    assert_eq!(machine.sh(&format!("{ferry} install --root {}", root.display())), "", "nothing is left to do");
    machine.sh(&format!("{ferry} uninstall --root {}", root.display()));
    let left = machine.sh(&format!("find {} -type f -o -type l", root.display()));
    assert_eq!(left, "");
    let again = machine.sh(&format!("{ferry} uninstall --root {}", root.display()));
    assert_eq!(again, "nothing is installed in /usr/local");

    // Not on this machine: the real one may run systemd, this one's /run is its own.
    for command in ["install", "uninstall"] {
        let output = machine.try_sh(&format!("{ferry} {command}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.starts_with("error: this machine does not run systemd: ") && said.lines().count() == 1, "{said}");
    }
}
