use super::*;
use crate::testing::TestNode;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::time::Duration;
use testkit_cri::Rule;
use tokio::time::{Instant, sleep};
use tonic::Code;

fn pod(name: &str) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"containers": []}}),
    )
    .expect("a pod")
}

fn container(image: &str, policy: &str) -> Container {
    serde_json::from_value(json!({"name": "c", "image": image, "imagePullPolicy": policy})).expect("a container")
}

async fn ensure(node: &TestNode, image: &str, policy: &str) -> Result<String, (&'static str, String)> {
    let sandbox = cri::PodSandboxConfig::default();
    let outcome = node.agent.images.ensure(&pod("p"), &container(image, policy), &[], &sandbox).await;
    outcome.map_err(|refused| (refused.reason, refused.message))
}

#[tokio::test(start_paused = true)]
async fn policies_decide_what_is_pulled() {
    let node = TestNode::new().await;
    node.runtime.world().registry.extend([("app:1".to_owned(), 10), ("image:latest".to_owned(), 20)]);
    assert_eq!(ensure(&node, "image", "IfNotPresent").await, Ok("id-image:latest".into()));
    assert_eq!(ensure(&node, "image", "Never").await, Ok("id-image:latest".into()));
    assert!(node.runtime.world().calls.is_empty());
    let message = "Container image \"app:1\" is not present with pull policy of Never";
    assert_eq!(ensure(&node, "app:1", "Never").await, Err(("ErrImageNeverPull", message.into())));
    assert_eq!(ensure(&node, "app:1", "IfNotPresent").await, Ok("id-app:1".into()));
    assert_eq!(ensure(&node, "image", "Always").await, Ok("id-image:latest".into()));
    assert_eq!(node.runtime.world().calls, ["PullImage app:1", "PullImage image:latest"]);
    let (reason, message) = ensure(&node, "App", "Always").await.expect_err("no name of an image");
    assert_eq!(reason, "InvalidImageName");
    assert!(message.ends_with("repository name (library/NAME) must be lowercase"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_is_tried_ever_more_seldom() {
    let node = TestNode::new().await;
    let (reason, message) = ensure(&node, "app:1", "Always").await.expect_err("not in the registry");
    assert_eq!(reason, "ErrImagePull");
    assert_eq!(
        message,
        "rpc error: code = NotFound desc = failed to pull and unpack image \"app:1\": app:1: not found"
    );
    let mut pulls = vec![0];
    let begin = Instant::now();
    while pulls.len() < 7 {
        sleep(Duration::from_secs(1)).await;
        match ensure(&node, "app:1", "Always").await.expect_err("not in the registry") {
            ("ErrImagePull", _) => pulls.push(begin.elapsed().as_secs()),
            (reason, message) => {
                assert_eq!(reason, "ImagePullBackOff");
                assert!(message.starts_with("Back-off pulling image \"app:1\": ErrImagePull: rpc error"), "{message}");
            }
        }
    }
    let gaps: Vec<u64> = pulls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [10, 20, 40, 80, 160, 300]);
    // Another pod's failures are its own.
    let sandbox = cri::PodSandboxConfig::default();
    let other = node.agent.images.ensure(&pod("q"), &container("app:1", "Always"), &[], &sandbox).await;
    assert_eq!(other.expect_err("not in the registry").reason, "ErrImagePull");
    node.runtime.world().registry.insert("app:1".into(), 1);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(ensure(&node, "app:1", "Always").await, Ok("id-app:1".into()));
}

#[tokio::test(start_paused = true)]
async fn pulls_wait_for_each_other() {
    for (serialized, expected) in [(true, 30), (false, 10)] {
        let node = TestNode::with(|config| config.file.serialize_image_pulls = serialized).await;
        node.runtime.world().registry.extend(["a:1", "b:1", "c:1"].map(|name| (name.to_owned(), 1)));
        node.runtime.world().rule(Rule::on("PullImage").takes(Duration::from_secs(10)));
        let begin = Instant::now();
        let pulls = ["a:1", "b:1", "c:1"].map(|image| ensure(&node, image, "Always"));
        let outcomes = futures::future::join_all(pulls).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(begin.elapsed().as_secs(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_tried_the_most_specific_first() {
    let node = TestNode::new().await;
    let pair = |user: &str| json!({"auth": STANDARD.encode(format!("{user}:secret"))});
    let auths =
        json!({"auths": {"reg.example": pair("wide"), "reg.example/team": pair("narrow"), "other": pair("other")}});
    let config = STANDARD.encode(auths.to_string());
    let secret: Value = json!({"metadata": {"name": "s"}, "data": {".dockerconfigjson": config}});
    let secret: Arc<Secret> = Arc::new(serde_json::from_value(secret).expect("a secret"));
    node.runtime.world().rule(Rule::on("PullImage").fails(Code::PermissionDenied, "not you").times(1));
    node.runtime.world().registry.insert("reg.example/team/app:1".into(), 1);
    let sandbox = cri::PodSandboxConfig::default();
    let container = container("reg.example/team/app:1", "Always");
    let outcome = node.agent.images.ensure(&pod("p"), &container, &[secret], &sandbox).await;
    assert_eq!(outcome, Ok("id-reg.example/team/app:1".into()));
    assert_eq!(
        node.runtime.world().calls,
        ["PullImage reg.example/team/app:1 narrow", "PullImage reg.example/team/app:1 wide"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_image_and_a_deletion_does_not() {
    let node = TestNode::with(|config| config.file.serialize_image_pulls = false).await;
    node.runtime.world().rule(Rule::on("PullImage").about("slow:1").takes(Duration::from_secs(3600)));
    node.pod("p", json!({"containers": [{"name": "c", "image": "missing:1"}]}));
    node.pod("s", json!({"containers": [{"name": "c", "image": "slow:1"}]}));
    node.until("it waits", |n| n.container("p", "c")["state"]["waiting"]["reason"] == "ImagePullBackOff").await;
    node.runtime.world().registry.insert("missing:1".into(), 1);
    node.until("it runs", |n| n.ready("p", "c")).await;
    for expected in [
        "Normal Pulling: Pulling image \"missing:1\"",
        "Normal BackOff: Back-off pulling image \"missing:1\"",
        "Normal Pulled: Successfully pulled image \"missing:1\" in 0s",
    ] {
        node.until("it is told", |n| n.api.events().iter().any(|e| e.starts_with(expected))).await;
    }
    node.api.delete_pod("s", 30);
    let begin = Instant::now();
    node.until("it is gone", |n| n.api.pod("s").is_none()).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
