//! Storage that a claim gets with nothing installed: data outlive pods, the node agent and the cluster's end; a claim grows;
//! what nobody wants any more is gone from the disk.

use std::path::PathBuf;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::Machine;
use ferry_e2e::{snapshot, wait};

use crate::example::nothing_left;

/// A program that keeps what it was given, in a folder and on a device.
const KEEPER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: keep}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: keeper, namespace: keep}
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
        volumeDevices: [{name: raw, devicePath: /dev/raw}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
  - metadata: {name: raw}
    spec: {accessModes: [ReadWriteOnce], volumeMode: Block, resources: {requests: {storage: 1Mi}}}
"#;

#[test]
fn data_outlive_pods_and_restarts_until_their_claim_goes() {
    let Some(machine) = Machine::new("data_outlive_pods_and_restarts_until_their_claim_goes", &["losetup"]) else {
        return;
    };
    let before = snapshot::take(&machine);
    let mut c = Cluster::up_on(machine, &[]);
    c.apply(KEEPER);
    ready(&c);
    inside(&c, "echo kept >/data/file; echo raw >/dev/raw");
    kept(&c);
    let folder = volume(&c, "data-keeper-0");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "kept\n");

    c.kubectl("delete pod -n keep keeper-0");
    ready(&c);
    kept(&c);
    c.kubectl("rollout restart -n keep statefulset/keeper");
    ready(&c);
    kept(&c);
    c.kill_9();
    c.start();
    c.node_ready();
    kept(&c);
    let starts = restarts(&c);
    let down = c.down(&[]);
    assert!(down.status.success(), "{down:?}");
    c.ended();
    nothing_left(&before, &c);
    no_loop_devices(&c);
    c.start();
    c.node_ready();
    // Until its kubelet has looked, the pod is said to be what it was.
    wait::until("the container is started again", || {
        let now = restarts(&c);
        if now == starts { Err(now) } else { Ok(()) }
    });
    ready(&c);
    kept(&c);

    grows(&c);
    refused(&c);

    c.kubectl("delete namespace keep --timeout=60s");
    wait::until("the data are gone", || {
        let left = c.kubectl("get persistentvolumes -o name");
        if left.trim().is_empty() && !folder.exists() { Ok(()) } else { Err(left) }
    });
    let down = c.down(&["--purge"]);
    assert!(down.status.success(), "{down:?}");
    c.ended();
    nothing_left(&before, &c);
    no_loop_devices(&c);
}

/// `ferry down` has given back what pods had as devices.
fn no_loop_devices(c: &Cluster) {
    let data = c.data().display().to_string();
    let files = c.sh("cat /sys/block/loop*/loop/backing_file 2>/dev/null || true");
    assert!(!files.contains(&data), "{files}");
}

fn restarts(c: &Cluster) -> String {
    c.kubectl("get pod -n keep keeper-0 -o jsonpath={.status.containerStatuses[0].restartCount}")
}

fn ready(c: &Cluster) {
    c.kubectl("rollout status -n keep statefulset/keeper --timeout=120s");
}

fn inside(c: &Cluster, script: &str) -> String {
    c.kubectl_args(&["exec", "-n", "keep", "keeper-0", "--", "/bin/sh", "-c", script])
}

fn kept(c: &Cluster) {
    let read = inside(c, "cat /data/file; read line </dev/raw; echo $line");
    assert_eq!(read, "kept\nraw\n");
}

/// Where the claim's volume is on the node.
fn volume(c: &Cluster, claim: &str) -> PathBuf {
    let name = c.kubectl(&format!("get pvc -n keep {claim} -o jsonpath={{.spec.volumeName}}"));
    let path = c.kubectl(&format!("get pv {name} -o jsonpath={{.spec.local.path}}"));
    PathBuf::from(path)
}

/// Both claims get more; where nothing limits the folder, its claim says so.
fn grows(c: &Cluster) {
    for (claim, size) in [("data-keeper-0", "32Mi"), ("raw-keeper-0", "2Mi")] {
        let patch = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
        c.kubectl_args(&["patch", "pvc", "-n", "keep", claim, "-p", &patch]);
        c.kubectl(&format!(
            "wait -n keep --for=jsonpath={{.status.capacity.storage}}={size} pvc/{claim} --timeout=60s"
        ));
    }
    kept(c);
    assert_eq!(std::fs::metadata(volume(c, "raw-keeper-0")).unwrap().len(), 2 << 20);
    // The machine's own folder is in memory or on a disk without project quotas.
    c.wait_for("condition=CapacityNotEnforced", "-n keep pvc/data-keeper-0");
}

/// What cannot be had says why, and another claim is not held up.
fn refused(c: &Cluster) {
    c.apply(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared, namespace: keep}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: huge, namespace: keep}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Pi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: waits, namespace: keep}
spec:
  containers: [{name: c, image: "ferry.local/web:1", volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: shared}}]
---
apiVersion: v1
kind: Pod
metadata: {name: greedy, namespace: keep}
spec:
  containers: [{name: c, image: "ferry.local/web:1", volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: huge}}]
"#,
    );
    for (claim, why) in [("shared", "access mode ReadWriteMany is not supported"), ("huge", "the node's disk has")] {
        wait::until(&format!("{claim} says why it has no volume"), || {
            let events = c.kubectl(&format!("events -n keep --for=pvc/{claim}"));
            if events.contains("ProvisioningFailed") && events.contains(why) { Ok(()) } else { Err(events) }
        });
    }
}
