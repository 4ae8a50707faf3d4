//! Clients that mean no good, over real TLS: what they can take is bounded, and others are served meanwhile. The server is
//! a process of its own, so that its memory can be read.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use testkit::Caller;
use testkit::Process;
use tokio::io::AsyncWriteExt;
use wire::Wire;

mod wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What an honest client may have to wait while others attack: far more than it does, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Not a test: what the others start.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

/// An honest user's reads and writes, until the attack ends; the longest of them is told.
async fn served_during<T>(caller: &Caller, attack: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut attack = std::pin::pin!(attack);
    let honest = async {
        for turn in 0.. {
            let began = Instant::now();
            let body = json!({"metadata": {"generateName": "honest-"}, "data": {"turn": turn.to_string()}});
            let answer = tokio::time::timeout(PATIENCE, caller.send(Method::POST, MAPS, Some(&body))).await??;
            ensure!(answer.code == 201, "{answer:?}");
            let name = answer.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let answer = tokio::time::timeout(PATIENCE, caller.get(&format!("{MAPS}/{name}"))).await??;
            ensure!(answer.code == 200, "{answer:?}");
            ensure!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
        }
        Ok(())
    };
    let out = tokio::select! {
        out = attack.as_mut() => out?,
        fault = honest => { fault?; anyhow::bail!("unreachable: the honest client never stops by itself") }
    };
    // The same after it.
    let answer = tokio::time::timeout(PATIENCE, caller.get(MAPS)).await.context("after the attack")??;
    ensure!(answer.code == 200, "{answer:?}");
    Ok(out)
}

async fn allow_everyone(server: &Process) -> anyhow::Result<()> {
    let binding = json!({"metadata": {"name": "everyone"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let answer = server.admin()?.send(Method::POST, path, Some(&binding)).await?;
    ensure!(answer.code == 201, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn streams_that_are_opened_to_be_reset_end_the_connection() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let before = server.resident_kib()?;
    let told = served_during(&server.admin()?, async {
        let mut wire = Wire::h2(&server, 65_535).await?;
        let head = wire::headers("GET", MAPS, "token", &[]);
        for n in 0..10_000 {
            let stream = 2 * n + 1;
            let flags = wire::END_STREAM | wire::END_HEADERS;
            let mut frames = wire::frame(wire::HEADERS, flags, stream, &head);
            frames.extend(wire::frame(wire::RESET, 0, stream, &8_u32.to_be_bytes()));
            if wire.0.write_all(&frames).await.is_err() {
                break;
            }
        }
        // What the server did with it: it said to calm down, or it has served and forgotten all of them.
        let mut told = None;
        drop(wire.send(wire::PING, 0, 0, b"finished").await);
        while let Ok(Some(frame)) = wire.next().await {
            match frame.kind {
                wire::GOAWAY => told = Some(frame.body[7]),
                wire::PING if frame.flags & wire::ACK != 0 => break,
                _ => {}
            }
        }
        Ok(told)
    })
    .await?;
    assert!(matches!(told, None | Some(11)), "GOAWAY with {told:?}, not ENHANCE_YOUR_CALM");
    let grown = server.resident_kib()?.saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    Ok(())
}

#[tokio::test]
async fn headers_have_a_limit() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let before = server.resident_kib()?;
    served_during(&server.admin()?, async {
        // A header block that never ends.
        let mut wire = Wire::h2(&server, 65_535).await?;
        wire.send(wire::HEADERS, wire::END_STREAM, 1, &wire::headers("GET", MAPS, "token", &[])).await?;
        let piece = wire::header("x-flood", &"x".repeat(16_000));
        let mut sent = 0;
        while sent < 256 << 20 && wire.send(wire::CONTINUATION, 0, 1, &piece).await.is_ok() {
            sent += piece.len();
        }
        ensure!(sent < 64 << 20, "{sent} bytes of headers were taken");
        Ok(())
    })
    .await?;
    // One that does end is refused by itself; the connection goes on.
    let mut wire = Wire::h2(&server, 65_535).await?;
    let large = wire::header("x-large", &"x".repeat(16_000));
    wire.send(wire::HEADERS, wire::END_STREAM, 1, &wire::headers("GET", MAPS, "token", &[])).await?;
    for _ in 0..80 {
        wire.send(wire::CONTINUATION, 0, 1, &large).await?;
    }
    wire.send(wire::CONTINUATION, wire::END_HEADERS, 1, &[]).await?;
    let refused = wire.until(|frame| frame.stream == 1 && matches!(frame.kind, wire::HEADERS | wire::RESET)).await?;
    if refused.kind == wire::HEADERS {
        // 431, as HPACK writes it.
        assert!(refused.body.windows(3).any(|bytes| bytes == [0x69, 0x90, 0xff]), "{:x?}", refused.body);
    }
    // And HTTP/1.1: many are fine, more than a mebibyte is not.
    let ask = |count: usize, value: usize| {
        let more: String = (0..count).map(|n| format!("X-{n}: {}\r\n", "v".repeat(value))).collect();
        format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer token\r\n{more}\r\n")
    };
    for (count, value, code) in [(500, 10, "200"), (100, 16_000, "431")] {
        let mut wire = Wire::connect(&server, "http/1.1").await?;
        drop(wire.0.write_all(ask(count, value).as_bytes()).await);
        let answer = wire.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{count} headers of {value} bytes: {answer:.100}");
    }
    let grown = server.resident_kib()?.saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    Ok(())
}

#[tokio::test]
async fn idle_watchers_are_cheap() -> anyhow::Result<()> {
    const CONNECTIONS: u32 = 20;
    const STREAMS: u32 = 100;
    let server = Process::start(None, &[]).await?;
    let before = server.resident_kib()?;
    let path = format!("{MAPS}?watch=1&resourceVersion=0&allowWatchBookmarks=true");
    let head = wire::headers("GET", &path, "token", &[]);
    let mut wires = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut wire = Wire::h2(&server, 65_535).await?;
        for n in 0..STREAMS {
            wire.send(wire::HEADERS, wire::END_STREAM | wire::END_HEADERS, 2 * n + 1, &head).await?;
        }
        for _ in 0..STREAMS {
            wire.until(|frame| frame.kind == wire::HEADERS).await?;
        }
        // One more than the server allows is refused by itself.
        let extra = 2 * STREAMS + 1;
        wire.send(wire::HEADERS, wire::END_STREAM | wire::END_HEADERS, extra, &head).await?;
        wire.until(|frame| frame.kind == wire::RESET && frame.stream == extra).await?;
        wires.push(wire);
    }
    let each = server.resident_kib()?.saturating_sub(before) * 1024 / u64::from(CONNECTIONS * STREAMS);
    println!("{each} bytes a watcher");
    assert!(each < 24 * 1024, "{each} bytes a watcher");
    // All of them are there: they hear of one object, each.
    let answer = server.admin()?.send(Method::POST, MAPS, Some(&json!({"metadata": {"name": "news"}}))).await?;
    assert_eq!(answer.code, 201);
    for wire in &mut wires {
        let mut heard = 0;
        while heard < STREAMS {
            let frame = wire.until(|frame| frame.kind == wire::DATA && !frame.body.is_empty()).await?;
            heard += u32::from(String::from_utf8_lossy(&frame.body).contains("\"name\":\"news\""));
        }
    }
    Ok(())
}

#[tokio::test]
async fn connections_that_say_nothing_hold_up_nobody() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    served_during(&server.admin()?, async {
        let mut silent = Vec::new();
        for n in 0..200 {
            // No TLS, TLS and then nothing, half a request.
            silent.push(tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await?);
            if n % 4 == 0 {
                let mut wire = Wire::connect(&server, if n % 8 == 0 { "h2" } else { "http/1.1" }).await?;
                if n % 8 == 4 {
                    wire.0.write_all(b"GET /api HTTP/1.1\r\nHost").await?;
                }
                silent.push(wire.0.into_inner().0);
            }
        }
        Ok(silent)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_and_holds_up_nobody() -> anyhow::Result<()> {
    let flags = ["--request-timeout=3s", "--max-mutating-requests-inflight=8", "--max-requests-inflight=8"];
    let server = Process::start(None, &flags).await?;
    allow_everyone(&server).await?;
    let begun = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer joe\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{\"meta"
    );
    served_during(&server.caller("jane")?, async {
        let mut wires = Vec::new();
        for _ in 0..20 {
            let mut wire = Wire::connect(&server, "http/1.1").await?;
            wire.0.write_all(begun.as_bytes()).await?;
            wires.push(wire);
        }
        let mut codes = std::collections::BTreeMap::new();
        for wire in &mut wires {
            let answer = wire.rest().await;
            *codes.entry(answer.get(9..12).unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        // Half of the places were to be had: those that had one timed out, the others waited for nothing.
        ensure!(codes == [("429".to_owned(), 16), ("504".to_owned(), 4)].into(), "{codes:?}");
        Ok(())
    })
    .await?;
    let mut wire = Wire::h2(&server, 65_535).await?;
    let head = wire::headers("POST", MAPS, "joe", &[("content-type", "application/json")]);
    wire.send(wire::HEADERS, wire::END_HEADERS, 1, &head).await?;
    wire.send(wire::DATA, 0, 1, b"{").await?;
    let answer = wire.until(|frame| frame.stream == 1 && frame.kind == wire::DATA).await?;
    let status: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(status["message"], "Timeout: request did not complete within the allotted timeout");
    Ok(())
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_up_nobody() -> anyhow::Result<()> {
    let flags = ["--request-timeout=8s", "--max-requests-inflight=4"];
    let server = Process::start(None, &flags).await?;
    allow_everyone(&server).await?;
    let padding = "x".repeat(400_000);
    for n in 0..3 {
        let body = json!({"metadata": {"name": format!("large-{n}")}, "data": {"padding": padding}});
        ensure!(server.admin()?.send(Method::POST, MAPS, Some(&body)).await?.code == 201);
    }
    // A window of nothing: lists that are never sent, by two users, so that all places are taken.
    let mut wires = Vec::new();
    for token in ["jane", "joe"] {
        let mut wire = Wire::h2(&server, 0).await?;
        for n in 0..4 {
            let head = wire::headers("GET", MAPS, token, &[]);
            wire.send(wire::HEADERS, wire::END_STREAM | wire::END_HEADERS, 2 * n + 1, &head).await?;
        }
        for _ in 0..2 {
            wire.until(|frame| frame.kind == wire::HEADERS).await?;
        }
        wires.push(wire);
    }
    let answer = tokio::time::timeout(PATIENCE * 2, server.caller("ann")?.get(&format!("{MAPS}/large-0"))).await??;
    assert_eq!(answer.code, 200);
    Ok(())
}

#[tokio::test]
async fn bodies_have_a_limit_in_size_and_in_depth() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let admin = server.admin()?;
    let send = async |kind: &str, body: Vec<u8>| {
        let raw = admin.raw(Method::POST, MAPS, &[("content-type", kind)], body).await?;
        let status: Value = serde_json::from_slice(&raw.bytes)?;
        anyhow::Ok((raw.code, status["message"].as_str().unwrap_or_default().to_owned()))
    };
    let large = send("application/json", vec![b'a'; (3 << 20) + 1]).await?;
    assert_eq!(large, (413, "Request entity too large: limit is 3145728".into()));
    let deep =
        [br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":"#.to_vec(), vec![b'['; 1 << 20]]
            .concat();
    let (code, message) = send("application/json", deep).await?;
    let expect = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
    assert!(code == 400 && message.starts_with(expect), "{message}");
    assert!(message.ends_with(r#"exceeded max depth ({"apiVersion":"v1","kind":"Con ...)"#), "{message}");
    let deep = [b"data: ".to_vec(), b"{a: ".repeat(200_000)].concat();
    assert_eq!(send("application/yaml", deep).await?.0, 400);
    let mut bomb =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\na0: &a0 [lol, lol, lol, lol, lol, lol, lol]\n"
            .to_owned();
    for n in 1..10 {
        let all = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{all}]\n"));
    }
    let began = Instant::now();
    let (code, message) = send("application/yaml", bomb.into_bytes()).await?;
    assert_eq!(code, 400, "{message}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let expect = "the object provided is unrecognized (must be of type ConfigMap): yaml: document contains excessive aliasing \
                  (61706956657273696f6e3a2076310a6b696e643a20436f6e6669674d6170 ...)";
    assert_eq!(message, expect);
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_hears_why() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let mut wire = Wire::h2(&server, 65_535).await?;
    let head = wire::headers("POST", MAPS, "joe", &[("content-type", "application/json")]);
    wire.send(wire::HEADERS, wire::END_HEADERS, 1, &head).await?;
    wire.until(|frame| frame.stream == 1 && frame.flags & wire::END_STREAM != 0).await?;
    // The answer is there, and the client has more to send: it is not told to stop, which some take for a failure.
    wire.send(wire::DATA, wire::END_STREAM, 1, b"{}").await?;
    wire.send(wire::PING, 0, 0, b"finished").await?;
    let next = wire.until(|f| f.kind == wire::RESET || f.kind == wire::PING && f.flags & wire::ACK != 0).await?;
    assert_eq!(next.kind, wire::PING, "{next:?}");
    Ok(())
}
