//! `ferry down` finds by itself what there is to end, and ends nothing else.

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::{Machine, text};
use ferry_e2e::snapshot;

use crate::example::nothing_left;

#[test]
fn down_after_the_worst_and_twice() {
    let Some(machine) = Machine::new("down_after_the_worst_and_twice", &[]) else { return };
    let before = snapshot::take(&machine);
    let mut c = Cluster::up_on(machine, &[]);
    c.apply_example();

    // Nothing runs any more but the containers: not Ferry, not containerd.
    c.kill_9();
    let containerd = c.processes().into_iter().find(|(_, line)| line.starts_with("containerd -c")).expect("containerd");
    c.sh(&format!("kill -9 {}", containerd.0));
    // And the number in Ferry's pid file has gone to somebody else.
    let pid_file = c.data().join("ferry.pid").display().to_string();
    let mut other = c.command("sh").args(["-c", &format!("echo $$ >{pid_file}; exec sleep 1000")]).spawn().unwrap();
    let down = c.down(&[]);
    assert!(down.status.success(), "{down:?}");
    assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
    other.kill().unwrap();
    other.wait().unwrap();
    c.sh("pkill sleep || true");
    nothing_left(&before, &c);

    let again = c.down(&[]);
    assert!(again.status.success() && text(&again.stdout).is_empty(), "{again:?}");

    // The state is still there, and a program of another name is as good.
    let renamed = c.dir.join("another-name");
    std::fs::copy(c.ferry(), &renamed).unwrap();
    let mut up = c.command(&renamed);
    let mut up = up.arg("up").arg("--data-dir").arg(c.data()).spawn().unwrap();
    c.node_ready();
    c.kubectl("rollout status deployment/web --timeout=120s");
    let down = c.down(&["--purge"]);
    assert!(down.status.success() && text(&down.stdout).contains("stopped ferry"), "{down:?}");
    assert!(up.wait().unwrap().success());
    nothing_left(&before, &c);
    assert!(!c.data().exists());
    let nothing = c.down(&[]);
    assert!(nothing.status.success() && text(&nothing.stdout).starts_with("nothing to do"), "{nothing:?}");
}
