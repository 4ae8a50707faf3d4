use serde_json::json;

use super::*;

fn outcome(result: Result<(), No>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(No::Because(why)) => why,
        Err(No::Error(error)) => error.message,
    }
}

#[test]
fn a_kubelet_creates_images_of_its_files_alone() {
    let own = json!({"metadata": {"name": "n", "uid": "u"}});
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
    let good = json!({
        "metadata": {"annotations": {pod_refs::MIRROR: "x"}, "ownerReferences": [owner]},
        "spec": {"nodeName": "n", "volumes": [{"name": "h", "hostPath": {}}]},
    });
    let with = |pointer: &str, value: Value| {
        let mut pod = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        pod
    };
    for (pod, expect) in [
        (good.clone(), ""),
        (
            with("/metadata/annotations", json!({})),
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods"#,
        ),
        (with("/spec/nodeName", json!("m")), r#"node "n" can only create pods with spec.nodeName set to itself"#),
        (
            with("/metadata/ownerReferences", json!([])),
            r#"node "n" can only create pods with an owner reference set to itself"#,
        ),
        (
            with("/metadata/ownerReferences", json!([{}, {}])),
            r#"node "n" can only create pods with a single owner reference set to itself"#,
        ),
        (
            with("/metadata/ownerReferences", json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}])),
            r#"node "n" can only create pods with a controller owner reference set to itself"#,
        ),
        (
            with(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "v", "controller": true}]),
            ),
            "node n UID mismatch: expected v got u",
        ),
        (
            with("/spec/serviceAccountName", json!("x")),
            r#"node "n" can not create pods that reference serviceaccounts"#,
        ),
    ] {
        assert_eq!(outcome(mirror_pod("n", &pod, Some(&own))), expect);
    }
    assert_eq!(outcome(mirror_pod("n", &good, None)), r#"nodes "n" not found"#);
}
