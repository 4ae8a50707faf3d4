//! Messages over TLS, with certificates both ways: whoever has one of the cluster's authority is a member, nobody else is
//! heard.
//!
//! A connection carries the questions of one side and the answers of the other, each with a number, so that a slow answer holds
//! up no other; to each member there is one connection a lane. The certificates are read again for each new connection, so
//! they can be replaced while the member runs. A connection on which nothing comes for a while, though both sides say something
//! every second, is broken off and made anew.

mod frames;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::Supervisor;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Answers, Lane, Network};
use frames::Frame;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// Connections that others may have open to this member.
const CONNECTIONS: usize = 128;
/// Questions of one connection that are being answered at once.
const QUESTIONS: usize = 256;
/// Messages that wait to be sent on one connection.
const WAITING: usize = 256;

/// What a member proves itself with, as PEM text.
#[derive(Clone)]
pub struct Pem {
    /// The authority that signs members' certificates.
    pub ca: Vec<u8>,
    /// This member's certificate, for both sides of a connection; it names the address that it advertises.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

/// Where that comes from; asked again for each connection.
pub trait Credentials: Send + Sync + 'static {
    /// The current ones.
    fn load(&self) -> anyhow::Result<Pem>;
}

impl Credentials for Pem {
    fn load(&self) -> anyhow::Result<Pem> {
        Ok(self.clone())
    }
}

/// Credentials in files.
#[derive(Debug, Clone)]
pub struct Files {
    /// See [`Pem::ca`].
    pub ca: PathBuf,
    /// See [`Pem::certificate`].
    pub certificate: PathBuf,
    /// See [`Pem::key`].
    pub key: PathBuf,
}

impl Credentials for Files {
    fn load(&self) -> anyhow::Result<Pem> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        Ok(Pem { ca: read(&self.ca)?, certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

/// See the module.
pub struct TlsNetwork {
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    shared: Arc<Shared>,
    connections: Mutex<HashMap<(String, Lane), mpsc::Sender<Asked>>>,
    tasks: Supervisor,
}

struct Shared {
    credentials: Arc<dyn Credentials>,
    /// The last ones that could be used: files that are being replaced may not fit each other for a moment.
    last: Mutex<Arc<Configs>>,
}

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// A question on its way.
struct Asked {
    question: Bytes,
    reply: oneshot::Sender<io::Result<Bytes>>,
}

impl TlsNetwork {
    /// Listens at an address; nobody is answered before [`Network::serve`].
    ///
    /// # Errors
    /// The address can't be listened at, or the credentials can't be used.
    pub async fn bind(address: SocketAddr, credentials: Arc<dyn Credentials>) -> anyhow::Result<Self> {
        let last = Mutex::new(Arc::new(Configs::new(&credentials.load()?)?));
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening at {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { credentials, last });
        let listener = Mutex::new(Some(listener));
        Ok(Self { listener, address, shared, connections: Mutex::default(), tasks: Supervisor::new() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection to a member, made anew where there is none.
    fn connection(&self, address: &str, lane: Lane) -> mpsc::Sender<Asked> {
        let mut connections = self.connections.lock();
        if let Some(connection) = connections.get(&(address.to_owned(), lane)).filter(|c| !c.is_closed()) {
            return connection.clone();
        }
        let (send, receive) = mpsc::channel(WAITING);
        let (shared, to) = (self.shared.clone(), address.to_owned());
        start(&self.tasks, "raft-connection", async move {
            if let Err(error) = carry(&shared, &to, receive).await {
                tracing::debug!(%error, to, "a connection to another member has ended");
            }
        });
        connections.insert((address.to_owned(), lane), send.clone());
        send
    }
}

impl Drop for TlsNetwork {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Starts a task that ends with the network.
fn start(tasks: &Supervisor, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    let own = tasks.clone();
    drop(tasks.one_shot(name, async move {
        own.until_stopped(work).await;
    }));
}

#[async_trait]
impl Network for TlsNetwork {
    async fn ask(&self, address: &str, lane: Lane, question: Bytes) -> io::Result<Bytes> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { question, reply };
        if self.connection(address, lane).send(asked).await.is_err() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        answer.await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionReset.into()))
    }

    async fn serve(&self, answers: Arc<dyn Answers>) -> io::Result<()> {
        let listener = self.listener.lock().take().ok_or(io::ErrorKind::AddrInUse)?;
        let (shared, tasks) = (self.shared.clone(), self.tasks.clone());
        start(&self.tasks, "raft-listener", async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS));
            while let Ok(place) = places.clone().acquire_owned().await {
                let Ok((stream, from)) = listener.accept().await else {
                    // Out of descriptors: they come back.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (shared, answers, inner) = (shared.clone(), answers.clone(), tasks.clone());
                start(&tasks, "raft-peer", async move {
                    if let Err(error) = serve(&shared, stream, answers, &inner).await {
                        tracing::debug!(%error, %from, "a connection of another member has ended");
                    }
                    drop(place);
                });
            }
        });
        Ok(())
    }

    fn close(&self) {
        self.tasks.stop();
        self.connections.lock().clear();
    }
}

impl Configs {
    fn new(pem: &Pem) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in component::tls::certificates(&pem.ca).context("the cluster's authority")? {
            roots.add(certificate).context("the cluster's authority")?;
        }
        let roots = Arc::new(roots);
        let chain = component::tls::certificates(&pem.certificate).context("the member's certificate")?;
        let key = || PrivateKeyDer::from_pem_slice(&pem.key).context("the member's key");
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key()?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key()?)?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

impl Shared {
    fn configs(&self) -> Arc<Configs> {
        match self.credentials.load().and_then(|pem| Configs::new(&pem)) {
            Ok(configs) => *self.last.lock() = Arc::new(configs),
            Err(error) => tracing::warn!(%error, "the member's certificates can't be used; the last ones are"),
        }
        self.last.lock().clone()
    }
}

/// Makes a connection and carries questions over it until it breaks; those without an answer then are dropped, which tells who
/// waits.
async fn carry(shared: &Shared, to: &str, mut questions: mpsc::Receiver<Asked>) -> anyhow::Result<()> {
    let connecting = async {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(shared.configs().client.clone()).connect(name, stream).await?;
        anyhow::Ok(stream)
    };
    let stream = match timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => stream,
        refused => {
            // These were not sent, and who asked may ask again.
            questions.close();
            while let Some(asked) = questions.recv().await {
                drop(asked.reply.send(Err(io::ErrorKind::ConnectionRefused.into())));
            }
            return refused.map_err(anyhow::Error::from)?.map(drop);
        }
    };
    let (read, mut write) = tokio::io::split(stream);
    let pending: Mutex<HashMap<u64, oneshot::Sender<io::Result<Bytes>>>> = Mutex::default();
    let numbers = AtomicU64::new(1);
    let sending = async {
        frames::write_preface(&mut write).await?;
        loop {
            let asked = timeout(frames::BEAT, questions.recv()).await;
            let frame = match asked {
                Ok(Some(Asked { question, reply })) => {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    pending.lock().insert(number, reply);
                    Frame { number, bytes: question }
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    pending.lock().retain(|_, reply| !reply.is_closed());
                    Frame::beat()
                }
            };
            frames::write(&mut write, &frame, questions.is_empty()).await?;
        }
    };
    let receiving = async {
        let mut read = read;
        loop {
            let frame = frames::read(&mut read).await?;
            if let Some(reply) = pending.lock().remove(&frame.number) {
                drop(reply.send(Ok(frame.bytes)));
            }
        }
    };
    tokio::select! {
        ended = sending => ended,
        ended = receiving => ended,
    }
}

/// Answers the questions of one connection until it breaks.
async fn serve(
    shared: &Shared,
    stream: TcpStream,
    answers: Arc<dyn Answers>,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let accepting = TlsAcceptor::from(shared.configs().server.clone()).accept(stream);
    let stream = timeout(CONNECT, accepting).await??;
    let (mut read, mut write) = tokio::io::split(stream);
    frames::read_preface(&mut read).await?;
    let (send, mut receive) = mpsc::channel::<Frame>(WAITING);
    let sending = async {
        loop {
            let frame = match timeout(frames::BEAT, receive.recv()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(_) => Frame::beat(),
            };
            frames::write(&mut write, &frame, receive.is_empty()).await?;
        }
    };
    let places = Arc::new(Semaphore::new(QUESTIONS));
    let receiving = async {
        loop {
            let Frame { number, bytes } = frames::read(&mut read).await?;
            if number == 0 {
                continue;
            }
            let place = places.clone().acquire_owned().await?;
            let (answers, send) = (answers.clone(), send.clone());
            start(tasks, "raft-answer", async move {
                if let Some(bytes) = answers.answer(bytes).await {
                    drop(send.send(Frame { number, bytes }).await);
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        ended = sending => ended,
        ended = receiving => ended,
    }
}
