//! What is missing or in the way is said in one line; a full disk is survived.

use std::process::Output;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::load::Load;
use ferry_e2e::machine::{Machine, text};
use ferry_e2e::wait;

/// Runs `ferry up` on a machine that it must refuse: what it says, without its progress.
fn refused(machine: &Machine, prefix: &str, flags: &str) -> String {
    let ferry = machine.ferry().display().to_string();
    let output: Output =
        machine.try_sh(&format!("{prefix} timeout 60 {ferry} up --data-dir {}/d {flags}", machine.dir.display()));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!((errors.len(), said.lines().count()), (1, 1), "one line: {said}");
    errors[0].to_owned()
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let Some(machine) = Machine::new("what_is_missing_is_said_in_one_line", &[]) else { return };
    machine.sh(&format!("chmod 755 {0} && mkdir {0}/d && chown 65534 {0}/d", machine.dir.display()));
    assert_eq!(
        refused(&machine, "setpriv --reuid 65534 --clear-groups", ""),
        format!(
            "error: ferry up must run as root, since it starts containers and sets up their network: sudo {} up",
            machine.ferry().display()
        )
    );
    // Without one of the programs, as the machine sees it.
    let hide = |program: &str| {
        let (folder, file) = program.rsplit_once('/').unwrap();
        let upper = format!("{}/{file}", machine.dir.display());
        machine.sh(&format!(
            "mkdir -p {upper}/u {upper}/w; mount -t overlay -o lowerdir={folder},upperdir={upper}/u,workdir={upper}/w overlay {folder}; rm {program}"
        ));
    };
    hide("/usr/sbin/nft");
    assert_eq!(
        refused(&machine, "", ""),
        "error: missing: nftables; install with `apt-get install nftables`, or run `ferry up --install-deps`"
    );
    hide("/usr/bin/containerd");
    hide("/usr/lib/cni/bridge");
    assert_eq!(
        refused(&machine, "", ""),
        "error: missing: containerd containernetworking-plugins nftables; install with `apt-get install containerd containernetworking-plugins nftables`, or run `ferry up --install-deps`"
    );
    // A runtime of one's own needs no containerd; that it does not answer is another matter.
    assert!(
        refused(&machine, "", "--container-runtime-endpoint unix:///nowhere.sock")
            .contains("missing: containernetworking-plugins nftables;")
    );
}

#[test]
fn what_is_in_the_way_is_said_in_one_line() {
    let Some(machine) = Machine::new("what_is_in_the_way_is_said_in_one_line", &["python3"]) else { return };
    for (port, expect) in [
        (
            6443,
            "another program has the API server's port: end it, or give another --secure-port: listening on 0.0.0.0:6443:",
        ),
        (10250, "another program, perhaps another cluster's, has a port that a node needs: end it:"),
        (10259, "another program, perhaps another cluster's, has a port that a node needs: end it:"),
        (10257, "another program, perhaps another cluster's, has a port that a node needs: end it:"),
    ] {
        let mut other = machine.command("python3");
        let script = format!(
            "import socket,time; s=socket.socket(); s.bind(('0.0.0.0',{port})); s.listen(); print('on',end='',flush=True); time.sleep(1000)"
        );
        let mut other = other.args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(&mut other.stdout.take().unwrap(), &mut [0; 2]).unwrap();
        let said = refused(&machine, "", "");
        assert!(said.contains(expect) && said.contains("Address already in use"), "{said}");
        machine.sh("pkill python3");
        other.wait().unwrap();
    }
    for (flags, expect) in [
        ("--bind-address 198.51.100.7", "this machine does not have the address: give another --bind-address: "),
        ("--node-name Node_1", "--node-name \"Node_1\" cannot be a node's name: a lowercase RFC 1123 subdomain"),
        ("--data-dir /proc/nowhere", "/proc/nowhere cannot be the data directory; give another one with --data-dir: "),
        ("--kubeconfig /proc/nowhere/admin.conf", "/proc/nowhere"),
        (
            "--container-runtime-endpoint unix:///nowhere.sock",
            "no container runtime answers at unix:///nowhere.sock; start it, or leave",
        ),
        ("--container-runtime-endpoint tcp://127.0.0.1:1", "is no unix socket"),
        ("--nonsense", "unknown flag: --nonsense"),
        ("nonsense", "unknown command \"nonsense\""),
        ("--secure-port 70000", "invalid argument \"70000\" for \"--secure-port\" flag: "),
    ] {
        let said = refused(&machine, "", flags);
        assert!(said.contains(expect), "{flags}: {said}");
    }

    let c = Cluster::up_on(machine, &[]);
    let said = refused(&c, "", "--secure-port 6444");
    assert!(said.contains(&format!("/d is in use by another ferry (process {})", c.pid())), "{said}");
    let said = refused(&c, "", "--etcd-servers http://127.0.0.1:1");
    assert!(said.contains("is in use by another ferry"), "{said}");
    c.kubectl("get nodes");
}

#[test]
fn a_part_that_fails_ends_ferry_up_with_its_name() {
    let Some(machine) = Machine::new("a_part_that_fails_ends_ferry_up_with_its_name", &["python3"]) else { return };
    // The DNS's port, which is first asked for when the parts run.
    let mut other = machine.command("python3");
    let script = "import socket,time; s=socket.socket(); s.bind(('0.0.0.0',10053)); s.listen(); print('on',end='',flush=True); time.sleep(1000)";
    let mut other = other.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(&mut other.stdout.take().unwrap(), &mut [0; 2]).unwrap();
    let mut c = Cluster::on(machine, &[]);
    c.start();
    assert_eq!(c.ended(), Some(1), "{}", c.log());
    let log = c.log();
    let last = log.lines().last().unwrap_or_default();
    let expect = "error: the task proxy failed: another program, perhaps another cluster's, has a port that a node needs: end it: ";
    assert!(last.starts_with(expect) && last.contains("Address already in use"), "{log}");
    assert!(!log.contains("were cut off"), "the others end in time: {log}");
    c.sh("pkill python3");
    other.wait().unwrap();
    // The next start is none the worse for it.
    c.start();
    c.node_ready();
}

#[test]
fn a_full_disk_is_survived() {
    let Some(machine) = Machine::new("a_full_disk_is_survived", &[]) else { return };
    let store = machine.dir.join("d/store").display().to_string();
    machine.sh(&format!("mkdir -p {store}; mount -t tmpfs -o size=24m tmpfs {store}"));
    let c = Cluster::up_on(machine, &[]);
    c.apply_example();
    let ip = c.kubectl("get service web -o jsonpath={.spec.clusterIP}");
    let load = Load::start(&c, &format!("{ip}:80"), 10);
    let starts =
        || c.kubectl("get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}");
    let started = starts();

    c.sh(&format!("cat /dev/zero >{store}/filler 2>/dev/null || true"));
    // What was set aside before may take some writes still.
    let fault = wait::until("writes fail", || {
        let text = format!("--from-literal=text={}", "x".repeat(100_000));
        let name = format!("full-{}", std::process::id() + u32::try_from(load.answered()).unwrap());
        match c.try_kubectl_args(&["create", "configmap", &name, &text, "--request-timeout=20s"]) {
            Ok(said) => Err(said),
            Err(said) => Ok(said),
        }
    });
    eprintln!("on a full disk: {}", fault.trim());
    assert!(fault.to_lowercase().contains("no space left on device") || fault.contains("storage"), "{fault}");
    assert_eq!(c.get("deployment web")["status"]["readyReplicas"], 3, "reads go on");
    let answered = load.answered();
    wait::until("the Service answers", || if load.answered() > answered + 20 { Ok(()) } else { Err(String::new()) });

    c.sh(&format!("rm {store}/filler"));
    wait::until("writes work again", || c.try_kubectl("create configmap after --request-timeout=20s").map(drop));
    c.kubectl("scale deployment web --replicas=4");
    c.kubectl("rollout status deployment/web --timeout=120s");
    assert!(starts().contains(started.split(' ').next().unwrap()), "containers went on");
    let (sent, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
}
