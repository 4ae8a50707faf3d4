//! A backup is worth what comes back of it: a namespace that somebody deleted, and a whole cluster on a machine that lost it,
//! with its keys and the data in its volumes.

use std::path::{Path, PathBuf};

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::{Machine, text};
use ferry_e2e::wait;

/// An application with something of everything.
const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: password, namespace: shop}
stringData: {password: swordfish}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30123}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ferry.local/web:1
        env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: password, key: password}}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: keeper, namespace: shop}
spec:
  serviceName: keeper
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: keeper
        image: ferry.local/web:1
        command: [/bin/sh, -c, "while :; do sleep 1; done"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
"#;

/// Whose fields belong to a tool of a team.
const APPLIED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: applied, namespace: shop}
data: {of: team}
";

#[test]
fn a_deleted_namespace_comes_back() {
    let Some(c) = Cluster::up("a_deleted_namespace_comes_back") else { return };
    snapshots(&c, &["schedule", "--cron", "@every 4s", "--keep", "2"]);
    c.apply(SHOP);
    c.apply(APPLIED);
    c.kubectl(&format!("apply --server-side --field-manager=team -f {}", c.dir.join("manifest.yaml").display()));
    runs(&c);
    let address = c.kubectl("get service -n shop web -o jsonpath={.spec.clusterIP}");
    // An owner of the user's own, and what it owns: the old UID cannot be had again.
    let uid = c.kubectl("get configmap -n shop settings -o jsonpath={.metadata.uid}");
    c.kubectl(&format!(
        "patch secret -n shop password --type=merge -p {{\"metadata\":{{\"ownerReferences\":[{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"settings\",\"uid\":\"{uid}\"}}]}}}}"
    ));
    let snapshot = saved(&c, &[]);
    let unchanged = snapshots(&c, &["restore", &snapshot, "--namespace", "shop", "--dry-run"]);
    assert!(unchanged.contains("deployment.apps/web unchanged (dry run)\n"), "{unchanged}");
    assert!(unchanged.contains("0 created, 0 changed,") && unchanged.contains(" 0 failed"), "{unchanged}");

    c.kubectl("scale deployment -n shop web --replicas=1");
    c.kubectl("patch configmap -n shop settings --type=merge -p {\"data\":{\"colour\":\"red\"}}");
    let dry = snapshots(&c, &["restore", &snapshot, "-n", "shop", "--resource", "deployments/web", "--dry-run"]);
    assert!(dry.contains("deployment.apps/web configured (dry run)\n  spec.replicas: 1 -> 2\n"), "{dry}");
    assert_eq!(c.kubectl("get deployment -n shop web -o jsonpath={.spec.replicas}"), "1");
    snapshots(&c, &["restore", &snapshot, "-n", "shop", "--resource", "deployments/web,configmaps/settings"]);
    runs(&c);
    assert_eq!(c.kubectl("get configmap -n shop settings -o jsonpath={.data.colour}"), "blue");

    c.kubectl("delete namespace shop --timeout=60s");
    let dry = snapshots(&c, &["restore", &snapshot, "--namespace", "shop", "--dry-run"]);
    assert!(dry.starts_with("namespace/shop created (dry run)\n"), "{dry}");
    assert!(c.try_kubectl("get namespace shop").is_err());
    let told = snapshots(&c, &["restore", &snapshot, "--namespace", "shop"]);
    assert!(told.contains("persistentvolumeclaim/data-keeper-0 created\n  its volume "), "{told}");
    assert!(told.contains(" 0 failed\n"), "{told}");
    runs(&c);
    assert_eq!(c.kubectl("get namespace shop -o jsonpath={.metadata.labels.team}"), "a");
    assert_eq!(c.kubectl("get service -n shop web -o jsonpath={.spec.clusterIP}"), address);
    let pods = c.kubectl("get pods -n shop -l app=web -o name");
    assert_eq!(pods.lines().count(), 2, "each once: {pods}");
    // The owner as it is now, so that the garbage collector leaves what is its own.
    let owner = c.kubectl("get secret -n shop password -o jsonpath={.metadata.ownerReferences[0].uid}");
    let now = c.kubectl("get configmap -n shop settings -o jsonpath={.metadata.uid}");
    assert!(owner == now && now != uid, "{owner} {now} {uid}");
    let again = snapshots(&c, &["restore", &snapshot, "--namespace", "shop"]);
    assert!(again.contains("0 created, 0 changed,"), "{again}");
    let managers = c.kubectl(
        "get configmap -n shop applied -o jsonpath={.metadata.managedFields[*].manager} --show-managed-fields",
    );
    assert!(managers.split(' ').any(|manager| manager == "team"), "{managers}");
    retained(&c, &snapshot);
    scheduled(&c, &snapshot);
}

/// A volume that was kept when its claim went is the claim's again, with what is in it.
fn retained(c: &Cluster, snapshot: &str) {
    let keeper = |script: &str| c.kubectl_args(&["exec", "-n", "shop", "keeper-0", "--", "/bin/sh", "-c", script]);
    keeper("echo kept >/data/file");
    let volume = c.kubectl("get pvc -n shop data-keeper-0 -o jsonpath={.spec.volumeName}");
    c.kubectl(&format!(
        "patch persistentvolume {volume} -p {{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Retain\"}}}}"
    ));
    let after = saved(c, &["--name", "retained"]);
    c.kubectl("delete namespace shop --timeout=60s");
    wait::until("the volume is released", || {
        let phase = c.kubectl(&format!("get persistentvolume {volume} -o jsonpath={{.status.phase}}"));
        if phase == "Released" { Ok(()) } else { Err(phase) }
    });
    let told = snapshots(c, &["restore", &after, "--namespace", "shop"]);
    assert!(told.contains(&format!("its volume {volume} waits for it, with what is in it")), "{told}");
    runs(c);
    assert_eq!(keeper("read line </data/file; echo $line"), "kept\n");
    assert!(Path::new(snapshot).exists());
}

/// The schedule has taken some by now, keeps two, and has not touched the one that was taken by hand.
fn scheduled(c: &Cluster, manual: &str) {
    let names = || {
        let list: serde_json::Value = serde_json::from_str(&snapshots(c, &["list", "-o", "json"])).unwrap();
        let names = list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("scheduled-")).collect::<Vec<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    wait::until("three have been taken", || {
        let now = names();
        seen.extend(now);
        if seen.len() > 2 { Ok(()) } else { Err(format!("{seen:?} {}", c.log())) }
    });
    snapshots(c, &["schedule", "--off"]);
    wait::until("two are kept", || {
        let now = names();
        if now.len() == 2 { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert!(Path::new(manual).exists());
    let newest = names().pop().unwrap();
    assert!(snapshots(c, &["verify", &newest]).contains("whole: "));
    let pruned = snapshots(c, &["prune", "--keep", "1", "--name", "scheduled"]);
    assert!(pruned.trim_end().ends_with(" deleted") && !pruned.contains(&newest), "{pruned}");
}

#[test]
fn a_lost_cluster_comes_back_with_its_keys_and_data() {
    let Some(machine) = Machine::new("a_lost_cluster_comes_back_with_its_keys_and_data", &["curl"]) else { return };
    let mut c = Cluster::up_on(machine, &[]);
    c.apply(SHOP);
    runs(&c);
    c.kubectl_args(&["exec", "-n", "shop", "keeper-0", "--", "/bin/sh", "-c", "umask 027; echo kept >/data/file"]);
    let key = c.dir.join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let key = key.display().to_string();
    let refused = try_snapshots(&c, &["save", "--with-keys"]).unwrap_err();
    assert!(refused.contains("encrypt it with --key-file"), "{refused}");
    let snapshot = saved(&c, &["--with-keys", "--with-volumes", "--key-file", &key]);
    let uid = c.kubectl("get namespace shop -o jsonpath={.metadata.uid}");
    let in_use = try_snapshots(&c, &["restore", &snapshot, "--key-file", &key]).unwrap_err();
    assert!(in_use.contains("holds a cluster already"), "{in_use}");
    let old = std::fs::read_to_string(c.data().join("admin.conf")).unwrap();

    // All is lost but what is kept elsewhere.
    c.kubectl("create configmap -n shop too-late");
    let down = c.down(&["--purge"]);
    assert!(down.status.success(), "{down:?}");
    c.ended();
    assert!(Path::new(&snapshot).exists(), "a purge leaves snapshots");
    let without = try_snapshots(&c, &["restore", &snapshot]).unwrap_err();
    assert!(without.contains("is encrypted: give --key-file"), "{without}");
    let told = snapshots(&c, &["restore", &snapshot, "--key-file", &key]);
    assert!(told.contains("now: ferry up --data-dir"), "{told}");
    c.start();
    std::fs::write(c.dir.join("old.conf"), old).unwrap();
    let before = format!("--kubeconfig {}", c.dir.join("old.conf").display());
    wait::until("the old kubeconfig is good", || c.try_kubectl(&format!("{before} get --raw /readyz")).map(drop));
    c.node_ready();
    assert_eq!(c.kubectl("get namespace shop -o jsonpath={.metadata.uid}"), uid);
    assert!(c.try_kubectl("get configmap -n shop too-late").is_err());
    runs(&c);
    wait::until("the data are there", || {
        let read = c.try_kubectl_args(&[
            "exec",
            "-n",
            "shop",
            "keeper-0",
            "--",
            "/bin/sh",
            "-c",
            "read x </data/file; echo $x",
        ])?;
        if read == "kept\n" { Ok(()) } else { Err(read) }
    });
    let volume = c.get("persistentvolumes");
    let path = PathBuf::from(volume["items"][0]["spec"]["local"]["path"].as_str().unwrap());
    assert!(path.starts_with(c.data()), "{}", path.display());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path.join("file")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
}

fn runs(c: &Cluster) {
    c.kubectl("rollout status -n shop deployment/web --timeout=120s");
    c.kubectl("rollout status -n shop statefulset/keeper --timeout=120s");
}

/// Takes a snapshot; its file.
fn saved(c: &Cluster, flags: &[&str]) -> String {
    let told = snapshots(c, &[&["save"], flags].concat());
    assert!(told.contains("read back and verified"), "{told}");
    told.lines().next().unwrap_or_default().to_owned()
}

fn snapshots(c: &Cluster, arguments: &[&str]) -> String {
    try_snapshots(c, arguments).unwrap_or_else(|said| panic!("ferry snapshot {arguments:?}: {said}"))
}

fn try_snapshots(c: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let mut command = c.command(c.ferry());
    let output = command.arg("snapshot").args(arguments).arg("--data-dir").arg(c.data()).output().expect("ferry");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr) + &text(&output.stdout)),
    }
}
