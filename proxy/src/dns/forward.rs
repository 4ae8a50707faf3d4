//! All other names: asked of the node's own resolvers, in their order, with a small cache.
//!
//! Messages are passed on as they are, but for their number, which is drawn anew together with the port: an answer that
//! does not fit both, and the question, is somebody else's. What is read from them (how long they may be kept) is never
//! needed to pass them on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Config;

/// How long one server may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a question is asked, of one server or another, before giving up.
const TRIES: usize = 3;
/// Answers are kept for as long as they allow, but no longer than this.
const MAX_CACHE_SECONDS: u32 = 30;
const MAX_CACHED: usize = 2000;
/// The most servers that are taken from resolv.conf (as the C library does).
const MAX_SERVERS: usize = 3;

/// How a question came, and is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

type CacheKey = (Name, RecordType, bool, Transport);

/// Asks other servers.
pub(super) struct Forwarder {
    fixed: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    /// Addresses that are ourselves: asking them would be asking in circles.
    own: Vec<IpAddr>,
    read: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
    cache: Mutex<HashMap<CacheKey, (Instant, Vec<u8>)>>,
}

impl Forwarder {
    pub(super) fn new(config: &Config) -> Forwarder {
        Forwarder {
            fixed: config.upstreams.clone(),
            resolv_conf: config.resolv_conf.clone(),
            own: config.cluster_ip.into_iter().chain([config.listen.ip()]).collect(),
            read: Mutex::new((None, Vec::new())),
            cache: Mutex::new(HashMap::new()),
        }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        if !self.fixed.is_empty() {
            return self.fixed.clone();
        }
        let changed = std::fs::metadata(&self.resolv_conf).and_then(|meta| meta.modified()).ok();
        let mut read = self.read.lock();
        if changed.is_none() || read.0 != changed {
            *read = (changed, nameservers(&self.resolv_conf));
        }
        let mut servers = read.1.clone();
        servers.retain(|server| !self.own.contains(&server.ip()) || server.ip().is_loopback());
        servers
    }

    /// Passes a client's message on; `asked` is the same message, read.
    pub(super) async fn forward(&self, question: &[u8], asked: &Message, transport: Transport) -> Option<Vec<u8>> {
        let query = asked.queries.first()?;
        let dnssec = asked.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let key = (query.name().to_lowercase(), query.query_type(), dnssec || asked.edns.is_none(), transport);
        let mut answer = match self.cached(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.ask(question, query, transport).await?;
                self.keep(key, &answer);
                answer
            }
        };
        answer[..2].copy_from_slice(&asked.metadata.id.to_be_bytes());
        Some(answer)
    }

    /// Asks for a name on our own account.
    pub(super) async fn resolve(&self, name: Name, kind: RecordType) -> Option<Message> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, kind));
        let asked = message.to_vec().ok()?;
        let answer = self.forward(&asked, &message, Transport::Udp).await?;
        let answer = Message::from_vec(&answer).ok()?;
        if !answer.metadata.truncation {
            return Some(answer);
        }
        Message::from_vec(&self.forward(&asked, &message, Transport::Tcp).await?).ok()
    }

    fn cached(&self, key: &CacheKey) -> Option<Vec<u8>> {
        let cache = self.cache.lock();
        cache.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, key: CacheKey, answer: &[u8]) {
        let Some(seconds) = Message::from_vec(answer).ok().and_then(|message| lifetime(&message)) else { return };
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, (until, _)| *until > now);
        }
        if cache.len() < MAX_CACHED {
            cache.insert(key, (now + Duration::from_secs(u64::from(seconds)), answer.to_vec()));
        }
    }

    async fn ask(&self, question: &[u8], query: &Query, transport: Transport) -> Option<Vec<u8>> {
        let servers = self.servers();
        let mut worst = None;
        for attempt in 0..TRIES.max(servers.len()) {
            let server = *servers.get(attempt % servers.len().max(1))?;
            let mut question = question.to_vec();
            let id: [u8; 2] = rand::random();
            question.get_mut(..2)?.copy_from_slice(&id);
            let exchange = async {
                match transport {
                    Transport::Udp => exchange_udp(server, &question, query).await,
                    Transport::Tcp => exchange_tcp(server, &question, query).await,
                }
            };
            match tokio::time::timeout(TRY_TIMEOUT, exchange).await {
                // Another server may do better.
                Ok(Ok((ResponseCode::ServFail | ResponseCode::Refused, answer))) => worst = Some(answer),
                Ok(Ok((_, answer))) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "DNS server"),
                Err(_) => tracing::debug!(%server, "DNS server did not answer"),
            }
        }
        worst
    }
}

async fn exchange_udp(server: SocketAddr, question: &[u8], query: &Query) -> std::io::Result<(ResponseCode, Vec<u8>)> {
    let any = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if let Some(code) = fits(&buffer[..n], question, query) {
            buffer.truncate(n);
            return Ok((code, buffer));
        }
    }
}

async fn exchange_tcp(server: SocketAddr, question: &[u8], query: &Query) -> std::io::Result<(ResponseCode, Vec<u8>)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let code = fits(&answer, question, query).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((code, answer))
}

/// Whether a message answers our question; if so, how.
fn fits(answer: &[u8], question: &[u8], query: &Query) -> Option<ResponseCode> {
    let head = answer.first_chunk::<12>()?;
    if head[..2] != question[..2] || head[2] & 0x80 == 0 {
        return None;
    }
    match Message::from_vec(answer) {
        Ok(message) => {
            let [asked] = message.queries.as_slice() else { return None };
            let same = asked.name() == query.name() && asked.query_type() == query.query_type();
            same.then_some(message.metadata.response_code)
        }
        // Records that we can't read are no reason to withhold them: number and port have matched.
        Err(_) => Some(ResponseCode::from(0, head[3] & 0x0f)),
    }
}

/// For how many seconds an answer may be kept; `None` if not at all.
fn lifetime(answer: &Message) -> Option<u32> {
    if answer.metadata.truncation {
        return None;
    }
    let of = |records: &[hickory_proto::rr::Record]| records.iter().map(|record| record.ttl).min();
    let seconds = match answer.metadata.response_code {
        ResponseCode::NoError if !answer.answers.is_empty() => of(&answer.answers),
        ResponseCode::NoError | ResponseCode::NXDomain => of(&answer.authorities),
        _ => None,
    };
    seconds.map(|seconds| seconds.min(MAX_CACHE_SECONDS)).filter(|seconds| *seconds > 0)
}

fn nameservers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let words = lines.filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = words.filter_map(|word| word.trim().parse::<IpAddr>().ok());
    addresses.map(|ip| SocketAddr::new(ip, 53)).take(MAX_SERVERS).collect()
}

#[cfg(test)]
pub(super) fn nameservers_of(path: &Path) -> Vec<SocketAddr> {
    nameservers(path)
}
