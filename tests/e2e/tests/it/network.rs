//! Machines that lack a network: no link but loopback, or a container runtime without a CNI configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::Machine;
use ferry_e2e::{snapshot, wait};

use crate::example::nothing_left;

/// Waits until all three pods of the example have answered.
fn answered(c: &Cluster, url: &str) {
    let pods: BTreeSet<String> = c.pods("app=web").into_iter().collect();
    assert_eq!(pods.len(), 3);
    let mut seen = BTreeSet::new();
    wait::until(&format!("all pods answer {url}"), || {
        let answer = c.sh(&format!("curl -s --max-time 5 {url}"));
        seen.insert(answer.split(' ').next().unwrap_or_default().to_owned());
        if seen == pods { Ok(()) } else { Err(format!("{answer}: {seen:?}")) }
    });
}

#[test]
fn a_machine_with_loopback_alone_gets_a_cluster() {
    let Some(machine) = Machine::offline("a_machine_with_loopback_alone_gets_a_cluster", &["curl"]) else { return };
    let before = snapshot::take(&machine);
    let mut c = Cluster::up_on(machine, &[]);
    c.apply_example();
    let address = || {
        let addresses = c.get("nodes")["items"][0]["status"]["addresses"].clone();
        let internal = addresses.as_array().unwrap().iter().find(|a| a["type"] == "InternalIP").unwrap();
        internal["address"].as_str().unwrap().to_owned()
    };
    let node = address();
    assert_eq!(c.sh("ip -o -4 address show dev ferry-node | awk '{print $4}'"), format!("{node}/32"));
    answered(&c, &c.web_url());
    let port = c.get("service web")["spec"]["ports"][0]["nodePort"].to_string();
    answered(&c, &format!("http://{node}:{port}/"));
    // A pod reaches the API server, and finds it by its name.
    let pod = c.pods("app=web").remove(0);
    let ask = "d=/var/run/secrets/kubernetes.io/serviceaccount; /ferry kubectl --server=https://kubernetes.default.svc \
               --certificate-authority=$d/ca.crt --token=$(cat $d/token) version";
    assert!(c.kubectl_args(&["exec", &pod, "--", "sh", "-c", ask]).contains("Server Version: v1.36"));

    let log = c.log();
    assert_eq!(log.matches("no network but loopback").count(), 1, "{log}");
    assert_eq!(log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).count(), 0, "{log}");

    // The second start finds its link, and changes nothing.
    c.kill_9();
    c.start();
    c.node_ready();
    answered(&c, &c.web_url());

    let down = c.down(&["--purge"]);
    assert!(down.status.success(), "{down:?}");
    assert_eq!(c.ended(), Some(0), "{}", c.log());
    nothing_left(&before, &c);
}

#[test]
fn a_link_of_its_own_goes_when_the_network_comes() {
    let Some(machine) = Machine::new("a_link_of_its_own_goes_when_the_network_comes", &[]) else { return };
    // An address, and no default route: packets to Services need a way out before they are turned.
    machine.sh("ip route delete default");
    let mut c = Cluster::up_on(machine, &[]);
    assert_eq!(c.sh("ip route get 10.96.0.1 | head -1 | awk '{print $3}'"), "ferry-node");
    assert!(c.log().contains("no default route"), "{}", c.log());
    c.sh("curl -sk --max-time 5 https://10.96.0.1/version");
    c.kill_9();
    c.sh("ip route add default via 192.0.2.99");
    c.start();
    c.node_ready();
    assert_eq!(c.sh("ip route get 10.96.0.1 | head -1 | awk '{print $3, $5}'"), "192.0.2.99 eth0");
    assert!(!c.sh("ip -o link").contains("ferry-node"));
    assert!(c.down(&["--purge"]).status.success());
    c.ended();
}

/// A containerd of the machine's own, which looks for plugins in a folder of the test's.
fn containerd(machine: &Machine) -> PathBuf {
    let dir = machine.dir.join("c");
    fs::create_dir_all(dir.join("plugins")).unwrap();
    let at = dir.display();
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{at}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "ferry.local/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{at}/plugins"
    conf_dir = "{at}/net.d"
"#
    );
    fs::write(dir.join("config.toml"), config).unwrap();
    let log = fs::File::create(machine.dir.join("own-containerd.log")).unwrap();
    let mut command = machine.command("containerd");
    command.arg("-c").arg(dir.join("config.toml")).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    std::thread::spawn(move || child.wait());
    let socket = dir.join("containerd.sock");
    wait::until("containerd answers", || {
        let output = machine.try_sh(&format!("ctr -a {} version", socket.display()));
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    });
    dir
}

#[test]
fn a_runtime_without_cni_configuration_gets_ferrys() {
    let Some(machine) = Machine::new("a_runtime_without_cni_configuration_gets_ferrys", &["curl"]) else { return };
    let dir = containerd(&machine);
    let before = snapshot::take(&machine);
    let endpoint = format!("--container-runtime-endpoint=unix://{}/containerd.sock", dir.display());

    // What the configuration needs is not there: one line says so, and the node says it too.
    let mut c = Cluster::on(machine, &[&endpoint]);
    c.start();
    c.api_ready();
    let says = format!(
        "it looks for CNI plugins in {}/plugins, where bridge, host-local, loopback, portmap are missing; they are in /usr/lib/cni: ",
        dir.display()
    );
    wait::until("the missing plugins are told", || if c.log().contains(&says) { Ok(()) } else { Err(c.log()) });
    assert_eq!(c.log().lines().filter(|line| line.contains(&says)).count(), 1);
    wait::until("the node says why", || {
        let message =
            c.try_kubectl("get nodes -o jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].message}")?;
        if message.contains("cni plugin not initialized") { Ok(()) } else { Err(message) }
    });
    assert_eq!(fs::read_dir(dir.join("net.d")).unwrap().count(), 0);
    c.sh(&format!("kill {}", c.pid()));
    c.ended();

    // As the line says.
    c.sh(&format!("ln -s /usr/lib/cni/* {}/plugins/", dir.display()));
    c.start();
    c.node_ready();
    assert!(dir.join("net.d/99-ferry.conflist").exists());
    c.apply_example();
    answered(&c, &c.web_url());
    // It is Ferry's own: another start leaves it there.
    c.kill_9();
    c.start();
    c.node_ready();

    let down = c.down(&["--purge"]);
    assert!(down.status.success(), "{down:?}");
    c.ended();
    assert_eq!(fs::read_dir(dir.join("net.d")).unwrap().count(), 0, "taken away again");
    nothing_left(&before, &c);
    c.sh("pkill containerd");
}

#[test]
fn a_configuration_of_somebody_elses_is_left_alone() {
    let Some(machine) = Machine::new("a_configuration_of_somebody_elses_is_left_alone", &[]) else { return };
    let dir = containerd(&machine);
    fs::write(dir.join("net.d/10-broken.conflist"), "{").unwrap();
    let endpoint = format!("--container-runtime-endpoint=unix://{}/containerd.sock", dir.display());
    let mut c = Cluster::on(machine, &[&endpoint]);
    c.start();
    c.api_ready();
    let says = format!("mend or remove {}/net.d/10-broken.conflist, which is there and is not Ferry's", dir.display());
    wait::until("the broken file is told", || if c.log().contains(&says) { Ok(()) } else { Err(c.log()) });
    assert!(c.down(&["--purge"]).status.success());
    c.ended();
    assert_eq!(fs::read_to_string(dir.join("net.d/10-broken.conflist")).unwrap(), "{");
    c.sh("pkill containerd");
}
