use super::*;
use crate::testing::TestNode;
use tower::ServiceExt;

async fn ask(node: &TestNode, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let answer = routes().with_state(node.agent.clone()).oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
    (status, String::from_utf8_lossy(&body).trim_end().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_made_again_is_another_one() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    for path in
        ["/exec/n/p/older/c?command=ls&output=1", "/attach/n/p/older/c?output=1", "/portForward/n/p/older?port=80"]
    {
        assert_eq!(ask(&node, "POST", path).await, (404, "pod not found".into()), "{path}");
    }
    assert_eq!(ask(&node, "POST", "/run/n/p/older/c?cmd=ls").await, (404, "pod not found".into()));
    assert!(node.runtime.world().calls_of("Exec").is_empty() && node.runtime.world().calls_of("ExecSync").is_empty());
    // With its uid, or none, they reach the runtime, which has no streams to give.
    let unserved = "rpc error: code = Unimplemented desc = the fake runtime serves no streams";
    for path in [
        "/exec/n/p/p/c?command=ls&output=1",
        "/exec/n/p/c?command=ls&command=-l&output=1",
        "/attach/n/p/p/c?output=1",
        "/portForward/n/p/p?port=80",
    ] {
        assert_eq!(ask(&node, "POST", path).await, (500, unserved.into()), "{path}");
    }
    assert_eq!(node.runtime.world().calls_of("Exec"), ["Exec c ls", "Exec c ls -l"]);
    assert_eq!(ask(&node, "POST", "/run/n/p/p/c?cmd=ls").await.0, 200);
    assert_eq!(ask(&node, "POST", "/exec/n/q/c?command=ls&output=1").await, (404, "pod does not exist".into()));
    let missing = "container not found (\"d\")";
    assert_eq!(ask(&node, "POST", "/exec/n/p/d?command=ls&output=1").await, (500, missing.into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_says_so() {
    let node = TestNode::with(|config| config.file.enable_system_log_handler = false).await;
    let get = async |node: &TestNode, path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = super::super::routes(node.agent.clone()).oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
        (status, String::from_utf8_lossy(&body).trim_end().to_owned())
    };
    assert_eq!(get(&node, "/logs/messages").await, (405, "logs endpoint is disabled.".into()));
    let node = TestNode::with(|config| config.file.enable_debugging_handlers = false).await;
    for path in ["/exec/n/p/c", "/containerLogs/n/p/c", "/logs/", "/run/n/p/c"] {
        assert_eq!(get(&node, path).await, (405, "Debug endpoints are disabled.".into()), "{path}");
    }
    let node = TestNode::with(|config| config.node_log_dir = config.root_dir.join("log")).await;
    std::fs::create_dir_all(node.agent.config.node_log_dir.join("apt")).expect("made");
    std::fs::write(node.agent.config.node_log_dir.join("messages"), "hello").expect("written");
    assert_eq!(get(&node, "/logs/messages").await, (200, "hello".into()));
    assert_eq!(get(&node, "/logs/apt").await.0, 301);
    let (status, listing) = get(&node, "/logs/").await;
    assert!(status == 200 && listing.contains("<a href=\"messages\">messages</a>"), "{listing}");
    assert_eq!(get(&node, "/logs/none").await, (404, "404 page not found".into()));
}
