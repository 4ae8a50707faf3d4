//! A client that no library would be: TLS to the server, and then whatever bytes one likes, as HTTP/1.1 or as frames of
//! HTTP/2.

use std::sync::Arc;

use anyhow::Context;
use testkit::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub body: Vec<u8>,
}

/// A connection.
pub struct Wire(pub TlsStream<TcpStream>);

impl Wire {
    pub async fn connect(server: &Process, protocol: &str) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in component::tls::certificates(&server.authority()?)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", server.port())).await?;
        let stream = TlsConnector::from(Arc::new(tls)).connect("127.0.0.1".try_into()?, stream).await?;
        Ok(Self(stream))
    }

    /// A connection that speaks HTTP/2 already, with that window for each answer.
    pub async fn h2(server: &Process, window: u32) -> anyhow::Result<Self> {
        let mut wire = Self::connect(server, "h2").await?;
        wire.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        wire.send(SETTINGS, 0, 0, &settings).await?;
        wire.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await?;
        Ok(wire)
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, body)).await?;
        Ok(())
    }

    /// The next frame; `None` where the server has closed.
    pub async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let [a, b, c, kind, flags, w, x, y, z] = head;
        let mut body = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut body).await?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes([w, x, y, z]), body }))
    }

    /// Reads until a frame of that kind, acknowledging on the way what must be.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> anyhow::Result<Frame> {
        loop {
            let frame = self.next().await?.context("the server closed the connection")?;
            if wanted(&frame) {
                return Ok(frame);
            }
            if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                let body = if frame.kind == PING { frame.body } else { Vec::new() };
                self.send(frame.kind, ACK, 0, &body).await?;
            }
        }
    }

    /// Everything until the server closes; what broke the connection is the same to us.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        drop(self.0.read_to_end(&mut bytes).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame").to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(body);
    out
}

/// A request's headers, without compression.
pub fn headers(method: &str, path: &str, token: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let own = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("authorization", authorization.as_str()),
    ];
    own.iter().chain(more).flat_map(|(name, value)| header(name, value)).collect()
}

/// One header: a literal that is not kept.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match text.len() {
            short @ 0..127 => out.push(short as u8),
            long => {
                out.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend(text.bytes());
    }
    out
}
