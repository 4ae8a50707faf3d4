//! The cache keeps its sums right whatever order things are reported in.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

fn node(name: &str, zone: &str) -> ApiNode {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
    }))
    .unwrap()
}

fn pod(name: &str, node: &str, cpu: &str) -> ApiPod {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    }))
    .unwrap()
}

fn cpu(cache: &Cache, name: &str) -> i64 {
    cache.snapshot().place(name).map_or(-1, |place| cache.snapshot().node(place).requested.cpu_milli)
}

#[test]
fn assumed_pods_count_until_they_are_forgotten_confirmed_or_late() {
    let start = Instant::now();
    let mut cache = Cache::new(Some(Duration::from_secs(30)));
    let object = cache.read_node(&node("n1", "a"));
    cache.set_node(object);
    let name: Arc<str> = Arc::from("n1");

    let pending = cache.read_pod(&pod("p", "", "500m"));
    cache.assume(pending.clone(), &name);
    assert_eq!(cpu(&cache, "n1"), 500);
    assert!(cache.forget("p").is_some());
    assert_eq!(cpu(&cache, "n1"), 0);

    cache.assume(pending.clone(), &name);
    let confirmed = cache.read_pod(&pod("p", "n1", "500m"));
    assert!(matches!(cache.set_pod(confirmed), Some((_, true))));
    assert_eq!(cpu(&cache, "n1"), 500);
    assert!(cache.forget("p").is_none(), "a confirmed pod is not ours to forget");
    cache.remove_pod("p");
    assert_eq!(cpu(&cache, "n1"), 0);

    cache.assume(pending, &name);
    assert!(cache.expire(start + Duration::from_secs(3600)).is_empty(), "the binding is still under way");
    cache.finish_binding("p", start);
    assert_eq!(cache.expire(start + Duration::from_secs(31)).len(), 1);
    assert_eq!(cpu(&cache, "n1"), 0);
}

#[test]
fn a_pod_before_its_node_and_a_node_before_its_pods() {
    let mut cache = Cache::default();
    let early = cache.read_pod(&pod("p", "n1", "1"));
    cache.set_pod(early);
    assert!(cache.snapshot().order.is_empty(), "a node without an object is no candidate");
    let object = cache.read_node(&node("n1", "a"));
    assert!(cache.set_node(object).is_none());
    assert_eq!(cpu(&cache, "n1"), 1000);
    cache.remove_node("n1");
    assert_eq!(cpu(&cache, "n1"), 1000, "its pods are still there");
    cache.remove_pod("p");
    assert_eq!(cpu(&cache, "n1"), -1);
}

#[test]
fn nodes_are_visited_zone_by_zone_in_turn() {
    let mut cache = Cache::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")] {
        let object = cache.read_node(&node(name, zone));
        cache.set_node(object);
    }
    let names = |cache: &Cache| cache.node_names().iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&cache), "a1 b1 c1 a2 c2 a3");
    let moved = cache.read_node(&node("a2", "b"));
    cache.set_node(moved);
    assert_eq!(names(&cache), "a1 b1 c1 a3 a2 c2");
}

#[test]
fn pods_in_domains_are_kept_as_they_are_counted_anew() {
    let mut random = StdRng::seed_from_u64(7);
    let mut cache = Cache::default();
    let zone = cache.interner().intern("topology.kubernetes.io/zone");
    let mut seen = BTreeSet::new();
    for step in 0..4000 {
        let name = format!("n{}", random.random_range(0..6));
        let uid = format!("p{}", random.random_range(0..40));
        let mut changed = pod(&uid, &name, ["1", "2", "3"][random.random_range(0..3)]);
        match random.random_range(0..40) {
            0 => drop(cache.remove_node(&name)),
            1 => {
                let mut node = node(&name, ["", "a", "b"][random.random_range(0..3)]);
                node.metadata.labels = node.metadata.labels.filter(|_| random.random_range(0..3) > 0);
                let object = cache.read_node(&node);
                cache.set_node(object);
            }
            2..15 => drop(cache.remove_pod(&uid)),
            15..20 => {
                let pending = cache.read_pod(&changed);
                cache.assume(pending, &Arc::from(name));
            }
            kind => {
                let at = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
                changed.metadata.deletion_timestamp =
                    (kind > 30).then_some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
                let pod = cache.read_pod(&changed);
                cache.set_pod(pod);
            }
        }
        let Snapshot { nodes, domains, shapes, .. } = cache.snapshot();
        let slots = shapes.each(|shape| shape.requests.cpu_milli != 2000);
        let mut sums = [vec![0; domains.of(&zone, nodes).numbers()], Vec::new()];
        sums[0][0] = if step % 2 == 0 { -1 } else { 0 };
        sums[1] = sums[0].clone();
        domains.add_live(&zone, nodes, &slots, &mut sums[0]);
        DomainsByLabel::default().add_live(&zone, nodes, &slots, &mut sums[1]);
        assert_eq!(sums[0], sums[1], "step {step}");
        seen.insert(sums[0].clone());
    }
    assert!(seen.len() > 100, "they hardly moved: {seen:?}");
}

#[test]
fn requests_of_a_pod() {
    let check = |spec: serde_json::Value, cpu: i64, memory: i64, padded_cpu: i64| {
        let pod: ApiPod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap();
        let (exact, padded) = resources::of_pod(&pod, &mut Interner::default());
        assert_eq!((exact.cpu_milli, exact.memory, padded.cpu_milli), (cpu, memory, padded_cpu), "{spec}");
    };
    let c = |cpu: &str| serde_json::json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| serde_json::json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    check(serde_json::json!({"containers": [{"name": "c"}]}), 0, 0, 100);
    check(serde_json::json!({"containers": [c("1"), c("500m")]}), 1500, 0, 1500);
    check(serde_json::json!({"initContainers": [c("3")], "containers": [c("1"), c("1")]}), 3000, 0, 3000);
    check(serde_json::json!({"initContainers": [sidecar("1"), c("2")], "containers": [c("1")]}), 3000, 0, 3000);
    check(serde_json::json!({"initContainers": [c("2"), sidecar("1")], "containers": [c("1")]}), 2000, 0, 2000);
    check(serde_json::json!({"overhead": {"cpu": "250m", "memory": "1Ki"}, "containers": [c("1")]}), 1250, 1024, 1250);
    check(serde_json::json!({"resources": {"requests": {"cpu": "5"}}, "containers": [c("1")]}), 5000, 0, 5000);
}

#[test]
fn equal_pods_share_a_shape() {
    let mut cache = Cache::default();
    let one = cache.read_pod(&pod("one", "", "1"));
    let two = cache.read_pod(&pod("two", "", "1"));
    let other = cache.read_pod(&pod("other", "", "2"));
    assert_eq!(one.shape.serial, two.shape.serial);
    assert_ne!(one.shape.serial, other.shape.serial);
}
