use super::*;
use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

fn pod(name: &str, spec: Value) -> Pod {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let labels = spec.as_object_mut().expect("an object").remove("labels").unwrap_or(json!({}));
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "labels": labels});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
}

fn requests(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn port(port: Value) -> Value {
    let mut port = port;
    port["containerPort"] = json!(80);
    json!({"containers": [{"name": "c", "ports": [port]}]})
}

fn ask(pod: &Pod, others: &[Pod], conditions: &[Condition]) -> String {
    let amounts =
        [("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "10Gi"), ("hugepages-2Mi", "0"), ("pods", "3")];
    let allocatable: List = amounts.map(|(name, q)| (name.to_owned(), Quantity(q.into()))).into();
    let node = Node {
        allocatable: &allocatable,
        max_pods: 3,
        unsafe_sysctls: &["kernel.msg*".to_owned()],
        conditions: conditions.iter().copied().collect(),
    };
    let others: Vec<Arc<Pod>> = others.iter().cloned().map(Arc::new).collect();
    match check(pod, &others, &node) {
        Ok(()) => "admitted".into(),
        Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a table reads better so")]
fn cases(rows: &[(&str, Value, &[Pod])], expected: Expect) {
    let text: String = rows
        .iter()
        .map(|(what, spec, others)| format!("{what}: {}\n", ask(&pod("new", spec.clone()), others, &[])))
        .collect();
    expected.assert_eq(&text);
}

#[test]
fn resources_and_the_number_of_pods() {
    let half = pod("half", requests(json!({"cpu": "1500m", "memory": "512Mi"})));
    let many = [pod("a", json!({})), pod("b", json!({})), half.clone()];
    cases(
        &[
            ("nothing asked", json!({}), std::slice::from_ref(&half)),
            ("fits", requests(json!({"cpu": "500m", "memory": "512Mi"})), std::slice::from_ref(&half)),
            ("cpu", requests(json!({"cpu": "501m"})), std::slice::from_ref(&half)),
            ("memory", requests(json!({"memory": "513Mi"})), std::slice::from_ref(&half)),
            ("disk", requests(json!({"ephemeral-storage": "11Gi"})), &[]),
            ("huge pages", requests(json!({"hugepages-2Mi": "2Mi"})), &[]),
            ("a resource that the node does not know", requests(json!({"example.com/gpu": "1"})), &[]),
            ("too many pods come before all else", requests(json!({"cpu": "3"})), &many),
            (
                "for the pod as a whole",
                json!({"resources": {"requests": {"cpu": "1"}}, "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}),
                std::slice::from_ref(&half),
            ),
        ],
        expect![[r"
            nothing asked: admitted
            fits: admitted
            cpu: OutOfcpu: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000
            memory: OutOfmemory: Node didn't have enough resource: memory, requested: 537919488, used: 536870912, capacity: 1073741824
            disk: OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240
            huge pages: OutOfhugepages-2Mi: Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0
            a resource that the node does not know: admitted
            too many pods come before all else: OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3
            for the pod as a whole: OutOfcpu: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000
        "]],
    );
}

#[test]
fn a_port_of_the_node_is_taken_once() {
    let taken = [pod("old", port(json!({"hostPort": 8080, "hostIP": "10.0.0.1"})))];
    cases(
        &[
            ("the same", port(json!({"hostPort": 8080, "hostIP": "10.0.0.1"})), &taken),
            ("on all addresses", port(json!({"hostPort": 8080})), &taken),
            ("on another address", port(json!({"hostPort": 8080, "hostIP": "10.0.0.2"})), &taken),
            ("of another protocol", port(json!({"hostPort": 8080, "protocol": "UDP"})), &taken),
            ("another", port(json!({"hostPort": 8081})), &taken),
            ("none of the node's", port(json!({})), &taken),
        ],
        expect![[r"
            the same: NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports
            on all addresses: NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports
            on another address: admitted
            of another protocol: admitted
            another: admitted
            none of the node's: admitted
        "]],
    );
}

#[test]
fn operating_systems_and_sysctls() {
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    cases(
        &[
            ("windows", json!({"os": {"name": "windows"}}), &[]),
            ("linux", json!({"os": {"name": "linux"}}), &[]),
            ("a label of another", json!({"labels": {"kubernetes.io/os": "windows"}}), &[]),
            ("a safe sysctl", sysctl("net/ipv4/tcp_syncookies"), &[]),
            ("an allowed one", sysctl("kernel.msgmax"), &[]),
            ("another", sysctl("kernel.sem"), &[]),
        ],
        expect![[r#"
            windows: PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS
            linux: admitted
            a label of another: PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label
            a safe sysctl: admitted
            an allowed one: admitted
            another: SysctlForbidden: forbidden sysctl: "kernel.sem" not allowlisted
        "#]],
    );
}

#[test]
fn a_node_under_pressure_takes_little() {
    let best_effort = pod("new", json!({}));
    let burstable = pod("new", requests(json!({"memory": "1Mi"})));
    let critical = pod("new", json!({"priority": 2_000_000_000}));
    let tolerant =
        pod("new", json!({"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]}));
    let memory = [Condition::Memory];
    let both = [Condition::Memory, Condition::Disk];
    let rows = [
        ("best effort, memory", &best_effort, &memory[..]),
        ("tolerant, memory", &tolerant, &memory),
        ("burstable, memory", &burstable, &memory),
        ("burstable, disk too", &burstable, &both),
        ("critical, disk too", &critical, &both),
    ];
    let text: String = rows.iter().map(|(what, pod, c)| format!("{what}: {}\n", ask(pod, &[], c))).collect();
    expect![[r"
        best effort, memory: Evicted: The node had condition: [MemoryPressure]. 
        tolerant, memory: admitted
        burstable, memory: admitted
        burstable, disk too: Evicted: The node had condition: [DiskPressure MemoryPressure]. 
        critical, disk too: admitted
    "]]
    .assert_eq(&text);
}
