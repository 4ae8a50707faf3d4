//! One stream of bytes to a WebSocket client that only reads, such as a log: upstream's `wsstream.Reader`.
//!
//! There are no channels: each message is a piece of the stream, as it is or in base64. The first message is empty and says
//! that the connection stands. What the client sends is ignored, until it closes the connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use crate::websocket;

/// Bytes of the stream in one message.
const PIECE_BYTES: usize = 32 << 10;

/// How pieces are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in `Sec-WebSocket-Protocol`; none where the client offered none.
    pub name: Option<&'static str>,
    /// Text messages in base64.
    pub base64: bool,
}

/// The named protocols.
pub const SUPPORTED: &[Protocol] = &[
    Protocol { name: Some("binary.k8s.io"), base64: false },
    Protocol { name: Some("base64.binary.k8s.io"), base64: true },
];

/// The first protocol of the client's that is known here; without any, pieces are binary.
///
/// # Errors
/// That it offers others only, in upstream's words.
pub fn choose(offered: &[String]) -> Result<Protocol, String> {
    if offered.is_empty() {
        return Ok(Protocol { name: None, base64: false });
    }
    let known = |name: &String| SUPPORTED.iter().find(|protocol| protocol.name == Some(name)).copied();
    offered.iter().find_map(known).ok_or_else(|| {
        let names: Vec<&str> = SUPPORTED.iter().filter_map(|protocol| protocol.name).collect();
        format!("requested protocol(s) are not supported: [{}]; supports [{}]", offered.join(" "), names.join(" "))
    })
}

/// Sends a stream to a client whose handshake is done, until it ends, fails, or the client leaves.
pub async fn send<C, B, E>(client: C, protocol: Protocol, body: B)
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let (mut sink, mut source) = websocket::server(client).await.split();
    let gone = async {
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                break;
            }
        }
    };
    let copy = async {
        let encode = |piece: Bytes| {
            if protocol.base64 { Message::Text(STANDARD.encode(&piece).into()) } else { Message::Binary(piece) }
        };
        sink.send(encode(Bytes::new())).await?;
        let mut body = body;
        while let Some(Ok(mut data)) = body.next().await {
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(PIECE_BYTES));
                sink.send(encode(piece)).await?;
            }
        }
        Ok::<(), tokio_tungstenite::tungstenite::Error>(())
    };
    tokio::select! {
        _ = copy => {}
        () = gone => {}
    }
    websocket::say_goodbye(&mut sink).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::tests::client;

    #[test]
    fn protocols_of_readers() {
        let choose = |names: &[&str]| choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(choose(&[]).map(|p| (p.name, p.base64)), Ok((None, false)));
        assert_eq!(choose(&["x", "base64.binary.k8s.io", "binary.k8s.io"]), Ok(SUPPORTED[1]));
        let refused = "requested protocol(s) are not supported: [v4.channel.k8s.io]; supports [binary.k8s.io base64.binary.k8s.io]";
        assert_eq!(choose(&["v4.channel.k8s.io"]), Err(refused.to_owned()));
    }

    #[tokio::test]
    async fn pieces_come_after_an_empty_message_and_the_end_is_a_close() {
        for (protocol, expected) in [
            (SUPPORTED[0], [Message::Binary(Bytes::new()), Message::Binary("ab\n".into())]),
            (SUPPORTED[1], [Message::Text("".into()), Message::Text("YWIK".into())]),
        ] {
            let (near, far) = tokio::io::duplex(1 << 10);
            let body = futures::stream::iter([Ok::<_, ()>(Bytes::from_static(b"ab\n"))]);
            let talk = async {
                let mut ws = client(near).await;
                for message in expected {
                    assert_eq!(ws.next().await.unwrap().unwrap(), message);
                }
                assert!(matches!(ws.next().await, Some(Ok(Message::Close(_)))));
            };
            tokio::join!(send(far, protocol, body), talk);
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_stream() {
        let (near, far) = tokio::io::duplex(1 << 10);
        let body = futures::stream::pending::<Result<Bytes, ()>>();
        let talk = async {
            let mut ws = client(near).await;
            ws.next().await.unwrap().unwrap();
            ws.send(Message::Text("ignored".into())).await.unwrap();
            ws.close(None).await.unwrap();
        };
        tokio::join!(send(far, SUPPORTED[0], body), talk);
    }
}
