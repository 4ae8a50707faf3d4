//! How a server that ends, or wants its clients to spread, takes leave of them: on the wire.

use std::time::Duration;

use anyhow::Context;
use testkit::Process;
use tokio::io::AsyncWriteExt;

use crate::wire::{DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RESET, Wire, headers};

/// More than the default, so that no answer waits for room.
const WINDOW: u32 = 1 << 20;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(wire: &mut Wire, stream: u32, path: &str) -> anyhow::Result<()> {
    wire.send(HEADERS, END_HEADERS | END_STREAM, stream, &headers("GET", path, "token", &[])).await
}

/// The frames until the server has closed the connection.
async fn rest(wire: &mut Wire) -> anyhow::Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let all = async {
        while let Ok(Some(frame)) = wire.next().await {
            if frame.kind == crate::wire::PING && frame.flags == 0 {
                wire.send(frame.kind, crate::wire::ACK, 0, &frame.body).await?;
            }
            frames.push(frame);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.context("the connection stays open")??;
    Ok(frames)
}

fn ended(frames: &[Frame], stream: u32) -> bool {
    frames.iter().any(|f| f.stream == stream && f.flags & END_STREAM != 0 && matches!(f.kind, HEADERS | DATA))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn now_and_then_a_request_is_its_connections_last() -> anyhow::Result<()> {
    let server = Process::start(None, &["--goaway-chance=0.02"]).await?;
    let mut requests = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::h2(&server, WINDOW).await?;
        // A watch on the same connection goes on.
        ask(&mut wire, 1, &format!("{MAPS}?watch=true&timeoutSeconds=2")).await?;
        let mut stream = 1;
        loop {
            stream += 2;
            // 49 times in 50 there is another; 2,000 times is never.
            anyhow::ensure!(stream < 4_000, "no GOAWAY");
            ask(&mut wire, stream, "/version").await?;
            let of_request = |f: &Frame| f.kind == GOAWAY || f.stream == stream && f.flags & END_STREAM != 0;
            if wire.until(of_request).await?.kind == GOAWAY {
                break;
            }
        }
        requests.push(stream / 2);
        let frames = rest(&mut wire).await?;
        assert!(frames.iter().all(|f| f.kind != RESET), "{frames:?}");
        assert!(ended(&frames, 1), "the watch ends by itself: {frames:?}");
    }
    println!("connections ended after {requests:?} requests");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_connected_when_a_server_ends_is_told() -> anyhow::Result<()> {
    let mut server = Process::start(None, &["--shutdown-delay-duration=1s"]).await?;
    let admin = server.admin()?;
    let mut idle = Wire::h2(&server, WINDOW).await?;
    ask(&mut idle, 1, "/version").await?;
    idle.until(|f| f.stream == 1 && f.flags & END_STREAM != 0).await?;
    let mut watching = Wire::h2(&server, WINDOW).await?;
    ask(&mut watching, 1, &format!("{MAPS}?watch=true")).await?;
    watching.until(|f| f.stream == 1 && f.kind == HEADERS).await?;
    let mut old = Wire::connect(&server, "http/1.1").await?;
    let ending = tokio::spawn(async move {
        server.terminate().await?;
        anyhow::Ok(server)
    });
    // Not ready, and still there for those who ask.
    while admin.get("/readyz").await?.code == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(admin.get("/livez").await?.code, 200);
    assert_eq!(admin.get(MAPS).await?.code, 200);
    old.0.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\n\r\n").await?;
    let answer = tokio::time::timeout(Duration::from_secs(20), old.rest()).await?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");

    let frames = rest(&mut idle).await?;
    assert!(frames.iter().any(|f| f.kind == GOAWAY), "{frames:?}");
    let frames = rest(&mut watching).await?;
    assert!(frames.iter().any(|f| f.kind == GOAWAY) && ended(&frames, 1), "{frames:?}");
    assert!(frames.iter().all(|f| f.kind != RESET), "{frames:?}");
    ending.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_requests_are_under_way_others_are_told_to_come_again() -> anyhow::Result<()> {
    let mut server = Process::start(None, &["--shutdown-send-retry-after"]).await?;
    let admin = server.admin()?;
    let mut slow = Wire::h2(&server, WINDOW).await?;
    let more = [("content-type", "application/json")];
    slow.send(HEADERS, END_HEADERS, 1, &headers("POST", MAPS, "token", &more)).await?;
    slow.send(DATA, 0, 1, br#"{"metadata": {"name": "slow"}"#).await?;
    // It has been let in once another one of the connection is answered.
    ask(&mut slow, 3, "/version").await?;
    slow.until(|f| f.stream == 3 && f.flags & END_STREAM != 0).await?;
    let ending = tokio::spawn(async move {
        server.terminate().await?;
        anyhow::Ok(server)
    });
    let refused = loop {
        let answer = admin.raw(http::Method::GET, MAPS, &[], Vec::new()).await?;
        if answer.code != 200 {
            break answer;
        }
    };
    assert_eq!((refused.code, refused.header("retry-after")), (429, "5"));
    let text = String::from_utf8_lossy(&refused.bytes);
    assert!(text.contains("The apiserver is shutting down, please try again later."), "{text}");
    assert_eq!((admin.get("/livez").await?.code, admin.get("/readyz").await?.code), (200, 500));
    slow.send(DATA, END_STREAM, 1, b"}").await?;
    slow.until(|f| f.stream == 1 && f.kind == HEADERS).await?;
    let mut server = ending.await??;
    assert!(admin.get("/livez").await.is_err());
    server.start_again().await?;
    assert_eq!(admin.get(&format!("{MAPS}/slow")).await?.code, 200);
    Ok(())
}
