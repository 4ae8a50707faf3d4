//! A bucket of a store that speaks S3's protocol: list, put, get, delete. Requests are signed, bodies are streamed, and what
//! was put is read back before it counts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::listing;
use super::sign::{EMPTY, Signer, encode, hex};

/// What one request may put, by S3's rules.
const PUT_LIMIT_BYTES: u64 = 5 << 30;
/// A piece of a body.
const PIECE_BYTES: usize = 1 << 20;
/// An answer in XML of more is refused.
const ANSWER_LIMIT_BYTES: usize = 8 << 20;
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(120);
/// Attempts at a request that fails by no fault of its own.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How a bucket is reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Where: `https://host:port`; of the region's own store by default.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whose key.
    pub access_key: Option<String>,
    /// A file with an authority for the endpoint's certificate, PEM.
    pub ca_file: Option<PathBuf>,
    /// The key, which is never shown.
    pub secret_key: Option<Hidden>,
    /// A session's token.
    pub session_token: Option<Hidden>,
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl Access {
    /// What the environment says, under the names that every other program knows: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`.
    pub fn from_environment() -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: get("AWS_ENDPOINT_URL"),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            access_key: get("AWS_ACCESS_KEY_ID"),
            ca_file: get("AWS_CA_BUNDLE").map(PathBuf::from),
            secret_key: get("AWS_SECRET_ACCESS_KEY").map(Hidden),
            session_token: get("AWS_SESSION_TOKEN").map(Hidden),
        }
    }

    /// The key, given.
    pub fn with_keys(mut self, access_key: &str, secret_key: &str) -> Self {
        self.access_key = Some(access_key.to_owned());
        self.secret_key = Some(Hidden(secret_key.to_owned()));
        self
    }
}

/// A bucket and a prefix in it.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `http://host` or `https://host`, with a port.
    endpoint: String,
    host: String,
    region: String,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    access_key: String,
    secret_key: Hidden,
    session_token: Option<Hidden>,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl S3 {
    /// The bucket in `bucket/prefix`.
    pub(super) fn new(place: &str, access: &Access) -> anyhow::Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            bail!("s3://BUCKET/PREFIX names the bucket and a prefix in it");
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (Some(access_key), Some(secret_key)) = (&access.access_key, &access.secret_key) else {
            bail!("the keys of the bucket are not known: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        };
        let region = access.region.clone().unwrap_or_else(|| "us-east-1".into());
        let endpoint = access.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let Some(("http" | "https", host)) = endpoint.split_once("://") else {
            bail!("the endpoint {endpoint:?} is no http:// or https:// address");
        };
        let host = host.to_owned();
        if host.contains('/') {
            bail!("the endpoint {endpoint:?} has a path; it is a host and perhaps a port");
        }
        Ok(Self {
            client: client(access.ca_file.as_deref())?,
            endpoint,
            host,
            region,
            bucket: bucket.to_owned(),
            prefix,
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            session_token: access.session_token.clone(),
        })
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.prefix)
    }

    /// Names below the prefix, with lengths.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let token = next.iter().map(|token| format!("continuation-token={}&", encode(token, false)));
            let query = format!("{}list-type=2&prefix={}", token.collect::<String>(), encode(&self.prefix, false));
            let text = self.repeated(|| self.request(Method::GET, "", &query, EMPTY, None)).await;
            let text = text.with_context(|| format!("listing s3://{}", self.bucket))?;
            let page = listing::page(&text).context("the answer is no list of a bucket")?;
            found.extend(page.objects.into_iter().filter_map(|(key, bytes)| {
                let name = key.strip_prefix(&self.prefix).filter(|name| !name.contains('/'))?;
                Some((name.to_owned(), bytes))
            }));
            match page.next {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Puts a file, and reads it back.
    pub(super) async fn put(&self, file: &Path, name: &str) -> anyhow::Result<()> {
        let length = file.metadata().with_context(|| file.display().to_string())?.len();
        if length > PUT_LIMIT_BYTES {
            bail!("{} has {length} bytes, and S3 takes {PUT_LIMIT_BYTES} at once", file.display());
        }
        let path = file.to_owned();
        let digest = component::supervisor::blocking("digest of a snapshot", move || digest_of(&path)).await??;
        let put = || self.request(Method::PUT, name, "", &digest, Some((file, length)));
        self.repeated(put).await.with_context(|| format!("putting {}", self.place(name)))?;
        let mut seen = digest::Context::new(&digest::SHA256);
        self.download(name, |bytes| {
            seen.update(bytes);
            Ok(())
        })
        .await?;
        if hex(seen.finish().as_ref()) != digest {
            bail!("{} is not what was put there", self.place(name));
        }
        Ok(())
    }

    /// Brings an object to a file, which is not there before.
    pub(super) async fn get(&self, name: &str, path: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.with_context(|| path.display().to_string())?;
        self.download(name, |bytes| io::Write::write_all(&mut file, bytes)).await
    }

    pub(super) async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let deleted = self.repeated(|| self.request(Method::DELETE, name, "", EMPTY, None)).await;
        deleted.map(drop).with_context(|| format!("deleting {}", self.place(name)))
    }

    async fn download(&self, name: &str, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
        let reading = || format!("reading {}", self.place(name));
        let response = self.send(Method::GET, name, "", EMPTY, None).await.with_context(reading)?;
        let said = response.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = tokio::time::timeout(SILENCE, body.frame()).await.with_context(reading)? {
            if let Some(bytes) = frame.with_context(reading)?.data_ref() {
                length += bytes.len() as u64;
                take(bytes).with_context(reading)?;
            }
        }
        if said.is_some_and(|said| said != length) {
            bail!("{} ended too early", self.place(name));
        }
        Ok(())
    }

    /// Tries again what fails by no fault of its own.
    async fn repeated<F>(&self, mut request: impl FnMut() -> F) -> anyhow::Result<String>
    where
        F: Future<Output = anyhow::Result<String>>,
    {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match request().await {
                Err(error) if error.downcast_ref::<Refused>().is_none() => {
                    tracing::debug!(error = format!("{error:#}"), "a request to a bucket failed, trying again");
                }
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        request().await
    }

    /// A request whose answer is short.
    async fn request(
        &self,
        method: Method,
        name: &str,
        query: &str,
        payload: &str,
        file: Option<(&Path, u64)>,
    ) -> anyhow::Result<String> {
        let response = self.send(method, name, query, payload, file).await?;
        text_of(response).await
    }

    async fn send(
        &self,
        method: Method,
        name: &str,
        query: &str,
        payload: &str,
        file: Option<(&Path, u64)>,
    ) -> anyhow::Result<Response<Incoming>> {
        let key = if name.is_empty() { String::new() } else { format!("/{}{name}", self.prefix) };
        let path = encode(&format!("/{}{key}", self.bucket), true);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(&self.host)?);
        let signer = Signer {
            access_key: &self.access_key,
            secret_key: &self.secret_key.0,
            session_token: self.session_token.as_ref().map(|token| token.0.as_str()),
            region: &self.region,
        };
        signer.sign(method.as_str(), &path, query, &mut headers, payload, Timestamp::now())?;
        let question = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}{question}{query}", self.endpoint))
            .body(match file {
                Some((file, _)) => streamed(file)?,
                None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            })?;
        if let Some((_, length)) = file {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *request.headers_mut() = headers;
        // A body that is long takes long; each of its pieces does not.
        let patience = SILENCE + Duration::from_secs(file.map_or(0, |(_, length)| length >> 20));
        let response = tokio::time::timeout(patience, self.client.request(request)).await;
        let response = response.with_context(|| format!("{} does not answer", self.endpoint))?;
        let response = response.with_context(|| format!("asking {}", self.endpoint))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = text_of(response).await.unwrap_or_default();
        let said = listing::error(&text).unwrap_or_else(|| status.to_string());
        match status.is_server_error() || status == 429 {
            true => bail!("{said}"),
            false => Err(Refused(said).into()),
        }
    }
}

/// An answer that will be the same another time.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

async fn text_of(response: Response<Incoming>) -> anyhow::Result<String> {
    let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect();
    let body = tokio::time::timeout(SILENCE, body).await.context("the answer does not end")?;
    let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// A file's content as a body, a piece at a time.
fn streamed(file: &Path) -> io::Result<Body> {
    let file = tokio::fs::File::from_std(std::fs::File::open(file)?);
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = tokio::io::AsyncReadExt::read(&mut file, &mut piece).await?;
        piece.truncate(read);
        Ok((read > 0).then(|| (Frame::data(Bytes::from(piece)), file)))
    });
    Ok(StreamBody::new(pieces).boxed_unsync())
}

fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut context) = (std::fs::File::open(path)?, digest::Context::new(&digest::SHA256));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hex(context.finish().as_ref())),
            read => context.update(&piece[..read]),
        }
    }
}

fn client(ca_file: Option<&Path>) -> anyhow::Result<Client<HttpsConnector<HttpConnector>, Body>> {
    // The one provider of the workspace; an earlier installation of it is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file).with_context(|| file.display().to_string())? {
                roots.add(certificate?).with_context(|| file.display().to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let connector = https.enable_http1().wrap_connector(tcp);
    Ok(Client::builder(component::supervisor::executor("bucket")).build(connector))
}
