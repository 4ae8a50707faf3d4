//! Pods come and go and the Service answers: kills, crashes, rolling updates under load, a bad image and the way back.

use std::collections::BTreeSet;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::load::Load;
use ferry_e2e::wait;

#[test]
fn kills_crashes_and_rolling_updates() {
    let Some(c) = Cluster::up("kills_crashes_and_rolling_updates") else { return };
    c.apply_example();
    managed_fields(&c);
    killed_pod(&c);
    killed_container(&c);
    rolling(&c);
    bad_image(&c);
}

/// Who wrote what is said as upstream says it.
fn managed_fields(c: &Cluster) {
    let managers = |object: String| {
        let object = c.get(&format!("{object} --show-managed-fields"));
        let fields = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        fields.iter().filter_map(|f| f["manager"].as_str().map(str::to_owned)).collect::<BTreeSet<String>>()
    };
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<String>>();
    let pod = c.pods("app=web").remove(0);
    assert_eq!(managers(format!("pod {pod}")), names(&["kube-controller-manager", "kubelet"]));
    let of_set = managers("deployment web".into());
    assert!(of_set.contains("kube-controller-manager"), "{of_set:?}");
}

fn killed_pod(c: &Cluster) {
    let victim = c.pods("app=web").remove(0);
    c.kubectl(&format!("delete pod {victim} --grace-period=1"));
    wait::until("the pod is replaced", || {
        let pods = c.pods("app=web");
        let ready = c.get("deployment web")["status"]["readyReplicas"].as_u64();
        if !pods.contains(&victim) && ready == Some(3) { Ok(()) } else { Err(format!("{pods:?} {ready:?}")) }
    });
}

/// The first death is followed at once by a new container; the second by a wait that says so.
fn killed_container(c: &Cluster) {
    let pod = c.pods("app=web").remove(0);
    let status = || c.get(&format!("pod {pod}"))["status"]["containerStatuses"][0].clone();
    let kill = |count: u64| {
        let id = wait::until("the container runs", || {
            let status = status();
            let running = status["state"]["running"].is_object() && status["restartCount"].as_u64() == Some(count);
            let id = status["containerID"].as_str().unwrap_or_default().to_owned();
            if running { Ok(id) } else { Err(status.to_string()) }
        });
        let socket = c.data().join("containerd/containerd.sock");
        let id = id.trim_start_matches("containerd://").to_owned();
        c.sh(&format!("ctr -a {} -n k8s.io tasks kill -s KILL {id}", socket.display()));
        id
    };
    let first = kill(0);
    let second = kill(1);
    assert_ne!(first, second);
    let waiting = wait::until("the container waits", || {
        let waiting = status()["state"]["waiting"].clone();
        if waiting["reason"] == "CrashLoopBackOff" { Ok(waiting) } else { Err(status().to_string()) }
    });
    let uid = c.kubectl(&format!("get pod {pod} -o jsonpath={{.metadata.uid}}"));
    assert_eq!(waiting["message"], format!("back-off 10s restarting failed container=web pod={pod}_default({uid})"));
    assert_eq!(status()["lastState"]["terminated"]["exitCode"], 137);
    wait::until("it is started again after the wait", || {
        let status = status();
        if status["ready"] == true && status["restartCount"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
    let events = c.kubectl(&format!("events --for pod/{pod}"));
    assert!(events.contains("Back-off restarting failed container web in pod"), "{events}");
}

fn rolling(c: &Cluster) {
    let ip = c.kubectl("get service web -o jsonpath={.spec.clusterIP}");
    let load = Load::start(c, &format!("{ip}:80"), 50);
    wait::until("requests are answered", || if load.answered() > 50 { Ok(()) } else { Err("none yet".into()) });
    for round in ["one", "two", "three"] {
        let template = format!(r#"{{"spec":{{"template":{{"metadata":{{"annotations":{{"round":"{round}"}}}}}}}}}}"#);
        c.kubectl_args(&["patch", "deployment", "web", "-p", &template]);
        c.kubectl("rollout status deployment/web --timeout=180s");
        // Also until the old pods are gone: it is them whose end must not be felt.
        wait::within(wait::PATIENCE, "the old pods are gone", || match c.pods("app=web").len() {
            3 => Ok(()),
            n => Err(n.to_string()),
        });
    }
    let (sent, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {sent} failed: {:#?}", failed.len(), &failed[..failed.len().min(10)]);
    assert!(sent > 500, "only {sent} requests");
    eprintln!("{sent} requests during three rolling updates, none failed");
}

fn bad_image(c: &Cluster) {
    c.kubectl("set image deployment/web web=127.0.0.1:9/no/such:image");
    let reason = r#"jsonpath={.items[*].status.containerStatuses[0].state.waiting.reason}"#;
    wait::until("the bad image is said", || {
        let reasons = c.kubectl(&format!("get pods -l app=web -o {reason}"));
        if reasons == "ImagePullBackOff" { Ok(()) } else { Err(reasons) }
    });
    let message =
        c.kubectl("get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[0].state.waiting.message}");
    assert!(message.starts_with("Back-off pulling image \"127.0.0.1:9/no/such:image\""), "{message}");
    assert!(c.kubectl("get pods -l app=web").contains("ImagePullBackOff"));
    let ready = c.get("deployment web")["status"]["readyReplicas"].as_u64();
    assert_eq!(ready, Some(3), "the old pods go on");
    c.kubectl("rollout undo deployment/web");
    c.kubectl("rollout status deployment/web --timeout=120s");
    wait::until("only good pods are left", || {
        let reasons = c.kubectl(&format!("get pods -l app=web -o {reason}"));
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    });
}
