//! What a node under pressure evicts, and in which order.

use super::*;
use crate::{
    config::KubeletConfiguration,
    node::machine,
    testing::{FakeGauges, TestNode},
};
use expect_test::expect;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit_cri::Figures;
use usage::{Container, Disk, Usage, Usages};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("small")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn thresholds_are_read_and_refused_as_upstream_does() {
    let shown = |hard: &[(&str, &str)], soft: &[(&str, &str)], grace: &[(&str, &str)], reclaim: &[(&str, &str)]| {
        let file = KubeletConfiguration {
            eviction_hard: map(hard),
            eviction_soft: map(soft),
            eviction_soft_grace_period: map(grace),
            eviction_minimum_reclaim: map(reclaim),
            ..KubeletConfiguration::default()
        };
        match threshold::thresholds(&file) {
            Err(error) => format!("{error}\n"),
            Ok(list) => list
                .iter()
                .map(|t| {
                    format!(
                        "{:?} {} after {:#} and {}\n",
                        t.signal,
                        t.value.of(1000),
                        t.grace,
                        t.minimum_reclaim.as_ref().map_or("nothing".into(), |m| m.of(1000).to_string())
                    )
                })
                .collect(),
        }
    };
    let text = [
        shown(
            &[
                ("memory.available", "100Mi"),
                ("nodefs.available", "10%"),
                ("imagefs.inodesFree", "0%"),
                ("pid.available", "5k"),
            ],
            &[],
            &[],
            &[],
        ),
        shown(&[], &[("memory.available", "1Gi")], &[("memory.available", "1m30s")], &[("memory.available", "500Mi")]),
        shown(&[("containerfs.available", "5%")], &[], &[], &[]),
        shown(&[("disk.available", "5%")], &[], &[], &[]),
        shown(&[("memory.available", "0")], &[], &[], &[]),
        shown(&[("nodefs.available", "101%")], &[], &[], &[]),
        shown(&[], &[("memory.available", "1Gi")], &[], &[]),
    ]
    .join("--\n");
    expect![[r"
        MemoryAvailable 100Mi after 0s and nothing
        NodeFsAvailable 100 after 0s and nothing
        PidAvailable 5k after 0s and nothing
        AllocatableMemoryAvailable 100Mi after 0s and nothing
        --
        MemoryAvailable 1Gi after 1m 30s and 500Mi
        --
        --
        unsupported eviction signal disk.available
        --
        eviction threshold memory.available must be positive: 0
        --
        eviction percentage threshold nodefs.available must be <= 100%: 101%
        --
        grace period must be specified for the soft eviction threshold memory.available
    "]]
    .assert_eq(&text);
}

#[test]
fn thresholds_have_grace_periods_minimum_reclaims_and_a_transition() {
    let file = KubeletConfiguration {
        eviction_hard: map(&[("nodefs.available", "100")]),
        eviction_soft: map(&[("memory.available", "50%")]),
        eviction_soft_grace_period: map(&[("memory.available", "60s")]),
        eviction_minimum_reclaim: map(&[("nodefs.available", "50")]),
        ..KubeletConfiguration::default()
    };
    let mut state = State::new(threshold::thresholds(&file).expect("thresholds"), SignedDuration::from_secs(300));
    let mut text = String::new();
    // Seconds, memory left of 1000, disk left of 1000.
    for (second, memory, disk) in [
        (0, 900, 900),
        (10, 400, 900),
        (40, 600, 900),
        (50, 400, 900),
        (100, 400, 50),
        (110, 400, 90),
        (120, 900, 120),
        (130, 900, 150),
        (429, 900, 150),
        (430, 900, 150),
    ] {
        let observed = |available| Observation { available, capacity: 1000 };
        let observations = Observations::from([
            (Signal::MemoryAvailable, observed(memory)),
            (Signal::NodeFsAvailable, observed(disk)),
        ]);
        let acts: Vec<String> =
            state.observe(&observations, at(second)).iter().map(|t| format!("{:?}", t.signal)).collect();
        let conditions: Vec<&str> = state.conditions(at(second)).iter().map(|c| c.name()).collect();
        text += &format!("{second}: {} [{}]\n", acts.join(" "), conditions.join(" "));
    }
    expect![[r"
        0:  []
        10:  [MemoryPressure]
        40:  [MemoryPressure]
        50:  [MemoryPressure]
        100: NodeFsAvailable [DiskPressure MemoryPressure]
        110: MemoryAvailable NodeFsAvailable [DiskPressure MemoryPressure]
        120: NodeFsAvailable [DiskPressure MemoryPressure]
        130:  [DiskPressure MemoryPressure]
        429:  []
        430:  []
    "]]
    .assert_eq(&text);
}

fn pod(name: &str, priority: i32, requests: Value) -> Arc<Pod> {
    let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
    let volumes = json!([{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]);
    let spec = json!({"priority": priority, "containers": containers, "volumes": volumes});
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).expect("a pod"))
}

/// `memory`, `root`, `logs`, `volume` in units that only compare; the memory volume must never count.
fn usage(memory: i64, root: i64, logs: i64, volume: i64, processes: i64) -> Usage {
    let disk = |bytes| Disk { bytes, inodes: bytes / 10 };
    Usage {
        working_set_bytes: memory,
        processes,
        containers: vec![Container { name: "c".into(), working_set_bytes: memory, root: disk(root), logs: disk(logs) }],
        volumes: [("v".to_owned(), disk(volume)), ("m".to_owned(), disk(1_000_000))].into(),
        others: Disk::default(),
    }
}

#[test]
fn who_goes_first_depends_on_what_is_short() {
    let pods = [
        pod("thrifty", 0, json!({"memory": "1000", "ephemeral-storage": "10000"})),
        pod("memory-hog", 0, json!({})),
        pod("layer-hog", 0, json!({})),
        pod("log-hog", 0, json!({})),
        pod("volume-hog", 0, json!({})),
        pod("fork-bomb", 0, json!({})),
        pod("dear", 100, json!({})),
    ];
    let usages: Usages = [
        ("thrifty", usage(900, 900, 900, 900, 1)),
        ("memory-hog", usage(800, 10, 10, 10, 1)),
        ("layer-hog", usage(10, 800, 10, 10, 1)),
        ("log-hog", usage(10, 10, 800, 10, 1)),
        ("volume-hog", usage(10, 10, 10, 1800, 1)),
        ("fork-bomb", usage(10, 10, 10, 10, 900)),
        ("dear", usage(1000, 5000, 5000, 5000, 5000)),
    ]
    .map(|(name, usage)| (name.to_owned(), usage))
    .into();
    let mut text = String::new();
    for (signal, dedicated) in [
        (Signal::MemoryAvailable, false),
        (Signal::PidAvailable, false),
        (Signal::NodeFsAvailable, false),
        (Signal::ImageFsInodesFree, false),
        (Signal::NodeFsAvailable, true),
        (Signal::NodeFsInodesFree, true),
        (Signal::ImageFsAvailable, true),
    ] {
        let mut order = pods.to_vec();
        rank::rank(&mut order, signal, &usages, dedicated);
        let names: Vec<&str> = order.iter().map(|p| pod::name(p)).collect();
        text += &format!("{signal:?} {dedicated}: {}\n", names.join(" "));
    }
    expect![[r"
        MemoryAvailable false: memory-hog layer-hog log-hog volume-hog fork-bomb dear thrifty
        PidAvailable false: fork-bomb thrifty memory-hog layer-hog log-hog volume-hog dear
        NodeFsAvailable false: volume-hog layer-hog log-hog memory-hog fork-bomb dear thrifty
        ImageFsInodesFree false: thrifty volume-hog layer-hog log-hog memory-hog fork-bomb dear
        NodeFsAvailable true: volume-hog log-hog memory-hog layer-hog fork-bomb dear thrifty
        NodeFsInodesFree true: volume-hog thrifty log-hog memory-hog layer-hog fork-bomb dear
        ImageFsAvailable true: layer-hog memory-hog log-hog volume-hog fork-bomb dear thrifty
    "]]
    .assert_eq(&text);
    // Of whom nothing is known goes before all others.
    let mut order = vec![pods[1].clone(), pod("unknown", 100, json!({}))];
    rank::rank(&mut order, Signal::MemoryAvailable, &usages, false);
    assert_eq!(pod::name(&order[0]), "unknown");
}

#[test]
fn limits_of_a_pods_own() {
    const MIB: i64 = 1 << 20;
    let disk = |mib: i64| Disk { bytes: mib * MIB, inodes: 1 };
    let container = |name: &str, limit: Option<&str>| json!({"name": name, "resources": {"limits": limit.map(|l| json!({"ephemeral-storage": l}))}});
    let spec = |containers: Value, size: Option<&str>| json!({"containers": containers, "volumes": [{"name": "v", "emptyDir": {"sizeLimit": size}}]});
    let used = |root: i64, logs: i64, volume: i64| Usage {
        containers: vec![Container { name: "a".into(), working_set_bytes: 0, root: disk(root), logs: disk(logs) }],
        volumes: [("v".to_owned(), disk(volume))].into(),
        others: disk(1),
        ..Usage::default()
    };
    let one = || json!([container("a", Some("10Mi"))]);
    let two = || json!([container("a", Some("10Mi")), container("b", Some("20Mi"))]);
    let rows = [
        ("no limit", spec(json!([container("a", None)]), None), used(500, 500, 500), false),
        ("within all", spec(one(), Some("8Mi")), used(1, 1, 7), false),
        ("the volume", spec(one(), Some("8Mi")), used(1, 1, 9), false),
        ("the pod", spec(two(), None), used(5, 5, 20), false),
        ("a container", spec(two(), None), used(9, 2, 0), false),
        ("a layer elsewhere", spec(two(), None), used(9, 2, 0), true),
        ("logs alone", spec(two(), None), used(0, 11, 0), true),
        (
            "a pod of which one has a limit",
            spec(json!([container("a", None), container("b", Some("1Mi"))]), None),
            used(1, 1, 1),
            false,
        ),
    ];
    let mut text = String::new();
    for (what, spec, usage, dedicated) in rows {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
        let limited = message::has_own_limit(&pod);
        let message = message::over_own_limit(&pod, &usage, dedicated).unwrap_or_else(|| "stays".into());
        text += &format!("{what} ({limited}): {message}\n");
    }
    expect![[r#"
        no limit (false): stays
        within all (true): stays
        the volume (true): Usage of EmptyDir volume "v" exceeds the limit "8Mi". 
        the pod (true): Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. 
        a container (true): Container a exceeded its local ephemeral storage limit "10Mi". 
        a layer elsewhere (true): stays
        logs alone (true): Container a exceeded its local ephemeral storage limit "10Mi". 
        a pod of which one has a limit (true): Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. 
    "#]]
    .assert_eq(&text);
}

#[test]
fn the_message_blames_containers_that_use_more_than_they_asked_for() {
    let spec = json!({"containers": [
        {"name": "a", "resources": {"requests": {"memory": "1Mi"}}},
        {"name": "b", "resources": {"requests": {"memory": "100Mi"}}}, {"name": "c"},
    ]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
    let container = |name: &str| Container { name: name.into(), working_set_bytes: 3 << 20, ..Container::default() };
    let usage = Usage { containers: ["a", "b", "c"].map(container).into(), ..Usage::default() };
    let file =
        KubeletConfiguration { eviction_hard: map(&[("memory.available", "10%")]), ..KubeletConfiguration::default() };
    let thresholds = threshold::thresholds(&file).expect("thresholds");
    let observed = Observation { available: 50 << 20, capacity: 1000 << 20 };
    let observations = Observations::from([(Signal::MemoryAvailable, observed)]);
    assert_eq!(
        message::node_low(Resource::Memory, &pod, Some(&usage), &thresholds, &observations),
        "The node was low on resource: memory. Threshold quantity: 104857601, available: 50Mi. \
         Container a was using 3Mi, request is 1Mi, has larger consumption of memory. \
         Container c was using 3Mi, request is 0, has larger consumption of memory. "
    );
}

const FULL: machine::Disk = machine::Disk { available: 1 << 30, ..FakeGauges::ROOMY };

async fn started(change: impl FnOnce(&mut crate::config::Config)) -> TestNode {
    let node = TestNode::with(change).await;
    let thresholds = threshold::thresholds(&node.agent.config.file).expect("thresholds");
    node.run("eviction", move |agent| super::run(agent, thresholds.clone()));
    node
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_pod_that_fills_it() {
    let node = started(|_| {}).await;
    node.pod("memory-hog", json!({"containers": [{"name": "m"}]}));
    node.pod("disk-hog", json!({"containers": [{"name": "d"}]}));
    node.until("both run", |n| n.ready("memory-hog", "m") && n.ready("disk-hog", "d")).await;
    {
        let mut world = node.runtime.world();
        world.figures.insert(
            "m".into(),
            Figures { working_set_bytes: 4 << 30, layer_bytes: 1 << 20, layer_inodes: 9, ..Figures::default() },
        );
        world.figures.insert(
            "d".into(),
            Figures { working_set_bytes: 1 << 20, layer_bytes: 5 << 30, layer_inodes: 9, ..Figures::default() },
        );
        world.images.insert("old:1".into(), 7);
    }
    *node.gauges.disk.lock() = FULL;
    node.until("one is ended", |n| n.phase("disk-hog") == "Failed").await;
    let status = node.status("disk-hog");
    assert_eq!(status["reason"], "Evicted");
    // A share of the capacity; the container's layer, and what its log takes.
    let message = status["message"].as_str().expect("a message");
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    let blamed = message.split("available: 1Gi. ").nth(1).expect("what is left");
    assert!(blamed.starts_with("Container d was using 52428"), "{message}");
    assert!(blamed.ends_with("Ki, request is 0, has larger consumption of ephemeral-storage. "), "{message}");
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let target = conditions.iter().find(|c| c["type"] == "DisruptionTarget").expect("the condition");
    assert_eq!((&target["reason"], &target["status"]), (&json!("TerminationByKubelet"), &json!("True")));
    assert!(node.agent.health.read().disk_pressure);
    *node.gauges.disk.lock() = FakeGauges::ROOMY;
    node.until("it is over", |n| n.agent.is_over("disk-hog")).await;
    assert_eq!(node.phase("memory-hog"), "Running");
    let events = node.api.events();
    assert!(
        events.contains(&"Warning EvictionThresholdMet: Attempting to reclaim ephemeral-storage".to_owned()),
        "{events:?}"
    );
    // The condition outlasts what caused it by five minutes, and keeps new pods away.
    node.simple_pod("late");
    node.until("it is refused", |n| n.phase("late") == "Failed").await;
    assert_eq!(node.status("late")["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
    tokio::time::sleep(Duration::from_secs(320)).await;
    assert!(!node.agent.health.read().disk_pressure);
}

#[tokio::test(start_paused = true)]
async fn unused_images_go_before_pods() {
    let node = started(|_| {}).await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    node.runtime.world().images.insert("old:1".into(), 7);
    // The image has to be seen for a while before it counts as unused.
    crate::housekeeping::images::remove_unused(&node.agent).await;
    assert!(node.runtime.world().calls_of("RemoveImage").is_empty());
    tokio::time::sleep(Duration::from_secs(130)).await;
    // Long enough for the test to say meanwhile what it brought.
    node.runtime.world().rule(testkit_cri::Rule::on("RemoveImage").takes(Duration::from_secs(2)));
    let images = node.folder.path().join("images");
    node.runtime.world().image_mount.clone_from(&images);
    node.gauges.disks.lock().insert(images.clone(), (2, FULL));
    node.until("it is removed", |n| !n.runtime.world().calls_of("RemoveImage").is_empty()).await;
    node.gauges.disks.lock().insert(images, (2, FakeGauges::ROOMY));
    assert_eq!(node.runtime.world().calls_of("RemoveImage"), ["RemoveImage id-old:1"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.phase("p"), "Running");
}

#[tokio::test(start_paused = true)]
async fn process_numbers_and_memory_that_run_out_end_pods() {
    let pids = |config: &mut crate::config::Config| {
        config.file.eviction_hard = map(&[("pid.available", "10%"), ("memory.available", "1Gi")]);
    };
    let node = started(pids).await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    node.gauges.tasks.lock().running = 32_000;
    node.until("it is ended", |n| n.phase("p") == "Failed").await;
    assert_eq!(
        node.status("p")["message"],
        "The node was low on resource: pids. Threshold quantity: 3276, available: 768. "
    );
    assert!(node.agent.health.read().pid_pressure);
    node.gauges.tasks.lock().running = 500;
    tokio::time::sleep(Duration::from_secs(400)).await;

    node.pod("q", json!({"containers": [{"name": "c"}]}));
    node.until("it runs", |n| n.ready("q", "c")).await;
    node.gauges.memory.lock().available = 1 << 20;
    node.until("it is ended", |n| n.phase("q") == "Failed").await;
    assert!(node.agent.health.read().memory_pressure && !node.agent.health.read().pid_pressure);
    assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 2", "StopContainer c 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_over_its_own_limit_is_ended_and_no_other() {
    let node = started(|_| {}).await;
    let limited = json!({"name": "c", "resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    node.pod("container", json!({"containers": [limited, {"name": "d"}]}));
    node.pod(
        "volume",
        json!({"containers": [{"name": "e"}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}),
    );
    node.simple_pod("other");
    node.until("all run", |n| n.ready("container", "c") && n.ready("volume", "e") && n.ready("other", "c")).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(node.phase("volume"), "Running");
    // What is measured of logs and volumes is on the disk.
    let line = format!("2026-01-01T00:00:00Z stdout F {}\n", "x".repeat(1000));
    let log = node.runtime.world().container("container", "c").expect("a container").log_path.clone();
    std::fs::write(log, line.repeat(2000)).expect("written");
    let volume = node.agent.config.root_dir.join("pods/volume/volumes/kubernetes.io~empty-dir/v");
    std::fs::write(volume.join("data"), vec![1; 2 << 20]).expect("written");
    node.until("both are ended", |n| n.phase("container") == "Failed" && n.phase("volume") == "Failed").await;
    let told = |pod: &str| node.status(pod)["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(told("container"), "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ");
    assert_eq!(told("volume"), "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.phase("other"), "Running");
    assert!(!node.agent.health.read().disk_pressure);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_node_that_panics_is_not_the_last() {
    let node = started(|_| {}).await;
    node.pod("hog", json!({"containers": [{"name": "m"}]}));
    node.until("it runs", |n| n.ready("hog", "m")).await;
    // Once in the loop itself, once in what it has measured on another thread.
    node.traps.set("image_fs", 1);
    node.until("it panicked", |n| n.traps.left("image_fs") == 0).await;
    node.gauges.panics.store(1, std::sync::atomic::Ordering::Relaxed);
    node.until("it panicked", |n| n.gauges.panics.load(std::sync::atomic::Ordering::Relaxed) == 0).await;
    node.gauges.memory.lock().available = 1 << 20;
    node.until("the pod is evicted", |n| n.status("hog")["reason"] == "Evicted").await;
}
