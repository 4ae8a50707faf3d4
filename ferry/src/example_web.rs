//! `ferry example-web`: the web server of `examples/web.yaml`. Says which pod answers and what its ConfigMap says, is
//! ready at `/healthz`, and stops taking connections on SIGTERM while it finishes those it has. With `--get URL` it is the
//! client instead: a pod's own look at a Service.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the example mounts its ConfigMap.
const MESSAGE: &str = "/etc/web/message";

/// How long connections may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until a signal. `--port N`, 8080 by default.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let port = match argv.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => 8080,
        ["--port", port] => port.parse()?,
        ["--get", url] => {
            print!("{}", tokio::time::timeout(PATIENCE, get(url)).await??);
            return Ok(());
        }
        other => anyhow::bail!("unknown flag: {}", other.join(" ")),
    };
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
    let root = component::supervised();
    let (stopping, connections) = (root.stopping(), root.child_within("connections", DRAIN));
    println!("serving on port {port}");
    loop {
        let stream = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let told = connections.token();
        connections.one_shot("connection", async move {
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = told.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    root.finish().await?;
    println!("stopped");
    Ok(())
}

/// The body that a URL answers with.
async fn get(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse()?;
    let host = uri.host().unwrap_or_default();
    let mut stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", uri.path());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => anyhow::bail!("{url} answers {:?}", answer.lines().next().unwrap_or_default()),
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    println!("{} {}", request.method(), request.uri());
    let (code, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n".to_string()),
        _ => {
            let pod = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
            let message = std::fs::read_to_string(MESSAGE).unwrap_or_default();
            (StatusCode::OK, format!("{pod} {}\n", message.trim()))
        }
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    Ok(response)
}
