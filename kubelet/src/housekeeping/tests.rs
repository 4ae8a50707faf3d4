use super::*;
use crate::testing::{FakeGauges, TestNode};
use std::time::Duration;
use testkit_cri::{Program, Rule};
use tokio::time::sleep;
use tonic::Code;

#[tokio::test(start_paused = true)]
async fn what_the_api_server_forgot_is_ended_within_a_minute() {
    let node = TestNode::new().await;
    node.runtime.world().programs.insert("image".into(), Program::stubborn());
    node.simple_pod("q");
    node.until("it runs", |n| n.ready("q", "c")).await;
    // As a kubelet before this one left it: nobody knows the pod but the runtime and the disk.
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let names = [label(labels::POD_UID, "p"), label(labels::POD_NAME, "p"), label(labels::POD_NAMESPACE, "n")];
    let config = cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata { name: "p".into(), uid: "p".into(), ..Default::default() }),
        labels: names.clone().into(),
        ..Default::default()
    };
    let sandbox = node.agent.runtime.run_sandbox(config.clone(), "").await.expect("run");
    let container = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(cri::ImageSpec { user_specified_image: "image".into(), ..Default::default() }),
        labels: names.into_iter().chain([label(labels::CONTAINER_NAME, "c")]).collect(),
        annotations: [label(labels::TERMINATION_GRACE, "7")].into(),
        ..Default::default()
    };
    let id = node.agent.runtime.create_container(&sandbox, container, config).await.expect("created");
    node.agent.runtime.start_container(&id).await.expect("started");
    let folder = node.agent.config.root_dir.join("pods/p");
    fs::create_dir_all(folder.join("volumes")).expect("made");
    node.until("nothing is left", |n| n.runtime.world().container("p", "c").is_none() && !folder.exists()).await;
    assert!(node.seconds() < 80, "{}", node.seconds());
    assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 7"]);
    assert!(node.runtime.world().runs("q", "c"));
    let removers = volumes::tests::removers(&folder);
    assert!(!removers.is_empty() && !removers.contains(&std::thread::current().id()), "{removers:?}");
}

#[tokio::test(start_paused = true)]
async fn of_dead_containers_the_newest_is_kept() {
    let node = TestNode::new().await;
    node.runtime.world().programs.insert("image:latest".into(), Program::ends(Duration::from_secs(1), 1));
    node.simple_pod("p");
    node.until("it died some times", |n| n.container("p", "c")["restartCount"] == 4).await;
    sleep(Duration::from_secs(130)).await;
    let world = node.runtime.world();
    let left: Vec<&str> = world.containers.iter().map(testkit_cri::Container::name).collect();
    assert!(left.len() <= 2, "{left:?}");
    assert!(!world.calls_of("RemoveContainer").is_empty());
}

#[tokio::test(start_paused = true)]
async fn images_go_when_the_disk_fills_up_and_not_those_in_use() {
    let node = TestNode::with(|config| config.pinned_images = vec!["kept:1".into()]).await;
    node.run("image garbage collection", images::run);
    node.simple_pod("p");
    for (image, size) in [("large:1", 8 << 30), ("old:1", 1 << 30), ("kept:1", 1), ("registry/pause:3", 1)] {
        node.runtime.world().images.insert(image.into(), size);
    }
    node.until("it runs", |n| n.ready("p", "c")).await;
    sleep(Duration::from_secs(700)).await;
    assert!(node.runtime.world().calls_of("RemoveImage").is_empty());
    let mut disk = FakeGauges::ROOMY;
    disk.available = disk.capacity * 14 / 100;
    *node.gauges.disk.lock() = disk;
    node.runtime.world().rule(Rule::on("RemoveImage").about("id-large:1").fails(Code::Unknown, "in use").times(1));
    node.until("the failure is told", |n| n.api.events().iter().any(|e| e.contains("ImageGCFailed"))).await;
    node.until("both were tried", |n| n.runtime.world().calls_of("RemoveImage").len() >= 3).await;
    let mut tried: Vec<String> = node.runtime.world().calls_of("RemoveImage").iter().map(|c| (*c).to_owned()).collect();
    tried.sort();
    tried.dedup();
    assert_eq!(tried, ["RemoveImage id-large:1", "RemoveImage id-old:1"]);
}

#[tokio::test(start_paused = true)]
async fn large_logs_are_turned_over() {
    let node = TestNode::with(|config| config.file.container_log_max_size = "1Ki".into()).await;
    node.run("log rotation", logs::run);
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    let log = node.runtime.world().container("p", "c").expect("a container").log_path.clone();
    for _ in 0..40 {
        node.runtime.world().print("p", "c", "a line of some length");
    }
    node.until("it was turned over", |n| !n.runtime.world().calls_of("ReopenContainerLog").is_empty()).await;
    node.until("the new one is empty", |_| fs::metadata(&log).is_ok_and(|m| m.len() == 0)).await;
    let files = fs::read_dir(log.parent().expect("a folder")).expect("read").flatten().count();
    assert_eq!(files, 2);
}
