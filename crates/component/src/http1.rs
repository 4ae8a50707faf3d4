//! The client's side of one HTTP/1.1 connection: what sends requests on it, and the task that drives it.
//!
//! For those who dial themselves, because a pool of connections would hide what they need: the stream behind an upgrade,
//! why a dial failed, which certificate is checked. The caller connects the stream, and wraps it in TLS.

use std::{error::Error, future::Future};

use hyper::{
    body::Body,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::supervisor::{Name, Supervisor, Task, detached};

/// Begins HTTP/1.1 on `stream`. A detached task of that name drives the connection until the peer closes it, its sender and
/// the body of its last answer are dropped, or an answer of 101 gives the stream to [`hyper::upgrade::on`].
///
/// # Errors
/// The connection was closed before it began. Whether the peer speaks HTTP shows with the first request.
pub async fn handshake<S, B>(name: impl Into<Name>, stream: S) -> hyper::Result<(SendRequest<B>, Task<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let name = name.into();
    let (sender, connection) = begin(name.clone(), stream).await?;
    Ok((sender, detached(name, connection)))
}

/// As [`handshake`], in a task of `owner`: the connection ends also when `owner` is stopped.
///
/// # Errors
/// As [`handshake`].
pub async fn handshake_under<S, B>(
    owner: &Supervisor,
    name: impl Into<Name>,
    stream: S,
) -> hyper::Result<(SendRequest<B>, Task<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let name = name.into();
    let (sender, connection) = begin(name.clone(), stream).await?;
    let stopped = owner.token();
    let connection = async move { stopped.run_until_cancelled(connection).await.unwrap_or_default() };
    Ok((sender, owner.one_shot(name, connection)))
}

/// The sender, and what drives the connection to its end.
async fn begin<S, B>(
    name: Name,
    stream: S,
) -> hyper::Result<(SendRequest<B>, impl Future<Output = ()> + Send + 'static)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = async move {
        // Who waits for an answer has the same error.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%name, %error, "an HTTP connection ended");
        }
    };
    Ok((sender, driven))
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Reads a request's head, and answers.
    async fn answers(peer: &mut DuplexStream, answer: &str) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(peer.read_u8().await.unwrap());
        }
        peer.write_all(answer.as_bytes()).await.unwrap();
    }

    fn request() -> Request<String> {
        Request::get("/").header("host", "peer").body(String::new()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_ends_when_nobody_can_send_any_more() {
        let (near, mut far) = duplex(1024);
        let (mut sender, task) = handshake("connection", near).await.unwrap();
        let (answer, ()) =
            tokio::join!(sender.send_request(request()), answers(&mut far, "HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
        assert!(!task.is_finished());
        drop(sender);
        task.await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "the peer is told");
    }

    #[tokio::test]
    async fn an_upgrade_takes_the_stream() {
        let (near, mut far) = duplex(1024);
        let (mut sender, task) = handshake("connection", near).await.unwrap();
        let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\nmore";
        let (answer, ()) = tokio::join!(sender.send_request(request()), answers(&mut far, switching));
        let mut stream = TokioIo::new(hyper::upgrade::on(answer.unwrap()).await.unwrap());
        task.await.unwrap();
        let mut text = [0; 4];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"more");
    }

    #[tokio::test]
    async fn an_owner_that_is_stopped_ends_its_connections() {
        let (owner, (near, mut far)) = (Supervisor::new(), duplex(1024));
        let (mut sender, task) = handshake_under(&owner, "connection", near).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send_request(request()).await });
        far.read_u8().await.unwrap();
        owner.stop();
        task.await.unwrap();
        waiting.await.unwrap().unwrap_err();
        owner.finish().await.unwrap();
    }
}
