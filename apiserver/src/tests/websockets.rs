//! WebSocket clients of logs and of port-forward in its older form, with a kubelet that answers as it is told.

use std::sync::Arc;

use endpoints::connect::Nodes;
use futures::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use writes::admission::Chain;

use super::Client;
use model::user::UserInfo;

/// A kubelet on loopback: logs are two lines, and forwarded ports an echo.
struct Kubelet {
    port: u16,
    nodes: Nodes,
}

impl Kubelet {
    async fn start() -> Self {
        let resolver = component::tls::resolver(None, "node").expect("a pair");
        let server = component::tls::server_config(resolver, None).expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { answer(acceptor.accept(stream).await.expect("TLS")).await });
            }
        });
        let nodes = Nodes { address_types: vec!["InternalIP".into()], ..super::no_nodes() };
        Self { port, nodes }
    }
}

async fn answer(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    if head.starts_with("GET /containerLogs/default/p/c?follow=true ") {
        let body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n";
        stream.write_all(body.as_bytes()).await.expect("answers");
        return;
    }
    assert!(head.starts_with("GET /portForward/default/p?port=80%2C443 "), "{head}");
    let accept = derive_accept_key(header("sec-websocket-key").expect("a key").as_bytes());
    let protocol = header("sec-websocket-protocol").map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let switching = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        protocol.unwrap_or_default()
    );
    stream.write_all(switching.as_bytes()).await.expect("answers");
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.expect("echoes");
        }
    }
}

/// A server with a pod `p` on a node of that kubelet.
async fn server(kubelet: &Kubelet) -> Client {
    let mut client = Client::with(Chain::default(), kubelet.nodes.clone()).await;
    let node = json!({ "metadata": { "name": "n" } });
    let (code, mut node) = client.json(Method::POST, "/api/v1/nodes", node).await;
    assert_eq!(code, StatusCode::CREATED, "{node}");
    node["status"] = json!({
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.port } },
    });
    let (code, node) = client.json(Method::PUT, "/api/v1/nodes/n/status", node).await;
    assert_eq!(code, StatusCode::OK, "{node}");
    let pod = json!({ "metadata": { "name": "p" },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "c" }] } });
    let (code, pod) = client.json(Method::POST, "/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, StatusCode::CREATED, "{pod}");
    client
}

/// A WebSocket to a subresource of the pod, and the protocol that was chosen.
async fn open(
    client: &Client,
    subresource: &str,
    protocols: &str,
) -> Result<(WebSocketStream<DuplexStream>, Option<String>), Error> {
    let user = UserInfo { name: "tester".into(), ..UserInfo::default() };
    let stream = client.running.in_process(user).connect().await.expect("connects");
    let url = format!("ws://server/api/v1/namespaces/default/pods/p/{subresource}");
    let mut request = url.into_client_request()?;
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("a header"));
    }
    let (socket, answer) = tokio_tungstenite::client_async(request, stream).await?;
    let chosen = answer.headers().get("sec-websocket-protocol").map(|v| v.to_str().expect("text").to_owned());
    Ok((socket, chosen))
}

#[tokio::test]
async fn logs_come_in_messages() {
    let kubelet = Kubelet::start().await;
    let client = server(&kubelet).await;
    for (offered, expected) in [
        ("", None),
        ("binary.k8s.io", Some("binary.k8s.io")),
        ("x, base64.binary.k8s.io", Some("base64.binary.k8s.io")),
    ] {
        let (mut socket, chosen) = open(&client, "log?follow=true", offered).await.expect("a WebSocket");
        assert_eq!(chosen.as_deref(), expected);
        let base64 = expected == Some("base64.binary.k8s.io");
        let mut messages = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(_) => break,
                Message::Text(text) if base64 => messages.push(text.to_string()),
                Message::Binary(data) if !base64 => messages.push(String::from_utf8(data.into()).expect("text")),
                other => panic!("{offered}: {other:?}"),
            }
        }
        assert_eq!(messages[0], "", "the first message says that the connection stands");
        let lines = if base64 { "b25lCg==dHdvCg==" } else { "one\ntwo\n" };
        assert_eq!(messages.concat(), lines, "{offered}");
    }
    let refused = open(&client, "log?follow=true", "v4.channel.k8s.io").await;
    assert!(matches!(&refused, Err(Error::Http(answer)) if answer.status() == StatusCode::FORBIDDEN), "{refused:?}");
}

#[tokio::test]
async fn port_forward_in_its_older_form_reaches_the_kubelet() {
    let kubelet = Kubelet::start().await;
    let client = server(&kubelet).await;
    for (query, offered, message) in [
        ("ports=80&ports=443", "v4.channel.k8s.io", Message::Binary(vec![0, 1, 2].into())),
        ("ports=80,443", "v4.base64.channel.k8s.io", Message::Text("0AQI=".into())),
        ("ports=80,443", "", Message::Binary(vec![2, 9].into())),
    ] {
        let path = format!("portforward?{query}");
        let (mut socket, chosen) = open(&client, &path, offered).await.expect("a WebSocket");
        assert_eq!(chosen.unwrap_or_default(), offered);
        socket.send(message.clone()).await.expect("sends");
        assert_eq!(socket.next().await.expect("a message").expect("no fault"), message);
    }
    let refused = open(&client, "portforward?ports=x", "v4.channel.k8s.io").await;
    assert!(matches!(&refused, Err(Error::Http(answer)) if answer.status() == StatusCode::BAD_REQUEST), "{refused:?}");
}
