use serde_json::{Value, json};

use super::*;

struct Given(Option<Graph>);

impl Feed for Given {
    fn pull(&mut self, graph: &mut Graph) {
        if let Some(given) = self.0.take() {
            *graph = given;
        }
    }
}

fn pod(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn graph() -> Graph {
    let mut graph = Graph::default();
    let spec = json!({
        "serviceAccountName": "web",
        "volumes": [
            {"name": "s", "secret": {"secretName": "secret"}},
            {"name": "c", "configMap": {"name": "config"}},
            {"name": "p", "persistentVolumeClaim": {"claimName": "claim"}},
        ],
    });
    graph.put(Kind::Pod, &pod("a", "n1", spec));
    graph.put(Kind::Pod, &pod("b", "n2", json!({"volumes": [{"name": "s", "secret": {"secretName": "other"}}]})));
    let volume = json!({
        "metadata": {"name": "volume"},
        "spec": {"claimRef": {"namespace": "ns", "name": "claim"}, "csi": {"nodeStageSecretRef": {"namespace": "storage", "name": "key"}}},
    });
    graph.put(Kind::Volume, &volume);
    graph.put(Kind::VolumeAttachment, &json!({"metadata": {"name": "attachment"}, "spec": {"nodeName": "n1"}}));
    graph.put(Kind::ResourceSlice, &json!({"metadata": {"name": "slice"}, "spec": {"nodeName": "n2"}}));
    graph
}

fn kubelet(node: &str) -> UserInfo {
    UserInfo { name: format!("system:node:{node}"), groups: vec!["system:nodes".into()], ..UserInfo::default() }
}

#[test]
fn a_kubelet_reaches_what_its_pods_name() {
    let node = Node::new(Box::new(Given(Some(graph()))));
    let unrelated = "no relationship found between node 'n1' and this object";
    for (verb, group, resource, namespace, name, expect) in [
        ("get", "", "secrets", "ns", "secret", None),
        ("watch", "", "secrets", "ns", "secret", None),
        ("get", "", "secrets", "storage", "key", None),
        ("get", "", "secrets", "ns", "other", Some(unrelated)),
        ("list", "", "secrets", "ns", "", Some("No Object name found")),
        ("list", "", "secrets", "", "", Some("can only read namespaced object of this type")),
        ("update", "", "secrets", "ns", "secret", Some("can only read resources of this type")),
        ("get", "", "configmaps", "ns", "config", None),
        ("get", "", "persistentvolumeclaims", "ns", "claim", None),
        ("get", "", "persistentvolumes", "", "volume", None),
        ("list", "", "persistentvolumes", "", "", Some("can only get individual resources of this type")),
        ("get", "", "pods", "ns", "a", None),
        ("get", "", "pods", "ns", "b", Some(unrelated)),
        ("list", "", "pods", "", "", Some("can only list/watch pods with spec.nodeName field selector")),
        ("get", "", "nodes", "", "n1", None),
        ("get", "", "nodes", "", "n2", Some("node 'n1' cannot read 'n2', only its own Node object")),
        ("list", "", "nodes", "", "", Some("node 'n1' cannot read all nodes, only its own Node object")),
        ("get", "", "serviceaccounts", "ns", "web", None),
        ("create", "", "serviceaccounts", "ns", "web", Some("can only create token subresource of serviceaccount")),
        ("get", "storage.k8s.io", "volumeattachments", "", "attachment", None),
        ("get", "resource.k8s.io", "resourceslices", "", "slice", Some(unrelated)),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", None),
        (
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-node-lease",
            "n2",
            Some("can only access node lease with the same name as the requesting node"),
        ),
        (
            "update",
            "coordination.k8s.io",
            "leases",
            "ns",
            "n1",
            Some(r#"can only access leases in the "kube-node-lease" system namespace"#),
        ),
        ("get", "storage.k8s.io", "csinodes", "", "n1", None),
        ("list", "", "services", "", "", None),
        ("create", "", "events", "ns", "", None),
        ("create", "authorization.k8s.io", "subjectaccessreviews", "", "", None),
        ("create", "certificates.k8s.io", "certificatesigningrequests", "", "", None),
        ("delete", "", "services", "ns", "x", Some("")),
    ] {
        let user = kubelet("n1");
        let decision =
            node.authorize(&Attributes { namespace, name, ..Attributes::resource(&user, verb, group, resource) });
        let denied = (!decision.allowed()).then(|| decision.reason().to_owned());
        assert_eq!(denied.as_deref(), expect, "{verb} {group} {resource} {namespace}/{name}");
    }
}

#[test]
fn a_kubelet_lists_its_own_pods_and_makes_its_pods_tokens() {
    let node = Node::new(Box::new(Given(Some(graph()))));
    let user = kubelet("n1");
    let list = Attributes::resource(&user, "list", "", "pods");
    assert!(node.authorize(&Attributes { field_selector: "spec.nodeName=n1", ..list }).allowed());
    assert!(!node.authorize(&Attributes { field_selector: "spec.nodeName=n2", ..list }).allowed());
    assert!(!node.authorize(&Attributes { field_selector: "spec.nodeName!=n1", ..list }).allowed());
    let token = Attributes {
        subresource: "token",
        namespace: "ns",
        name: "web",
        ..Attributes::resource(&user, "create", "", "serviceaccounts")
    };
    assert!(node.authorize(&token).allowed());
    assert!(!node.authorize(&Attributes { name: "other", ..token }).allowed());
    let nobody = UserInfo { name: "system:node:n1".into(), ..UserInfo::default() };
    assert_eq!(
        node.authorize(&Attributes { user: &nobody, ..token }),
        Decision::NoOpinion(String::new()),
        "not in the group"
    );
}

#[test]
fn what_is_gone_is_no_longer_reached() {
    let mut graph = graph();
    assert!(graph.reaches("n1", Kind::Secret, "ns", "secret"));
    graph.put(Kind::Pod, &pod("c", "n1", json!({"volumes": [{"name": "s", "secret": {"secretName": "secret"}}]})));
    graph.remove(Kind::Pod, "ns", "a");
    assert!(graph.reaches("n1", Kind::Secret, "ns", "secret"), "another pod names it still");
    assert!(!graph.reaches("n1", Kind::Volume, "", "volume"));
    assert!(!graph.reaches("n1", Kind::Secret, "storage", "key"));
    graph.remove(Kind::Pod, "ns", "c");
    assert!(!graph.reaches("n1", Kind::Secret, "ns", "secret"));
    graph.clear(Kind::ResourceSlice);
    assert!(!graph.reaches("n2", Kind::ResourceSlice, "", "slice"));
}
