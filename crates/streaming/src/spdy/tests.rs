//! Golden frames, a client against a server, and decoders on arbitrary bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::{io, time::Duration};

use expect_test::{Expect, expect};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::frame::{Control, HEAD_BYTES, Head};
use super::headers::{Deflater, Inflater, MAX_BLOCK_BYTES};
use super::*;

fn headers(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("streamtype"), HeaderValue::from_static(kind))])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn decode(wire: &[u8], inflater: &mut Inflater) -> Result<Option<Control>, Error> {
    match Head::parse(wire[..HEAD_BYTES].try_into().unwrap())? {
        Head::Control { kind, flags, len } => {
            assert_eq!(len, wire.len() - HEAD_BYTES);
            Control::decode(kind, flags, &wire[HEAD_BYTES..], inflater)
        }
        Head::Data { .. } => Ok(None),
    }
}

/// The bytes of a frame, and that they decode to it.
#[track_caller]
fn check(frame: Control, wire: Expect) {
    let mut bytes = Vec::new();
    frame.encode(&mut Deflater::default(), &mut bytes);
    wire.assert_eq(&hex(&bytes));
    assert_eq!(decode(&bytes, &mut Inflater::default()).unwrap(), Some(frame));
}

#[test]
fn frames_without_headers() {
    check(Control::RstStream { id: 3, status: 5 }, expect!["80030003000000080000000300000005"]);
    check(Control::Ping(7), expect!["800300060000000400000007"]);
    check(Control::GoAway { last: 9, status: 0 }, expect!["80030007000000080000000900000000"]);
    check(Control::WindowUpdate { id: 1, delta: 65536 }, expect!["80030009000000080000000100010000"]);
    check(Control::Settings(vec![(1, 7, 65536)]), expect!["800300040000000c000000010100000700010000"]);
    let mut head = Vec::new();
    Head::put_data(5, true, 258, &mut head);
    assert_eq!(hex(&head), "0000000501000102");
    assert_eq!(Head::parse(&head.try_into().unwrap()).unwrap(), Head::Data { id: 5, fin: true, len: 258 });
}

/// SYN_STREAM, SYN_REPLY and HEADERS as upstream's peers (spdystream v0.5.1, Go's zlib) wrote them on one connection.
#[test]
fn frames_with_headers_of_a_go_peer() {
    let frames = include_str!("testdata/go_frames.txt");
    let mut inflater = Inflater::default();
    let got: Vec<String> =
        frames.lines().map(|line| format!("{:?}", decode(&unhex(line), &mut inflater).unwrap().unwrap())).collect();
    expect![[r#"
        SynStream { id: 1, associated: 0, priority: 0, fin: false, unidirectional: false, headers: {"streamtype": "error"} }
        SynStream { id: 3, associated: 0, priority: 0, fin: true, unidirectional: false, headers: {"streamtype": "stdin"} }
        SynReply { id: 5, fin: false, headers: {} }
        Headers { id: 1, fin: false, headers: {"port": "8080", "port": "8081"} }"#]]
    .assert_eq(&got.join("\n"));
}

#[test]
fn header_blocks_share_one_stream() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    let mut sizes = Vec::new();
    for kind in ["error", "stdin", "stdout", "stderr", "resize", "stdin"] {
        let block = deflater.encode(&headers(kind));
        sizes.push(block.len());
        assert_eq!(inflater.decode(&block).unwrap(), headers(kind));
    }
    assert!(sizes[5] < sizes[0], "{sizes:?}");
    assert!(inflater.decode(b"garbage").is_err());
}

#[test]
fn a_block_that_inflates_without_end_is_refused() {
    let mut headers = HeaderMap::new();
    headers.insert("a", HeaderValue::from_str(&"x".repeat(MAX_BLOCK_BYTES)).unwrap());
    let block = Deflater::default().encode(&headers);
    assert!(block.len() < 2000);
    assert!(Inflater::default().decode(&block).is_err());
}

proptest! {
    #[test]
    fn decoders_never_panic(wire in prop::collection::vec(any::<u8>(), HEAD_BYTES..200), kind in 0u8..12) {
        let mut wire = wire;
        let _ = Head::parse(wire[..HEAD_BYTES].try_into().unwrap());
        let _ = Control::decode(u16::from(kind), wire[4], &wire[HEAD_BYTES..], &mut Inflater::default());
        // The same behind a valid start of the compressed stream.
        let mut inflater = Inflater::default();
        inflater.decode(&Deflater::default().encode(&headers("x"))).unwrap();
        wire[0] = 0;
        let _ = inflater.decode(&wire);
    }

    #[test]
    fn a_connection_outlives_no_garbage(wire in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut peer, io) = tokio::io::duplex(64 << 10);
            let connection = Connection::new(io, Role::Server, Limits::default());
            peer.write_all(&wire).await.unwrap();
            peer.shutdown().await.unwrap();
            while connection.accept().await.is_some() {}
            connection.closed().await;
        });
    }
}

fn pair(limits: Limits) -> (Connection, Connection) {
    let (a, b) = tokio::io::duplex(4096);
    (Connection::new(a, Role::Client, limits.clone()), Connection::new(b, Role::Server, limits))
}

#[tokio::test]
async fn streams_carry_data_both_ways_and_half_close() {
    let (client, server) = pair(Limits::default());
    let echo = tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let kind = incoming.headers()["streamtype"].clone();
            let (mut read, mut write) = incoming.accept().split();
            tokio::spawn(async move {
                write.write_all(kind.as_bytes()).await.unwrap();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
        }
    });
    let big: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    let one = client.open(headers("one")).await.unwrap();
    let two = client.open(headers("two")).await.unwrap();
    assert_eq!((one.id(), two.id()), (1, 3));
    let talk = async |stream: Stream, data: &[u8]| {
        let (mut read, mut write) = stream.split();
        let mut got = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                write.write_all(data).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut got)
        );
        sent.unwrap();
        read.unwrap();
        got
    };
    let (first, second) = tokio::join!(talk(one, &big), talk(two, b"!"));
    assert_eq!((&first[..3], &first[3..] == big.as_slice()), (&b"one"[..], true));
    assert_eq!(second, b"two!");
    client.close().await;
    echo.await.unwrap();
}

#[tokio::test]
async fn streams_can_be_refused_reset_and_limited() {
    let (client, server) = pair(Limits { streams: 2, ..Limits::default() });
    let (opened, incoming) = tokio::join!(client.open(headers("no")), async { drop(server.accept().await.unwrap()) });
    let () = incoming;
    assert!(matches!(opened, Err(Error::Refused(_))));

    let accept = async || server.accept().await.unwrap().accept();
    let (one, mut far) = tokio::join!(client.open(headers("one")), accept());
    let one = one.unwrap();
    far.write_all(b"last words").await.unwrap();
    far.reset();
    let mut words = String::new();
    let (mut read, mut write) = one.split();
    read.read_to_string(&mut words).await.unwrap();
    assert_eq!(words, "last words");
    assert!(write.write_all(b"x").await.is_err());

    let (_a, _b) = tokio::join!(client.open(headers("a")), accept());
    let (_c, _d) = tokio::join!(client.open(headers("c")), accept());
    assert!(matches!(client.open(headers("e")).await, Err(Error::TooManyStreams)));
}

#[tokio::test]
async fn a_lost_connection_is_an_error_and_a_goodbye_is_not() {
    let (a, b) = tokio::io::duplex(4096);
    let client = Connection::new(a, Role::Client, Limits::default());
    let (opened, mut wire) = tokio::join!(client.open(headers("x")), reply(b));
    let mut stream = opened.unwrap();
    wire.write_all(&[0, 0, 0, 1, 0, 0, 0, 2, b'h', b'i']).await.unwrap();
    drop(wire);
    let mut got = String::new();
    assert_eq!(stream.read_to_string(&mut got).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

    let (client, server) = pair(Limits::default());
    let (opened, far) = tokio::join!(client.open(headers("x")), async { server.accept().await.unwrap().accept() });
    server.close().await;
    drop(far);
    assert_eq!(opened.unwrap().read_to_string(&mut got).await.unwrap(), 0);
    client.closed().await;
    assert!(matches!(client.open(headers("y")).await, Err(Error::Closed)));
}

/// Reads one SYN_STREAM off the wire and accepts it.
async fn reply(mut wire: DuplexStream) -> DuplexStream {
    let mut head = [0; HEAD_BYTES];
    wire.read_exact(&mut head).await.unwrap();
    let Head::Control { kind: 1, len, .. } = Head::parse(&head).unwrap() else { panic!("not a SYN_STREAM") };
    let mut payload = vec![0; len];
    wire.read_exact(&mut payload).await.unwrap();
    let mut out = Vec::new();
    Control::SynReply { id: 1, fin: false, headers: HeaderMap::new() }.encode(&mut Deflater::default(), &mut out);
    wire.write_all(&out).await.unwrap();
    wire
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer() {
    let limits = Limits { stream_buffer_bytes: 64 << 10, write_buffer_bytes: 64 << 10, ..Limits::default() };
    let (client, server) = pair(limits);
    let (opened, far) = tokio::join!(client.open(headers("x")), async { server.accept().await.unwrap().accept() });
    let (_read, mut write) = opened.unwrap().split();
    let mut sent = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(200), write.write(&[0; 8192])).await {
        sent += n.unwrap();
        assert!(sent < 1 << 20, "the writer was never stopped");
    }
    let (mut read, _write) = far.split();
    let drain = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap() });
    write.write_all(&[0; 8192]).await.unwrap();
    write.shutdown().await.unwrap();
    assert_eq!(drain.await.unwrap(), sent as u64 + 8192);
}

#[tokio::test(start_paused = true)]
async fn pings_are_echoed_and_idle_connections_close() {
    let (a, mut wire) = tokio::io::duplex(4096);
    let limits = Limits { ping_every: Some(Duration::from_secs(5)), ..Limits::default() };
    let _client = Connection::new(a, Role::Client, limits);
    let mut frame = [0; 12];
    for id in [1u8, 3] {
        wire.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame, [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, id]);
    }
    wire.write_all(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]).await.unwrap();
    wire.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[11], 2);

    let (client, server) = pair(Limits { idle_timeout: Some(Duration::from_secs(60)), ..Limits::default() });
    client.closed().await;
    server.closed().await;
}

#[tokio::test]
async fn a_flood_of_pings_that_nobody_reads_ends_the_connection() {
    let (a, wire) = tokio::io::duplex(64);
    let server = Connection::new(a, Role::Server, Limits::default());
    let (_read, mut write) = tokio::io::split(wire);
    let flood = async { while write.write_all(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]).await.is_ok() {} };
    tokio::select! { () = flood => {}, _ = server.accept() => {} }
    assert!(server.accept().await.is_none());
}

/// A transport of which one way panics, from when it is told to.
struct Panicking {
    inner: DuplexStream,
    read: Arc<AtomicBool>,
    write: Arc<AtomicBool>,
}

impl AsyncRead for Panicking {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        assert!(!self.read.load(Ordering::SeqCst), "a read panics");
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Panicking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.write.load(Ordering::SeqCst), "a write panics");
        Pin::new(&mut self.inner).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(!self.write.load(Ordering::SeqCst), "a shutdown panics");
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How often a task of that name has panicked.
fn panics(task: &str) -> u64 {
    let line = format!("ferry_task_panics_total{{task=\"{task}\"}} ");
    component::supervisor::metrics().lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_task_ends_the_connection_and_its_streams() {
    for (task, way) in [("spdy-read", 0), ("spdy-write", 1)] {
        let told = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        let (near, far) = tokio::io::duplex(1 << 16);
        let near = Panicking { inner: near, read: told[0].clone(), write: told[1].clone() };
        let client = Connection::new(near, Role::Client, Limits::default());
        let server = Connection::new(far, Role::Server, Limits::default());
        let (opened, theirs) =
            tokio::join!(client.open(headers("stdin")), async { server.accept().await.unwrap().accept() });
        let (mut stream, mut theirs) = (opened.unwrap(), theirs);
        let before = panics(task);
        told[way].store(true, Ordering::SeqCst);
        // Wakes the one or the other.
        let (_, _) = tokio::join!(theirs.write_all(b"x"), stream.write_all(b"x"));
        let ended = tokio::time::timeout(Duration::from_secs(300), async {
            client.closed().await;
            while stream.read_u8().await.is_ok() {}
            assert!(client.open(headers("stdin")).await.is_err(), "{task}");
        });
        ended.await.unwrap_or_else(|_| panic!("{task}: a stream waits for a connection that is gone"));
        assert!(panics(task) > before, "{task} has a name");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_clock_panics_is_closed() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    // No instant is so far away.
    let client = Connection::new(near, Role::Client, Limits { ping_every: Some(Duration::MAX), ..Limits::default() });
    tokio::time::timeout(Duration::from_secs(300), client.closed()).await.expect("it is closed");
    assert_eq!(panics("spdy-time"), 1);
}
