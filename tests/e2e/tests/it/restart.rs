//! `kill -9` of Ferry, and a start again: nothing is lost, no container stops, the Service answers meanwhile. On the
//! embedded store and on etcd.

use std::collections::BTreeMap;
use std::fs::File;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::load::Load;
use ferry_e2e::machine::Machine;
use ferry_e2e::wait;
use serde_json::Value;

#[test]
fn killed_and_started_again_embedded() {
    let Some(c) = Cluster::up("killed_and_started_again_embedded") else { return };
    killed_and_started_again(c);
}

#[test]
fn killed_and_started_again_on_etcd() {
    let Some(machine) = Machine::new("killed_and_started_again_on_etcd", &["etcd", "etcdctl"]) else { return };
    let mut etcd = Etcd::new(&machine);
    let mut c = killed_and_started_again(Cluster::up_on(machine, &["--etcd-servers=http://127.0.0.1:2379"]));
    let keys = c.sh("ETCDCTL_API=3 etcdctl get --prefix /registry --keys-only");
    for key in [
        "/registry/deployments/default/web",
        "/registry/services/specs/default/web",
        "/registry/configmaps/default/web",
        "/registry/services/endpoints/default/web",
        "/registry/namespaces/default",
        "/registry/ranges/servicenodeports",
        "/registry/clusterroles/cluster-admin",
        "/registry/leases/kube-node-lease/",
    ] {
        assert!(
            keys.lines().any(|line| line == key || key.ends_with('/') && line.starts_with(key)),
            "{key} is not in\n{keys}"
        );
    }
    for prefix in [
        "/registry/pods/default/web-",
        "/registry/replicasets/default/web-",
        "/registry/minions/",
        "/registry/endpointslices/default/web-",
        "/registry/events/default/",
    ] {
        assert!(keys.lines().any(|line| line.starts_with(prefix)), "{prefix} is not in\n{keys}");
    }
    etcd_goes_and_comes_back(&mut c, &mut etcd);
}

/// Writes fail and say why, the containers go on; when etcd is back all is as before, without a restart of Ferry.
fn etcd_goes_and_comes_back(c: &mut Cluster, etcd: &mut Etcd) {
    let before = containers(c);
    let ip = c.kubectl("get service web -o jsonpath={.spec.clusterIP}");
    let load = Load::start(c, &format!("{ip}:80"), 10);
    etcd.stop(&c.machine);
    let refused = c.try_kubectl("create configmap while-etcd-is-gone --request-timeout=20s").unwrap_err();
    assert!(!refused.trim().is_empty());
    eprintln!("without etcd: {}", refused.trim());
    wait::until("not ready without etcd", || match c.try_kubectl("get --raw /readyz --request-timeout=20s") {
        Ok(said) => Err(said),
        Err(_) => Ok(()),
    });
    etcd.start(&c.machine);
    wait::until("writes work again", || {
        c.try_kubectl("create configmap when-etcd-is-back --request-timeout=20s").map(drop)
    });
    c.api_ready();
    c.kubectl("scale deployment web --replicas=4");
    c.kubectl("rollout status deployment/web --timeout=120s");
    let after = containers(c);
    assert!(before.iter().all(|(id, container)| after.get(id) == Some(container)), "{before:#?}\n{after:#?}");
    let (sent, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
}

fn killed_and_started_again(mut c: Cluster) -> Cluster {
    c.apply_example();
    c.kubectl("create secret generic kept --from-literal=a=b");
    let (objects, running) = (objects(&c), containers(&c));
    let ip = c.kubectl("get service web -o jsonpath={.spec.clusterIP}");
    let load = Load::start(&c, &format!("{ip}:80"), 20);
    c.kill_9();
    let answered = load.answered();
    wait::until("the Service answers without Ferry", || {
        if load.answered() > answered + 40 { Ok(()) } else { Err(load.answered().to_string()) }
    });
    c.start();
    c.node_ready();
    // The kubelet is at work again: a pod more comes up.
    c.kubectl("run after --image=ferry.local/web:1");
    c.wait_for("condition=Ready", "pod/after");
    c.kubectl("delete pod after --grace-period=1");
    let (sent, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
    assert_eq!(containers(&c), running, "containers never stopped");
    assert_eq!(self::objects(&c), objects, "every object is there");
    c
}

/// uid of every object that does not come and go by itself.
fn objects(c: &Cluster) -> BTreeMap<String, String> {
    let kinds = "namespaces,nodes,pods,deployments,replicasets,services,endpointslices,configmaps,secrets,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings";
    let list = c.get(&format!("{kinds} -A"));
    let items = list["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items
        .map(|o| {
            (
                format!("{} {}/{}", text(&o["kind"]), text(&o["metadata"]["namespace"]), text(&o["metadata"]["name"])),
                text(&o["metadata"]["uid"]),
            )
        })
        .collect()
}

/// Start and restart count of the example's containers by id.
fn containers(c: &Cluster) -> BTreeMap<String, String> {
    let list = c.get("pods -l app=web");
    let statuses = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|pod| pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default());
    statuses
        .map(|s| {
            (s["containerID"].to_string(), format!("{} {}", s["state"]["running"]["startedAt"], s["restartCount"]))
        })
        .collect()
}

/// etcd on the machine's loopback.
struct Etcd {
    process: Option<std::process::Child>,
}

impl Etcd {
    fn new(machine: &Machine) -> Self {
        let mut etcd = Self { process: None };
        etcd.start(machine);
        etcd
    }

    fn start(&mut self, machine: &Machine) {
        let log = File::options().create(true).append(true).open(machine.dir.join("etcd.log")).unwrap();
        let mut command = machine.command("etcd");
        command.arg("--data-dir").arg(machine.dir.join("etcd")).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        wait::until("etcd answers", || {
            let output = machine.try_sh("ETCDCTL_API=3 etcdctl endpoint health");
            if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }

    fn stop(&mut self, machine: &Machine) {
        let etcd = machine.processes().into_iter().find(|(_, command)| command.starts_with("etcd ")).unwrap();
        machine.sh(&format!("kill -9 {}", etcd.0));
        self.process.take().unwrap().wait().unwrap();
    }
}
