//! SPDY's bytes inside WebSocket binary messages: how kubectl 1.31 and later forwards ports.
//!
//! The client asks for the subprotocol `SPDY/3.1+portforward.k8s.io`; the server upgrades to SPDY behind it and copies.
//! Message boundaries mean nothing. Nobody here looks at the frames.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::copy::Activity;
use crate::websocket;

/// The prefix of tunnelling subprotocols; what follows is the stream protocol.
pub const PREFIX: &str = "SPDY/3.1+";

/// The stream protocols that a client offers to tunnel, as in upstream: `SPDY/3.1+<name>.k8s.io`.
pub fn offered(protocols: &[String]) -> Vec<&str> {
    protocols.iter().filter_map(|name| name.strip_prefix(PREFIX)).filter(|name| name.ends_with(".k8s.io")).collect()
}

/// Copies between a client's WebSocket (after its handshake) and a connection that speaks SPDY, until either ends.
///
/// # Errors
/// Either side fails, the client sends text, or nothing moves for `idle_timeout`.
pub async fn tunnel<C, U>(client: C, upstream: U, idle_timeout: Option<Duration>) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite,
{
    let (mut sink, mut source) = websocket::server(client).await.split();
    let (mut read, mut write) = tokio::io::split(upstream);
    let activity = Activity::new();
    let there = async {
        while let Some(message) = source.next().await {
            activity.touch();
            match message.map_err(io::Error::other)? {
                Message::Binary(data) => {
                    write.write_all(&data).await?;
                    write.flush().await?;
                }
                Message::Text(_) => return Err(io::Error::other("invalid message type received")),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        write.shutdown().await
    };
    let back = async {
        loop {
            let mut data = BytesMut::with_capacity(32 << 10);
            if read.read_buf(&mut data).await? == 0 {
                return Ok(());
            }
            activity.touch();
            sink.send(Message::Binary(data.freeze())).await.map_err(io::Error::other)?;
        }
    };
    let ended = tokio::select! {
        ended = there => ended,
        ended = back => ended,
        () = activity.idle_for(idle_timeout) => Err(io::ErrorKind::TimedOut.into()),
    };
    websocket::say_goodbye(&mut sink).await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::tests::client;

    #[tokio::test]
    async fn carries_bytes_both_ways_and_closes() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (inner, mut upstream) = tokio::io::duplex(1 << 16);
        let tunnel = tokio::spawn(tunnel(far, inner, None));
        let mut ws = client(near).await;
        ws.send(Message::Binary(vec![1, 2].into())).await.unwrap();
        ws.send(Message::Binary(vec![3].into())).await.unwrap();
        let mut got = [0; 3];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [1, 2, 3]);
        upstream.write_all(&[9, 8]).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::Binary(vec![9, 8].into()));
        drop(upstream);
        assert!(matches!(ws.next().await, Some(Ok(Message::Close(_)))));
        tunnel.await.unwrap().unwrap();
    }

    #[test]
    fn names_of_tunnelled_protocols() {
        let names = ["SPDY/3.1+portforward.k8s.io", "SPDY/3.1+evil", "v4.channel.k8s.io"].map(String::from);
        assert_eq!(offered(&names), ["portforward.k8s.io"]);
    }
}
