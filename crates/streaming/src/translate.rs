//! Exec and attach of a WebSocket client, against a server that speaks SPDY: upstream's StreamTranslator.
//!
//! The client's handshake is answered before the server is asked (the client must be told of a failure on its error
//! channel, where it looks for it). Output ends first, then the error stream says how it went; that `Status` is passed
//! on as it is. Losing the server is a failure, never a success.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::copy::Activity;
use crate::dial::{Dialled, internal_error};
use crate::spdy::{Connection, ReadHalf, Stream, WriteHalf};
use crate::websocket::{self, Event, Protocol, channel};

/// Upstream's limit for connections on which nothing happens.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// Largest outcome that is read from the error stream.
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// Which streams the request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors; carried by the output if there is a terminal.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// Serves a client whose handshake chose `protocol`, with the connection that `server` yields, until either is done.
/// If `server` fails, its `Status` is what the client gets. Returns the outcome, for logs and metrics.
pub async fn translate_exec<C, F>(client: C, protocol: Protocol, options: Options, server: F) -> Value
where
    C: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<Dialled, Value>>,
{
    let (mut sink, mut source) = websocket::server(client).await.split();
    let (out, mut queue) = mpsc::channel::<Message>(8);
    let activity = Activity::new();
    let write = async {
        while let Some(message) = queue.recv().await {
            activity.touch();
            if sink.send(message).await.is_err() {
                return;
            }
            activity.touch();
        }
        websocket::say_goodbye(&mut sink).await;
    };
    let serve = async {
        let outcome = run(&mut source, out.clone(), protocol, options, server, &activity).await;
        if let Some(outcome) = &outcome {
            let text = match (protocol.status, outcome["status"] == "Success") {
                (true, _) => outcome.to_string(),
                (false, true) => String::new(),
                (false, false) => outcome["message"].as_str().unwrap_or("unknown error").to_owned(),
            };
            if !text.is_empty() {
                let _ = out.send(protocol.encode(channel::ERROR, text.as_bytes())).await;
            }
        }
        drop(out);
        outcome.unwrap_or_else(|| internal_error("the client closed the connection"))
    };
    tokio::pin!(write);
    let outcome = tokio::select! {
        outcome = serve => outcome,
        () = &mut write => return internal_error("the client closed the connection"),
        () = activity.idle_for(Some(IDLE_TIMEOUT)) => internal_error("the connection was idle"),
    };
    // What is queued, and the goodbye, still go out; a client that does not read does not hold us.
    let _ = tokio::time::timeout(Duration::from_secs(10), write).await;
    outcome
}

/// The session proper. `None` if the client went away.
async fn run<R, F>(
    source: &mut R,
    out: mpsc::Sender<Message>,
    protocol: Protocol,
    options: Options,
    server: F,
    activity: &Activity,
) -> Option<Value>
where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
    F: Future<Output = Result<Dialled, Value>>,
{
    // An empty message on the first channel that is written tells the client that the connection stands.
    let first = match options {
        Options { stdout: true, .. } => channel::STDOUT,
        Options { stderr: true, .. } => channel::STDERR,
        _ => channel::ERROR,
    };
    out.send(protocol.encode(first, b"")).await.ok()?;
    let Dialled { connection, .. } = match server.await {
        Ok(dialled) => dialled,
        Err(status) => return Some(status),
    };
    let streams = match Streams::open(&connection, options).await {
        Ok(streams) => streams,
        Err(error) => return Some(internal_error(&error.to_string())),
    };
    let Streams { error, stdin, stdout, stderr, resize } = streams;
    let input = receive(source, protocol, stdin, resize, activity);
    let output = async {
        // The error stream is read meanwhile: a server may write it first.
        let (stdout, stderr, status) = tokio::join!(
            send(stdout, channel::STDOUT, protocol, &out),
            send(stderr, channel::STDERR, protocol, &out),
            read_status(error),
        );
        (stdout.is_ok() && stderr.is_ok()).then_some(status)
    };
    let outcome = tokio::select! {
        outcome = output => outcome,
        () = input => None,
    };
    // Ends what is left of the streams; nobody waits for it.
    drop(connection);
    outcome
}

struct Streams {
    error: Stream,
    stdin: Option<WriteHalf>,
    stdout: Option<ReadHalf>,
    stderr: Option<ReadHalf>,
    resize: Option<WriteHalf>,
}

impl Streams {
    /// Opens them in upstream's order, which older servers count on.
    async fn open(connection: &Connection, options: Options) -> Result<Streams, crate::spdy::Error> {
        let open = async |wanted: bool, kind: &'static str| {
            if !wanted {
                return Ok(None);
            }
            let mut headers = HeaderMap::new();
            headers.insert("streamtype", HeaderValue::from_static(kind));
            connection.open(headers).await.map(Some)
        };
        Ok(Streams {
            error: open(true, "error").await?.expect("wanted"),
            stdin: open(options.stdin, "stdin").await?.map(|stream| stream.split().1),
            stdout: open(options.stdout, "stdout").await?.map(|stream| stream.split().0),
            stderr: open(options.stderr && !options.tty, "stderr").await?.map(|stream| stream.split().0),
            resize: open(options.tty, "resize").await?.map(|stream| stream.split().1),
        })
    }
}

/// Feeds the client's messages to the server. Ends when the client is gone.
async fn receive<R>(
    source: &mut R,
    protocol: Protocol,
    mut stdin: Option<WriteHalf>,
    mut resize: Option<WriteHalf>,
    activity: &Activity,
) where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        activity.touch();
        let (number, data) = match protocol.decode(message) {
            Event::Data(number, data) => (number, Some(data)),
            Event::Finished(number) => (number, None),
            Event::Nothing => continue,
            Event::Gone => return,
        };
        let target = match number {
            channel::STDIN => &mut stdin,
            channel::RESIZE => &mut resize,
            _ => continue,
        };
        match (target.as_mut(), data) {
            // A server that takes no more input is not the client's end: output may follow.
            (Some(stream), Some(data)) => {
                if stream.write_all(&data).await.is_err() {
                    *target = None;
                }
            }
            (_, None) => *target = None,
            (None, Some(_)) => {}
        }
        activity.touch();
    }
}

/// Copies a stream of the server to a channel. `Err` if the client takes no more.
async fn send(
    stream: Option<ReadHalf>,
    number: u8,
    protocol: Protocol,
    out: &mpsc::Sender<Message>,
) -> Result<(), mpsc::error::SendError<Message>> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut buffer = vec![0; 32 << 10];
    loop {
        match stream.read(&mut buffer).await {
            // The error stream tells whether the end was a good one.
            Ok(0) | Err(_) => return Ok(()),
            Ok(n) => out.send(protocol.encode(number, &buffer[..n])).await?,
        }
    }
}

/// What the server says of the command: nothing at all means success, as upstream reads it.
async fn read_status(stream: Stream) -> Value {
    let (read, write) = stream.split();
    drop(write);
    let mut text = Vec::new();
    if let Err(error) = read.take(MAX_STATUS_BYTES).read_to_end(&mut text).await {
        return internal_error(&format!("error reading from error stream: {error}"));
    }
    if text.is_empty() {
        return json!({"metadata": {}, "status": "Success"});
    }
    match serde_json::from_slice::<Value>(&text) {
        Ok(status) if status["status"].is_string() => status,
        _ => internal_error(&String::from_utf8_lossy(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial;
    use crate::spdy::{Limits, Role};
    use crate::websocket::tests::client;
    use crate::websocket::{V1, V4_BASE64, V5};
    use tokio_tungstenite::WebSocketStream;

    const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

    /// A server that takes the streams of `options` in upstream's order, and does `command` with them.
    async fn serve<F>(connection: Connection, kinds: &[&str], command: impl FnOnce(Vec<Stream>) -> F)
    where
        F: Future<Output = ()>,
    {
        let mut streams = Vec::new();
        for kind in kinds {
            let incoming = connection.accept().await.unwrap();
            assert_eq!(incoming.headers()["streamtype"], *kind);
            streams.push(incoming.accept());
        }
        command(streams).await;
        connection.close().await;
    }

    fn spdy_pair() -> (Dialled, Connection) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let connection = Connection::new(near, Role::Client, Limits::default());
        let dialled = Dialled { connection, protocol: "v4.channel.k8s.io".into() };
        (dialled, Connection::new(far, Role::Server, Limits::default()))
    }

    /// All messages until the client is told goodbye, joined by channel.
    async fn collect<S>(ws: &mut WebSocketStream<S>, protocol: Protocol) -> Vec<String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut channels = vec![String::new(); 5];
        while let Some(Ok(message)) = ws.next().await {
            if matches!(&message, Message::Close(_)) {
                break;
            }
            if let Event::Data(number, data) = protocol.decode(message) {
                channels[number as usize].push_str(std::str::from_utf8(&data).unwrap());
            }
        }
        channels
    }

    #[tokio::test]
    async fn a_command_with_input_output_and_an_exit_code() {
        let exit = r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#;
        let (dialled, server) = spdy_pair();
        let command = serve(server, &["error", "stdin", "stdout", "stderr"], async |mut streams| {
            let mut input = String::new();
            streams[1].read_to_string(&mut input).await.unwrap();
            streams[2].write_all(input.to_uppercase().as_bytes()).await.unwrap();
            streams[3].write_all(b"oops").await.unwrap();
            streams[0].write_all(exit.as_bytes()).await.unwrap();
        });
        let (near, far) = tokio::io::duplex(1 << 16);
        let talk = async {
            let mut ws = client(near).await;
            assert_eq!(ws.next().await.unwrap().unwrap(), V5.encode(1, b""));
            ws.send(V5.encode(0, b"hello ")).await.unwrap();
            ws.send(V5.encode(0, b"world")).await.unwrap();
            ws.send(Message::Binary(vec![255, 0].into())).await.unwrap();
            collect(&mut ws, V5).await
        };
        let (outcome, (), got) = tokio::join!(translate_exec(far, V5, ALL, async { Ok(dialled) }), command, talk);
        assert_eq!(got, ["", "HELLO WORLD", "oops", exit, ""]);
        assert_eq!(outcome["reason"], "NonZeroExitCode");
    }

    #[tokio::test]
    async fn a_terminal_has_a_resize_stream_and_no_stderr() {
        let (dialled, server) = spdy_pair();
        let command = serve(server, &["error", "stdin", "stdout", "resize"], async |mut streams| {
            let mut size = [0; 24];
            streams[3].read_exact(&mut size).await.unwrap();
            streams[2].write_all(&size).await.unwrap();
        });
        let (near, far) = tokio::io::duplex(1 << 16);
        let talk = async {
            let mut ws = client(near).await;
            ws.send(V4_BASE64.encode(4, br#"{"Width":80,"Height":24}"#)).await.unwrap();
            collect(&mut ws, V4_BASE64).await
        };
        let options = Options { tty: true, ..ALL };
        let (_, (), got) = tokio::join!(translate_exec(far, V4_BASE64, options, async { Ok(dialled) }), command, talk);
        assert_eq!(got[1], r#"{"Width":80,"Height":24}"#);
        assert_eq!(got[3], r#"{"metadata":{},"status":"Success"}"#);
    }

    #[tokio::test]
    async fn failures_reach_the_client() {
        // The server can't be reached.
        let (near, far) = tokio::io::duplex(1 << 16);
        let talk = async { collect(&mut client(near).await, V5).await };
        let failed = async { Err(dial::refusal_status(b"container not found\n")) };
        let (_, got) = tokio::join!(translate_exec(far, V5, ALL, failed), talk);
        assert!(got[3].contains("unable to upgrade connection: container not found"), "{got:?}");

        // The server is lost on the way: with the first version, as text.
        let (near, far) = tokio::io::duplex(1 << 16);
        let (wire, lost) = tokio::io::duplex(1 << 16);
        let connection = Connection::new(wire, Role::Client, Limits::default());
        drop(lost);
        let talk = async { collect(&mut client(near).await, V1).await };
        let dialled = async { Ok(Dialled { connection, protocol: String::new() }) };
        let (_, got) = tokio::join!(translate_exec(far, V1, ALL, dialled), talk);
        assert_eq!(got[3], "Internal error occurred: connection closed");
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_session() {
        let (dialled, server) = spdy_pair();
        let command = serve(server, &["error", "stdin", "stdout", "stderr"], async |mut streams| {
            let mut rest = Vec::new();
            streams[1].read_to_end(&mut rest).await.unwrap();
        });
        let (near, far) = tokio::io::duplex(1 << 16);
        let talk = async {
            let mut ws = client(near).await;
            ws.next().await.unwrap().unwrap();
        };
        tokio::join!(translate_exec(far, V5, ALL, async { Ok(dialled) }), command, talk);
    }
}
