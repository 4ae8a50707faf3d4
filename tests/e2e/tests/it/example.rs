//! The main job: from an empty folder to a Service that answers, with kubectl as it comes, and back to nothing.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;

use ferry_e2e::cluster::{Cluster, example};
use ferry_e2e::machine::{Machine, text};
use ferry_e2e::pty::Terminal;
use ferry_e2e::{snapshot, wait};

#[test]
fn up_apply_answer_delete_down() {
    let Some(machine) = Machine::new("up_apply_answer_delete_down", &["curl"]) else { return };
    let before = snapshot::take(&machine);
    let mut c = Cluster::up_on(machine, &[]);
    c.apply_example();
    let pods = c.pods("app=web");
    assert_eq!(pods.len(), 3);

    // Every address leads to every pod, from the node, from outside, and from each pod.
    let cluster_ip = c.web_url();
    let node_port = c.node_port_url();
    for url in [&cluster_ip, &node_port] {
        all_answer(&pods, url, || Ok(c.sh(&format!("curl -s --max-time 5 {url}"))));
    }
    all_answer(&pods, "from outside", || Ok(c.sh(&format!("ip netns exec outside curl -s --max-time 5 {node_port}"))));
    for pod in &pods {
        for url in [cluster_ip.as_str(), node_port.as_str(), "http://web/", "http://web.default.svc.cluster.local/"] {
            all_answer(&pods, &format!("{url} from {pod}"), || {
                c.try_kubectl(&format!("exec {pod} -- /ferry example-web --get {url}"))
            });
        }
    }

    says_why(&c, &pods[0]);
    watch_and_enter(&c, &pods);
    read(&c, &pods);
    write(&c);
    others(&c);

    c.kubectl(&format!("delete -f {}", example().display()));
    let kinds = "pods,deployments,replicasets,services,endpoints,endpointslices";
    wait::until("what belonged to the example is gone", || {
        let left = c.kubectl(&format!("get {kinds} -o name"));
        let left: Vec<&str> = left.lines().filter(|line| !line.ends_with("/kubernetes")).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
    });
    let down = c.down(&["--purge"]);
    assert!(down.status.success(), "{down:?}");
    assert_eq!(c.ended(), Some(0), "{}", c.log());
    nothing_left(&before, &c);
    assert!(!c.data().exists());
}

/// The scheduler and the controllers are asked at their own ports, by who has the administrator's certificate.
fn says_why(c: &Cluster, pod: &str) {
    let ask = |port: u16, path: &str| c.kubectl(&format!("--server=https://127.0.0.1:{port} get --raw {path}"));
    let why = ask(10259, &format!("/debug/why/default/{pod}"));
    assert!(why.contains(pod), "{why}");
    assert!(ask(10259, "/metrics").contains("scheduler_schedule_attempts_total{"));
    assert!(ask(10259, "/configz").contains("KubeSchedulerConfiguration"));
    assert!(ask(10257, "/metrics").contains("workqueue_depth{"));
    assert!(ask(10257, "/configz").contains("KubeControllerManagerConfiguration"));
    assert_eq!(ask(10257, "/healthz"), "ok");
    let stranger = c.sh("curl -sk https://127.0.0.1:10259/metrics");
    assert!(stranger.contains("cannot get path"), "{stranger}");
}

/// Waits until the machine is as before.
pub fn nothing_left(before: &BTreeSet<String>, machine: &Machine) {
    wait::until("nothing is left", || {
        let mut left = snapshot::difference(before, &snapshot::take(machine));
        // The kernel's own address of a link, which it gives after a while.
        left.retain(|line| !line.contains("fe80:"));
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

/// Asks until each pod has answered, and with the ConfigMap's text.
fn all_answer(pods: &[String], what: &str, ask: impl Fn() -> Result<String, String>) {
    let mut seen = BTreeSet::new();
    wait::until(&format!("all pods answer {what}"), || {
        let answer = ask()?;
        let (pod, message) = answer.trim().split_once(' ').ok_or_else(|| answer.clone())?;
        assert_eq!(message, "hello from Ferry", "{what}");
        seen.insert(pod.to_owned());
        if pods.iter().all(|pod| seen.contains(pod)) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// logs -f, exec, exec -it, attach to nothing, port-forward.
fn watch_and_enter(c: &Cluster, pods: &[String]) {
    let pod = &pods[0];
    let mut follow = c.kubectl_command().args(["logs", "-f", "--tail=1", pod]).stdout(Stdio::piped()).spawn().unwrap();
    let ip = c.get(&format!("pod {pod}"))["status"]["podIP"].as_str().unwrap().to_owned();
    let mut stdout = follow.stdout.take().unwrap();
    let mut seen = String::new();
    c.sh(&format!("curl -s http://{ip}:8080/look-for-this"));
    while !seen.contains("GET /look-for-this") {
        let mut buffer = [0; 4096];
        let n = stdout.read(&mut buffer).unwrap();
        assert!(n > 0, "logs -f ended: {seen}");
        seen.push_str(&text(&buffer[..n]));
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert!(c.kubectl(&format!("logs {pod}")).starts_with("serving on port 8080\n"));
    assert!(c.kubectl("logs deployment/web --tail=1").contains("GET /"));

    assert_eq!(c.kubectl(&format!("exec {pod} -- cat /etc/web/message")), "hello from Ferry");
    let failed = c.kubectl_command().args(["exec", pod, "--", "sh", "-c", "exit 7"]).output().unwrap();
    assert_eq!((failed.status.code(), text(&failed.stderr).trim()), (Some(7), "command terminated with exit code 7"));

    let mut command = c.kubectl_command();
    command.args(["exec", "-it", pod, "--", "sh"]);
    let mut shell = Terminal::start(command);
    shell.type_in("test -t 0 && echo on-a-$((40+2))-terminal\n");
    shell.shows("on-a-42-terminal");
    shell.type_in("cat /etc/hostname; exit 3\n");
    shell.shows(pod);
    assert_eq!(shell.ended(), Some(3));

    let mut forward =
        c.kubectl_command().args(["port-forward", "service/web", "18080:80"]).stdout(Stdio::piped()).spawn().unwrap();
    let answer = wait::until("port-forward answers", || {
        let output = c.try_sh("curl -s --max-time 5 http://127.0.0.1:18080/");
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(format!("{output:?}")) }
    });
    assert!(answer.contains("hello from Ferry"), "{answer}");
    forward.kill().unwrap();
    forward.wait().unwrap();
}

fn read(c: &Cluster, pods: &[String]) {
    let described = c.kubectl("describe deployment web");
    for part in
        ["Replicas:               3 desired | 3 updated | 3 total | 3 available | 0 unavailable", "ScalingReplicaSet"]
    {
        assert!(described.contains(part), "{described}");
    }
    let described = c.kubectl(&format!("describe pod {}", pods[0]));
    for part in [
        "Status:           Running",
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
        "QoS Class:                   Burstable",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert!(
        c.kubectl("describe service web").contains("Endpoints:                10.244.0."),
        "{}",
        c.kubectl("describe service web")
    );
    assert!(c.kubectl("describe node").contains("Kubelet Version:            v1.36.2+ferry"));

    let wide = c.kubectl("get pods -o wide");
    assert_eq!(
        wide.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
    );
    assert_eq!(wide.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count(), 3);
    assert!(c.kubectl("get deployment web -o yaml").contains("kubectl.kubernetes.io/last-applied-configuration"));
    assert_eq!(c.get("deployment web")["status"]["readyReplicas"], 3);
    assert_eq!(c.kubectl("get deployment web -o jsonpath={.status.availableReplicas}"), "3");
    assert_eq!(c.kubectl("get all --no-headers").lines().filter(|line| !line.is_empty()).count(), 7);

    assert!(c.kubectl("explain deployment.spec.strategy").contains("FIELD: strategy <DeploymentStrategy>"));
    assert_eq!(c.kubectl("auth can-i delete pods").trim(), "yes");
    let refused =
        c.kubectl_command().args(["auth", "can-i", "list", "secrets", "--as=system:kube-scheduler"]).output().unwrap();
    assert_eq!((refused.status.code(), text(&refused.stdout).trim()), (Some(1), "no"));
    let resources = c.kubectl("api-resources");
    for line in ["pods po v1 true Pod", "deployments deploy apps/v1 true Deployment"] {
        assert!(resources.lines().any(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") == line), "{resources}");
    }
    assert!(c.kubectl("version").contains("Server Version: v1.36.2+ferry"));
    assert!(c.kubectl("cluster-info").contains("Kubernetes control plane"));
}

fn write(c: &Cluster) {
    let editor = c.dir.join("editor.sh");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/hello from Ferry/edited/' \"$1\"\n").unwrap();
    c.sh(&format!("chmod +x {}", editor.display()));
    let mut edit = c.kubectl_command();
    let edited = edit.args(["edit", "configmap", "web"]).env("EDITOR", &editor).output().unwrap();
    assert_eq!(text(&edited.stdout).trim(), "configmap/web edited", "{edited:?}");
    assert_eq!(c.kubectl("get configmap web -o jsonpath={.data.message}"), "edited");

    c.kubectl("scale deployment web --replicas=4");
    c.kubectl("rollout status deployment/web --timeout=120s");
    assert_eq!(c.get("deployment web")["status"]["readyReplicas"], 4);
    c.kubectl("scale deployment web --replicas=2");
    wait::until("two pods are left", || match c.pods("app=web").len() {
        2 => Ok(()),
        n => Err(n.to_string()),
    });

    c.kubectl("rollout restart deployment/web");
    assert!(c.kubectl("rollout status deployment/web --timeout=120s").contains("successfully rolled out"));
    assert_eq!(c.kubectl("rollout history deployment/web").lines().filter(|l| l.starts_with(['1', '2'])).count(), 2);
    assert!(c.kubectl("rollout undo deployment/web").contains("rolled back"));
    c.kubectl("rollout status deployment/web --timeout=120s");

    assert_eq!(c.kubectl("label deployment web tier=front").trim(), "deployment.apps/web labeled");
    assert_eq!(c.kubectl("annotate deployment web note=seen").trim(), "deployment.apps/web annotated");
    assert_eq!(c.kubectl("get deployment -l tier=front -o name").trim(), "deployment.apps/web");

    c.kubectl("expose deployment web --name=web2 --port=81 --target-port=8080");
    let ip = c.kubectl("get service web2 -o jsonpath={.spec.clusterIP}");
    wait::until("the exposed Service answers", || {
        let output = c.try_sh(&format!("curl -s --max-time 5 http://{ip}:81/"));
        if text(&output.stdout).starts_with("web-") { Ok(()) } else { Err(format!("{output:?}")) }
    });
    c.kubectl("delete service web2");
}

/// run, create, wait, delete, and a pod that ends.
fn others(c: &Cluster) {
    c.kubectl("run once --image=ferry.local/web:1 --restart=Never --command -- sh");
    let said = c.try_kubectl_args(&[
        "run",
        "said",
        "--image=ferry.local/web:1",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "echo to $0; exit 4",
        "nobody",
    ]);
    assert_eq!(said.unwrap().trim(), "pod/said created");
    c.wait_for("jsonpath={.status.phase}=Failed", "pod/said");
    assert_eq!(c.kubectl("logs said"), "to nobody\n");
    assert_eq!(c.get("pod said")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4);

    c.kubectl("create namespace other");
    c.kubectl("create configmap settings --from-literal=a=b -n other");
    c.kubectl("create secret generic hidden --from-literal=password=x -n other");
    c.kubectl("create serviceaccount robot -n other");
    c.kubectl("create deployment more --image=ferry.local/web:1 --replicas=1 -n other");
    c.wait_for("condition=Available", "deployment/more -n other");
    c.kubectl("delete namespace other");
    assert!(c.try_kubectl("get namespace other").unwrap_err().contains("NotFound"));
    assert_eq!(c.kubectl("delete pod once said").lines().count(), 2);
}
