//! The server: questions by UDP and TCP, with limits on everything a client can make us hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use component::Supervisor;
use component::supervisor::{guarded, guarded_future};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::forward::{Forwarder, Transport};
use super::zone::{Outcome, Zone};

/// Questions that may be under way; more are dropped, and asked again by the client.
const MAX_QUESTIONS: usize = 2000;
/// TCP connections at once.
const MAX_CONNECTIONS: usize = 200;
/// A TCP connection without a question for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Largest UDP answer to a client that takes more (what passes any link unfragmented).
const MAX_UDP_BYTES: u16 = 1232;
/// Aliases that are followed.
const MAX_ALIASES: usize = 8;

/// Both sockets on an address.
pub(super) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Binds UDP and TCP.
pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<Sockets> {
    let what = |kind| format!("DNS: listening on {address} ({kind}); is another DNS server on it?");
    let udp = UdpSocket::bind(address).await.with_context(|| what("UDP"))?;
    let tcp = TcpListener::bind(udp.local_addr()?).await.with_context(|| what("TCP"))?;
    Ok(Sockets { udp, tcp })
}

impl Sockets {
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }
}

/// What is known of a name.
type Lookup = Box<dyn Fn(&Name, RecordType) -> Outcome + Send + Sync>;

/// All that answering takes.
pub(super) struct Server {
    pub(super) zone: Zone,
    pub(super) lookup: Lookup,
    pub(super) forwarder: Forwarder,
}

impl Server {
    /// Serves on both sockets, as tasks that survive their panics; and so does every other question when one panics.
    pub(super) fn start(self, sockets: Sockets, tasks: &Supervisor) {
        let (server, udp, tcp) = (Arc::new(self), Arc::new(sockets.udp), Arc::new(sockets.tcp));
        let of_udp = server.clone();
        tasks.restarting(("dns_socket", "udp"), move |own| of_udp.clone().serve_udp(udp.clone(), own));
        tasks.restarting(("dns_socket", "tcp"), move |own| server.clone().serve_tcp(tcp.clone(), own));
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>, own: Supervisor) {
        let questions = Arc::new(Semaphore::new(MAX_QUESTIONS));
        let (mut buffer, told) = (vec![0; 4096], own.token());
        while let Some(received) = told.run_until_cancelled(socket.recv_from(&mut buffer)).await {
            // Errors are those of answers to clients that are gone (ICMP): nothing to do.
            let Ok((n, peer)) = received else { continue };
            let Ok(permit) = questions.clone().try_acquire_owned() else { continue };
            let question = buffer[..n].to_vec();
            let (server, socket, told) = (self.clone(), socket.clone(), told.clone());
            // Our own names are answered here and now; only forwarding takes time.
            match server.answer_local(&question, Transport::Udp) {
                Local::Answer(answer) => drop(socket.try_send_to(&answer, peer)),
                Local::Ignore => {}
                Local::Forward => {
                    own.one_shot("dns_forward", async move {
                        let _permit = permit;
                        let answer = told.run_until_cancelled(server.answer(&question, Transport::Udp)).await;
                        if let Some(answer) = answer.flatten() {
                            let _ = socket.send_to(&answer, peer).await;
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, socket: Arc<TcpListener>, own: Supervisor) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let told = own.token();
        while let Some(accepted) = told.run_until_cancelled(socket.accept()).await {
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(permit) = connections.clone().try_acquire_owned() else { continue };
            let (server, told) = (self.clone(), told.clone());
            own.one_shot("dns_connection", async move {
                let _permit = permit;
                told.run_until_cancelled(server.connection(stream)).await;
            });
        }
    }

    /// Questions on one connection, one after the other.
    async fn connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let _ = stream.set_nodelay(true);
        loop {
            let question = tokio::time::timeout(IDLE, async {
                let mut question = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut question).await?;
                Ok::<_, std::io::Error>(question)
            });
            let question = question.await??;
            let Some(answer) = self.answer(&question, Transport::Tcp).await else { return Ok(()) };
            let mut framed = (answer.len().min(65535) as u16).to_be_bytes().to_vec();
            framed.extend(&answer[..answer.len().min(65535)]);
            tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
        }
    }

    /// The answer to a message; `None` if it deserves none.
    pub(super) async fn answer(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.answer_local(question, transport) {
            Local::Answer(answer) => return Some(answer),
            Local::Ignore => return None,
            Local::Forward => {}
        }
        let answer = guarded_future("dns_question", self.ask_others(question, transport)).await;
        answer.unwrap_or_else(|_| server_failure(question, transport))
    }

    async fn ask_others(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let asked = Message::from_vec(question).ok()?;
        let query = asked.queries.first()?;
        let mut reply = Reply::new(&asked);
        // An alias out of the cluster, or a name that was never ours.
        let (mut name, kind) = (query.name().clone(), query.query_type());
        for _ in 0..MAX_ALIASES {
            match (self.lookup)(&name, kind) {
                Outcome::Alias(record, target) => {
                    reply.answers.push(*record);
                    name = target;
                }
                Outcome::NotMine if reply.answers.is_empty() => {
                    return match self.forwarder.forward(question, &asked, transport).await {
                        Some(answer) => Some(answer),
                        None => Some(reply.code(ResponseCode::ServFail).encode(transport)),
                    };
                }
                Outcome::NotMine => {
                    match self.forwarder.resolve(name, kind).await {
                        Some(more) => {
                            reply.answers.extend(more.answers);
                            reply.authorities.extend(more.authorities);
                            reply = reply.code(more.metadata.response_code);
                        }
                        None => reply = reply.code(ResponseCode::ServFail),
                    }
                    return Some(reply.encode(transport));
                }
                outcome => return Some(reply.outcome(outcome, &self.zone).encode(transport)),
            }
        }
        Some(reply.code(ResponseCode::ServFail).encode(transport))
    }

    /// What can be answered without asking anybody.
    fn answer_local(&self, question: &[u8], transport: Transport) -> Local {
        guarded("dns_question", || self.look_up(question, transport))
            .unwrap_or_else(|_| server_failure(question, transport).map_or(Local::Ignore, Local::Answer))
    }

    fn look_up(&self, question: &[u8], transport: Transport) -> Local {
        let Ok(asked) = Message::from_vec(question) else { return refuse_unreadable(question) };
        if asked.metadata.message_type != MessageType::Query {
            return Local::Ignore;
        }
        let reply = Reply::new(&asked);
        let [query] = asked.queries.as_slice() else {
            return Local::Answer(reply.code(ResponseCode::FormErr).encode(transport));
        };
        if asked.metadata.op_code != OpCode::Query {
            return Local::Answer(reply.code(ResponseCode::NotImp).encode(transport));
        }
        if query.query_class() != DNSClass::IN {
            return Local::Answer(reply.code(ResponseCode::Refused).encode(transport));
        }
        match (self.lookup)(query.name(), query.query_type()) {
            Outcome::NotMine => Local::Forward,
            // The alias itself was asked for, or it leads elsewhere.
            Outcome::Alias(record, _) if query.query_type() == RecordType::CNAME => {
                let outcome = Outcome::Answer(vec![*record], Vec::new());
                Local::Answer(reply.outcome(outcome, &self.zone).encode(transport))
            }
            Outcome::Alias(..) => Local::Forward,
            outcome => Local::Answer(reply.outcome(outcome, &self.zone).encode(transport)),
        }
    }
}

enum Local {
    Answer(Vec<u8>),
    Forward,
    Ignore,
}

/// To a question that made us panic; `None` if even reading it does.
fn server_failure(question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let failure = || {
        let asked = Message::from_vec(question).ok()?;
        Some(Reply::new(&asked).code(ResponseCode::ServFail).encode(transport))
    };
    guarded("dns_question", failure).ok().flatten()
}

/// A message that can't be read is told so by its number, if it has one and is a question.
fn refuse_unreadable(question: &[u8]) -> Local {
    let Some(head) = question.first_chunk::<12>().filter(|head| head[2] & 0x80 == 0) else { return Local::Ignore };
    let refusal = Message::error_msg(u16::from_be_bytes([head[0], head[1]]), OpCode::Query, ResponseCode::FormErr);
    refusal.to_vec().map_or(Local::Ignore, Local::Answer)
}

/// An answer in the making.
struct Reply {
    message: Message,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    /// How much the client takes by UDP.
    limit: u16,
}

impl Reply {
    fn new(asked: &Message) -> Reply {
        let mut message = Message::response(asked.metadata.id, asked.metadata.op_code);
        message.metadata.recursion_desired = asked.metadata.recursion_desired;
        message.metadata.checking_disabled = asked.metadata.checking_disabled;
        message.metadata.recursion_available = true;
        message.add_queries(asked.queries.iter().take(1).cloned());
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_UDP_BYTES);
            message.set_edns(edns);
        }
        let limit = asked.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, MAX_UDP_BYTES));
        Reply { message, answers: Vec::new(), authorities: Vec::new(), additionals: Vec::new(), limit }
    }

    fn code(mut self, code: ResponseCode) -> Reply {
        self.message.metadata.response_code = code;
        self
    }

    fn outcome(mut self, outcome: Outcome, zone: &Zone) -> Reply {
        self.message.metadata.authoritative = true;
        match outcome {
            Outcome::Answer(mut answers, additionals) => {
                // Clients take the first: all endpoints get their share.
                shuffle(&mut answers);
                self.answers.extend(answers);
                self.additionals = additionals;
                if self.answers.is_empty() {
                    self.authorities.push(zone.authority());
                }
            }
            _ => {
                self.authorities.push(zone.authority());
                return self.code(ResponseCode::NXDomain);
            }
        }
        self
    }

    /// The bytes: what does not fit is left out, and said to be.
    fn encode(mut self, transport: Transport) -> Vec<u8> {
        let limit = if transport == Transport::Udp { usize::from(self.limit) } else { 65535 };
        loop {
            self.message.answers.clone_from(&self.answers);
            self.message.authorities.clone_from(&self.authorities);
            self.message.additionals.clone_from(&self.additionals);
            let bytes = self.message.to_vec().unwrap_or_default();
            if bytes.len() <= limit {
                return bytes;
            }
            if !self.additionals.is_empty() {
                self.additionals.clear();
                continue;
            }
            self.message.metadata.truncation = true;
            let fits = self.answers.len() * limit / bytes.len().max(1);
            self.answers.truncate(fits.min(self.answers.len().saturating_sub(1)));
            if self.answers.is_empty() {
                self.authorities.clear();
            }
        }
    }
}

fn shuffle(records: &mut [Record]) {
    use rand::seq::SliceRandom;
    records.shuffle(&mut rand::rng());
}
