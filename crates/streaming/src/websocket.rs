//! The server's side of WebSocket: the opening handshake and Kubernetes' channel subprotocols.
//!
//! In a channel subprotocol each message is one byte that names the channel, and data. Exec and attach use channels
//! 0 to 4; version 5 adds the signal 255, by which the client half-closes a channel (what `kubectl exec -i` needs to
//! end a `cat`). The base64 variants carry the same in text messages, with the channel as a digit.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Largest message that a client may send.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// The signal of version 5 that a channel is half-closed.
const CLOSE_CHANNEL: u8 = 255;

/// Channels of exec and attach.
pub mod channel {
    /// Input.
    pub const STDIN: u8 = 0;
    /// Output.
    pub const STDOUT: u8 = 1;
    /// Errors of the command.
    pub const STDERR: u8 = 2;
    /// The outcome: a `Status` (version 4 and later) or text.
    pub const ERROR: u8 = 3;
    /// Terminal sizes, as JSON.
    pub const RESIZE: u8 = 4;
}

/// A channel subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in `Sec-WebSocket-Protocol`.
    pub name: &'static str,
    /// Text messages in base64.
    pub base64: bool,
    /// Knows signal 255.
    pub half_close: bool,
    /// The error channel carries a `Status` also on success, else text on failure only.
    pub status: bool,
}

/// Version 5, kubectl's.
pub const V5: Protocol = Protocol { name: "v5.channel.k8s.io", base64: false, half_close: true, status: true };
/// Version 4, most other clients'.
pub const V4: Protocol = Protocol { name: "v4.channel.k8s.io", base64: false, half_close: false, status: true };
/// Version 4 in text messages.
pub const V4_BASE64: Protocol =
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, half_close: false, status: true };
/// The first version.
pub const V1: Protocol = Protocol { name: "channel.k8s.io", base64: false, half_close: false, status: false };
/// The first version in text messages.
pub const V1_BASE64: Protocol =
    Protocol { name: "base64.channel.k8s.io", base64: true, half_close: false, status: false };
/// Every channel subprotocol, best first.
pub const REMOTECOMMAND: &[Protocol] = &[V5, V4, V4_BASE64, V1, V1_BASE64];

/// The first of the client's protocols that is among `supported`.
pub fn choose(offered: &[String], supported: &[Protocol]) -> Option<Protocol> {
    offered.iter().find_map(|name| supported.iter().find(|protocol| protocol.name == name)).copied()
}

/// Whether a request asks for an upgrade to WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The subprotocols that a request offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    tokens(headers, SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect()
}

fn tokens(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The headers of the answer 101 to a WebSocket request.
///
/// # Errors
/// What is wrong with the request (it deserves 400).
pub fn accept(request: &HeaderMap, protocol: Option<&str>) -> Result<HeaderMap, &'static str> {
    if !is_upgrade(request) {
        return Err("not a websocket upgrade request");
    }
    if request.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("unsupported websocket version");
    }
    let key = request.get(SEC_WEBSOCKET_KEY).ok_or("missing Sec-WebSocket-Key")?;
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
        return Err("malformed Sec-WebSocket-Key");
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).expect("base64 is a valid header"));
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_str(protocol).map_err(|_| "malformed subprotocol")?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(headers)
}

/// The server's side over a connection whose handshake is done.
pub async fn server<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_MESSAGE_BYTES * 2)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// Sends the closing frame of a normal end; gives up on a client that takes nothing.
pub async fn say_goodbye<S: Sink<Message> + Unpin>(sink: &mut S) {
    let close = Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    let _ = tokio::time::timeout(Duration::from_secs(10), async {
        let _ = sink.send(close).await;
        let _ = sink.close().await;
    })
    .await;
}

/// What a client's message means.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Data for a channel.
    Data(u8, Bytes),
    /// The client sends no more on this channel.
    Finished(u8),
    /// Nothing to do: an empty message, or one of WebSocket's own.
    Nothing,
    /// The client leaves, or broke the protocol.
    Gone,
}

impl Protocol {
    /// Reads a message.
    pub fn decode(&self, message: Message) -> Event {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return Event::Gone,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Event::Nothing,
        };
        if data.is_empty() {
            return Event::Nothing;
        }
        let first = data.split_to(1)[0];
        if self.half_close && first == CLOSE_CHANNEL {
            return if data.len() == 1 && data[0] <= channel::RESIZE { Event::Finished(data[0]) } else { Event::Gone };
        }
        if !self.base64 {
            return Event::Data(first, data);
        }
        match STANDARD.decode(&data) {
            Ok(plain) => Event::Data(first.wrapping_sub(b'0'), plain.into()),
            Err(_) => Event::Nothing, // as upstream: logged there, the message is skipped
        }
    }

    /// Makes a message for a channel.
    pub fn encode(&self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
            text.push(char::from(b'0' + channel));
            STANDARD.encode_string(data, &mut text);
            return Message::Text(text.into());
        }
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(data);
        Message::Binary(message.freeze())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The client's side, for tests.
    pub(crate) async fn client<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
        WebSocketStream::from_raw_socket(io, Role::Client, None).await
    }

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn answers_the_handshake_of_the_standard() {
        let request = request(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ]);
        let chosen = choose(&offered(&request), REMOTECOMMAND).unwrap();
        assert_eq!(chosen, V5);
        let answer = accept(&request, Some(chosen.name)).unwrap();
        assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn refuses_other_handshakes() {
        let good = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for bad in
            [("connection", "close"), ("upgrade", "h2c"), ("sec-websocket-version", "8"), ("sec-websocket-key", "x")]
        {
            let mut headers = request(&good);
            headers.extend(request(&[bad]));
            headers.insert(http::HeaderName::from_static(bad.0), HeaderValue::from_static(bad.1));
            assert!(accept(&headers, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn channels_in_every_encoding() {
        for protocol in REMOTECOMMAND {
            let message = protocol.encode(1, b"foo\n");
            assert_eq!(protocol.decode(message), Event::Data(1, Bytes::from_static(b"foo\n")), "{}", protocol.name);
            assert_eq!(protocol.decode(protocol.encode(2, b"")), Event::Data(2, Bytes::new()));
        }
        assert_eq!(V1_BASE64.encode(1, b"\n"), Message::Text("1Cg==".into()));
        assert_eq!(V5.decode(Message::Binary(vec![255, 0].into())), Event::Finished(0));
        assert_eq!(V5.decode(Message::Binary(vec![255].into())), Event::Gone);
        assert_eq!(V5.decode(Message::Binary(vec![255, 9].into())), Event::Gone);
        assert_eq!(V4.decode(Message::Binary(vec![255, 0].into())), Event::Data(255, vec![0].into()));
        assert_eq!(V5.decode(Message::Binary(Bytes::new())), Event::Nothing);
        assert_eq!(V1_BASE64.decode(Message::Text("1!".into())), Event::Nothing);
    }
}
