//! Certificates that live for seconds, on real connections: a steady flow of requests never notices that they are renewed.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use component::{
    Supervisor,
    serving::{PeerCertificates, Server},
    tls::{
        Authorities, Certificate, Facts, Rotating, Store,
        issue::{Authority, Request, Terms},
        pki::{Ca, Leaf, Pair},
        request::{Key, Template},
        server_config_with,
    },
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Client, api::WatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::watch};

use super::*;

const LIFE: Duration = Duration::from_secs(3);

/// A server that knows requests for certificates, answers `/version` to who has a certificate that is good at the time of
/// the request, and signs when it is told to.
struct Fake {
    ca: Ca,
    authority: Authority,
    signs: AtomicBool,
    requests: Mutex<Vec<Value>>,
    /// What the certificates of those who asked said.
    seen: Mutex<Vec<Facts>>,
    watches: AtomicUsize,
}

impl Fake {
    fn new() -> Arc<Self> {
        let ca = Ca::new("ca", OffsetDateTime::now_utc()).unwrap();
        let pair = ca.pair();
        let authority = Authority::from_pem(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
        Arc::new(Self {
            ca,
            authority,
            signs: AtomicBool::new(true),
            requests: Mutex::default(),
            seen: Mutex::default(),
            watches: AtomicUsize::new(0),
        })
    }

    fn sign(&self, pem: &[u8]) -> String {
        let now = Timestamp::now();
        let terms = Terms {
            not_before: now - SignedDuration::from_mins(5),
            not_after: now + SignedDuration::try_from(LIFE).unwrap(),
            key_usage: 1,
            extended_usages: vec![&[1, 3, 6, 1, 5, 5, 7, 3, 2]],
        };
        self.authority.sign(&Request::parse(pem).unwrap(), &terms, 7).unwrap()
    }

    fn serving(&self, by: &Ca) -> Certificate {
        let leaf = Leaf { sans: vec!["127.0.0.1".into()], server: true, ..Leaf::default() };
        let pair = by.sign(&leaf, OffsetDateTime::now_utc()).unwrap();
        Certificate::from_pem(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap()
    }

    async fn serve(self: &Arc<Self>, certificate: Arc<Rotating>, tasks: &Supervisor) -> SocketAddr {
        let authorities = Authorities::of_pem(self.ca.pair().cert_pem.as_bytes()).unwrap();
        let tls = Arc::new(server_config_with(certificate, Some(Arc::new(authorities))).unwrap());
        let csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let routes = Router::new().route("/version", get(version)).route(csrs, get(list).post(create));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::default().open(routes.with_state(self.clone())).tls(tls);
        tasks.one_shot("serving", {
            let own = tasks.child("server");
            async move { drop(server.serve(listener, own).await) }
        });
        address
    }
}

async fn version(State(fake): State<Arc<Fake>>, Extension(peer): Extension<PeerCertificates>) -> Response {
    let Some(facts) = peer.0.first().map(|leaf| Facts::of(leaf).unwrap()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let good = Timestamp::now() <= facts.not_after;
    fake.seen.lock().push(facts);
    if good { Json(json!({"ok": true})).into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
}

async fn create(State(fake): State<Arc<Fake>>, Json(mut csr): Json<Value>) -> Json<Value> {
    let mut requests = fake.requests.lock();
    let number = requests.len();
    csr["metadata"] = json!({"name": format!("csr-{number}"), "uid": number.to_string()});
    requests.push(csr.clone());
    Json(csr)
}

async fn list(
    State(fake): State<Arc<Fake>>,
    Query(query): Query<std::collections::HashMap<String, String>>,
) -> Response {
    if query.contains_key("watch") {
        fake.watches.fetch_add(1, Ordering::SeqCst);
        let event = json!({"type": "BOOKMARK", "object": {"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "spec": {"request": "", "signerName": ""}}});
        // One that nobody ends but the client; those for certificates are asked again soon.
        let first = futures::stream::iter([Ok::<_, std::io::Error>(format!("{event}\n"))]);
        let long = query.get("fieldSelector").is_none_or(String::is_empty);
        let rest = futures::stream::once(async move {
            if long {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(String::new())
        });
        return axum::body::Body::from_stream(first.chain(rest)).into_response();
    }
    let name = query.get("fieldSelector").and_then(|f| f.strip_prefix("metadata.name=")).unwrap_or_default().to_owned();
    let mut items: Vec<Value> =
        fake.requests.lock().iter().filter(|c| c["metadata"]["name"] == *name).cloned().collect();
    if fake.signs.load(Ordering::SeqCst) {
        for csr in &mut items {
            let pem = STANDARD.decode(csr["spec"]["request"].as_str().unwrap()).unwrap();
            let conditions = json!([{"type": "Approved", "status": "True"}]);
            csr["status"] = json!({"conditions": conditions, "certificate": STANDARD.encode(fake.sign(&pem))});
        }
    }
    Json(json!({"kind": "CertificateSigningRequestList", "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"resourceVersion": "1"}, "items": items}))
    .into_response()
}

/// A node's side.
struct Side {
    fake: Arc<Fake>,
    tasks: Supervisor,
    dir: TempDir,
    certificate: Arc<Rotating>,
    client: Client,
}

fn template() -> Template {
    Template { common_name: "system:node:a".into(), organization: Some("system:nodes".into()), ..Template::default() }
}

fn kubeconfig(dir: &TempDir, address: SocketAddr, ca: &[&str], user: Value) -> std::path::PathBuf {
    let cluster =
        json!({"server": format!("https://{address}"), "certificate-authority-data": STANDARD.encode(ca.concat())});
    let text = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
    });
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, text.to_string()).unwrap();
    path
}

/// With a first certificate that the authority signed just now, renewed by a task.
async fn side() -> Side {
    let (fake, tasks, dir) = (Fake::new(), Supervisor::new(), tempfile::tempdir().unwrap());
    let address = fake.serve(Rotating::new(Some(fake.serving(&fake.ca))), &tasks).await;
    let path = kubeconfig(&dir, address, &[&fake.ca.pair().cert_pem], json!({}));
    let (key, store) = (Key::generate().unwrap(), Store::new(&dir.path().join("pki"), "kubelet-client"));
    let first = fake.sign(key.request(&template()).unwrap().as_bytes());
    let first = store.update(first.as_bytes(), key.pem().as_bytes(), Timestamp::now()).unwrap();
    let certificate = Rotating::new(Some(first));
    let client = crate::renewed(&path, certificate.clone(), "test").unwrap();
    let (own, anonymous) = (client.clone(), crate::anonymous(&path, "test").unwrap());
    let renewal = Renewal {
        purpose: KUBELET_CLIENT,
        template: watch::channel(Some(template())).1,
        certificate: certificate.clone(),
        store,
        asker: Arc::new(move |good| Ok(if good { own.clone() } else { anonymous.clone() })),
        at_once: false,
        lasts: None,
    };
    tasks.one_shot("renewal", {
        let own = tasks.child("own");
        async move {
            own.until_stopped(renew(renewal)).await;
        }
    });
    Side { fake, tasks, dir, certificate, client }
}

async fn ask_version(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/version").body(Vec::new()).unwrap();
    client.request::<Value>(request).await.map(drop).map_err(|error| format!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_of_requests_never_fails_while_certificates_live_for_seconds() {
    let side = side().await;
    // A watch that was begun with the first certificate ends by itself, and in order.
    let csrs: kube::Api<k8s_openapi::api::certificates::v1::CertificateSigningRequest> =
        kube::Api::all(side.client.clone());
    let events = csrs.watch(&WatchParams::default(), "0").await.unwrap();
    let followed = tokio::spawn(async move { events.try_collect::<Vec<_>>().await.map(|events| events.len()) });
    let mut asked = 0;
    while side.certificate.version() < 4 {
        ask_version(&side.client).await.unwrap_or_else(|error| panic!("after {asked} requests: {error}"));
        asked += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(followed.await.unwrap().unwrap(), 1, "it ends between two events");
    ask_version(&side.client).await.unwrap();
    let seen: Vec<Timestamp> = side.fake.seen.lock().iter().map(|facts| facts.not_after).collect();
    assert!(seen.len() > 50, "{}", seen.len());
    assert!(seen.is_sorted(), "no request goes back to an older certificate");
    assert_eq!(seen.last(), side.certificate.current().map(|c| c.facts.not_after).as_ref());
    assert!(seen.iter().collect::<BTreeSet<_>>().len() >= 4);
    // What is stored is what is in force, for the next start.
    let stored = Store::new(&side.dir.path().join("pki"), "kubelet-client").current().unwrap().unwrap();
    assert_eq!(stored.facts, side.certificate.current().unwrap().facts);
    side.tasks.stop();
    side.tasks.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_is_away_for_long_costs_the_certificate_and_no_restart() {
    let side = side().await;
    side.fake.signs.store(false, Ordering::SeqCst);
    let first = side.certificate.current().unwrap().facts.not_after;
    // While it lives it is used, and asked to be replaced.
    ask_version(&side.client).await.unwrap();
    while Timestamp::now() <= first + SignedDuration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ask_version(&side.client).await.is_err(), "it has expired");
    assert!(!side.fake.requests.lock().is_empty(), "a new one was asked for in time");
    side.fake.signs.store(true, Ordering::SeqCst);
    while ask_version(&side.client).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(side.certificate.version() > 0);
    side.tasks.stop();
    side.tasks.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_kubeconfig_are_followed_and_two_authorities_are_as_good_as_one() {
    let (fake, tasks, dir) = (Fake::new(), Supervisor::new(), tempfile::tempdir().unwrap());
    let next = Ca::new("next", OffsetDateTime::now_utc()).unwrap();
    let serving = Rotating::new(Some(fake.serving(&fake.ca)));
    let address = fake.serve(serving.clone(), &tasks).await;
    let pair = |name: &str| -> Pair {
        let leaf = Leaf { common_name: name.into(), client: true, ..Leaf::default() };
        fake.ca.sign(&leaf, OffsetDateTime::now_utc()).unwrap()
    };
    let (cert, key) = (dir.path().join("client.crt"), dir.path().join("client.key"));
    let put = |pair: &Pair| {
        std::fs::write(&cert, &pair.cert_pem).unwrap();
        std::fs::write(&key, &pair.key_pem).unwrap();
    };
    put(&pair("one"));
    let authorities = [fake.ca.pair().cert_pem.as_str(), next.pair().cert_pem.as_str()];
    let user = json!({"client-certificate": cert, "client-key": key});
    let path = kubeconfig(&dir, address, &authorities, user);
    let client = crate::from_kubeconfig(&path, "test").unwrap();
    ask_version(&client).await.unwrap();
    put(&pair("two"));
    serving.replace(fake.serving(&next));
    let name = || fake.seen.lock().last().unwrap().common_name.clone();
    assert_eq!(name(), "one");
    while name() != "two" {
        ask_version(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tasks.stop();
    tasks.finish().await.unwrap();
}

/// Why no certificate can be asked for at a server whose own certificate was made `hours` from now and lasts a day, and which
/// says so of its time.
async fn refusal(hours: i64, says: i64) -> Fault {
    let (fake, tasks, dir) = (Fake::new(), Supervisor::new(), tempfile::tempdir().unwrap());
    let leaf = Leaf {
        sans: vec!["127.0.0.1".into()],
        server: true,
        lasts: Some(Duration::from_secs(24 * 3600)),
        ..Leaf::default()
    };
    let pair = fake.ca.sign(&leaf, OffsetDateTime::now_utc() + time::Duration::hours(hours)).unwrap();
    let serving = tls_with(&pair);
    let date = Timestamp::now() + SignedDuration::from_hours(says);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let routes = Router::new().route("/version", get(move || async move { ([(http::header::DATE, date)], "{}") }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = tasks.child("server");
    tasks.one_shot(
        "serving",
        async move { drop(Server::default().open(routes).tls(serving).serve(listener, own).await) },
    );
    let path = kubeconfig(&dir, address, &[&fake.ca.pair().cert_pem], json!({"token": "abcdef.0123456789abcdef"}));
    let client = crate::from_kubeconfig(&path, "test").unwrap();
    let key = Key::generate().unwrap();
    let pem = key.request(&template()).unwrap();
    let fault = ask(&client, (&pem, &key), None, KUBELET_CLIENT, None).await.unwrap_err();
    let fault = explain(fault, &path, &format!("https://{address}"), Some("abcdef.0123456789abcdef")).await;
    tasks.stop();
    tasks.finish().await.unwrap();
    fault
}

fn tls_with(pair: &Pair) -> Arc<rustls::ServerConfig> {
    let key = component::tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
    Arc::new(server_config_with(Arc::new(component::tls::Fixed(Arc::new(key))), None).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_from_a_certificate_that_has_run_out() {
    let behind = refusal(3, 3).await;
    assert_eq!(behind.cause, Cause::Clock);
    let text = behind.to_string();
    assert!(text.starts_with("this machine's clock is 3h behind that of the API server https://127.0.0.1:"), "{text}");
    let ahead = refusal(-48, -48).await.to_string();
    assert!(ahead.starts_with("this machine's clock is 48h ahead of that of the API server "), "{ahead}");
    let over = refusal(-48, 0).await.to_string();
    assert!(over.contains("is not valid now, though its clock and this machine's agree: renew it there"), "{over}");
}
