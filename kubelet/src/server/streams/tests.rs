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

const HANDSHAKE: &str = "Host: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n";

/// A connection to the kubelet's routes, which may be upgraded.
fn connect(node: &TestNode) -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = hyper_util::service::TowerToHyperService::new(routes().with_state(node.agent.clone()));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(served.with_upgrades());
    near
}

/// The head of a request or an answer.
async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    use tokio::io::AsyncReadExt;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

#[tokio::test]
async fn a_websocket_client_of_port_forward_is_handed_to_the_runtime_with_the_ports_it_names() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    for (query, why) in [
        ("", "query parameter \"port\" is required"),
        ("?port=", "query parameter \"port\" cannot be empty"),
        ("?port=80,x", "unable to parse \"80,x\" as a port: strconv.ParseUint: parsing \"x\": invalid syntax"),
        (
            "?port=65536",
            "unable to parse \"65536\" as a port: strconv.ParseUint: parsing \"65536\": value out of range",
        ),
        ("?port=0", "port \"0\" must be > 0"),
    ] {
        let request = Request::get(format!("/portForward/n/p{query}")).header(header::UPGRADE, "websocket");
        let request = request.header(header::CONNECTION, "Upgrade").body(Body::empty()).expect("a request");
        let answer = routes().with_state(node.agent.clone()).oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
        assert_eq!(String::from_utf8_lossy(&body).trim_end(), why);
    }

    let runtime = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = runtime.local_addr().expect("an address");
    node.runtime.world().streams = Some(format!("http://{address}/portforward/token"));
    let serve = async {
        let (mut stream, _) = runtime.accept().await.expect("the kubelet");
        let asked = head(&mut stream).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("answers");
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).await.expect("a frame");
        stream.write_all(&frame).await.expect("echoes");
        asked
    };
    let talk = async {
        let mut stream = connect(&node);
        let request = format!("GET /portForward/n/p?port=80%2C443&port=8080 HTTP/1.1\r\n{HANDSHAKE}");
        stream.write_all(request.as_bytes()).await.expect("asks");
        let answer = head(&mut stream).await;
        stream.write_all(b"ping").await.expect("sends");
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).await.expect("a frame");
        assert_eq!(&frame, b"ping");
        answer
    };
    let (asked, answer) = tokio::join!(serve, talk);
    assert!(asked.starts_with("get /portforward/token http/1.1\r\n"), "{asked}");
    for header in ["upgrade: websocket", "sec-websocket-key: dghlihnhbxbszsbub25jzq==", "v4.channel.k8s.io"] {
        assert!(asked.contains(header), "{header} in {asked}");
    }
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept") && answer.contains("v4.channel.k8s.io"), "{answer}");
    assert_eq!(node.runtime.world().calls_of("PortForward"), ["PortForward p 80 443 8080"]);
}
