//! Names by table, and a client against the server over loopback.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Change;
use expect_test::{Expect, expect};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::forward::{Forwarder, Transport, nameservers_of};
use super::server::{Server, bind};
use super::*;

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn added<K: serde::de::DeserializeOwned>(value: Value) -> Change<K> {
    Change::Added(Arc::new(serde_json::from_value(value).unwrap()))
}

fn index() -> Index {
    let mut index = Index::default();
    let http = json!({"name": "http", "port": 80});
    for value in [
        service("default", "kubernetes", json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]})),
        service(
            "default",
            "web",
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ports": [http]}),
        ),
        service("default", "db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})),
        service("default", "empty", json!({"clusterIP": "None", "ports": [http]})),
        service("default", "outside", json!({"type": "ExternalName", "externalName": "example.org"})),
        service("default", "inside", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})),
        service("default", "loop", json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local."})),
    ] {
        index.service(&added(value));
    }
    index.slice(&added(json!({
        "metadata": {"namespace": "default", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "ports": [{"name": "sql", "port": 15432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.1.0.2"], "conditions": {}},
            {"addresses": ["10.1.0.3"], "hostname": "db-2", "conditions": {"ready": false}},
        ],
    })));
    index
}

fn zone() -> Zone {
    Zone::new("cluster.local", Some("10.96.0.10".parse().unwrap()), 5).unwrap()
}

fn show(records: &[Record]) -> String {
    let mut lines: Vec<String> = records
        .iter()
        .map(|record| format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[track_caller]
fn check(kind: RecordType, name: &str, expected: Expect) {
    let got = match zone().lookup(&index(), &name.parse().unwrap(), kind) {
        Outcome::Answer(answers, extra) if answers.is_empty() && extra.is_empty() => "no data".to_owned(),
        Outcome::Answer(answers, extra) if extra.is_empty() => show(&answers),
        Outcome::Answer(answers, extra) => format!("{}\nwith\n{}", show(&answers), show(&extra)),
        Outcome::Alias(record, _) => show(&[*record]),
        other => format!("{other:?}"),
    };
    expected.assert_eq(&got);
}

#[test]
fn services() {
    use RecordType::{A, AAAA, CNAME, SRV, TXT};
    check(A, "kubernetes.default.svc.cluster.local.", expect!["kubernetes.default.svc.cluster.local. 5 A 10.96.0.1"]);
    check(AAAA, "kubernetes.default.svc.cluster.local.", expect!["no data"]);
    check(AAAA, "WEB.default.svc.Cluster.local.", expect!["web.default.svc.cluster.local. 5 AAAA fd00::7"]);
    check(
        SRV,
        "_http._tcp.web.default.svc.cluster.local.",
        expect![[r#"
        _http._tcp.web.default.svc.cluster.local. 5 SRV 0 100 80 web.default.svc.cluster.local.
        with
        web.default.svc.cluster.local. 5 A 10.96.0.7
        web.default.svc.cluster.local. 5 AAAA fd00::7"#]],
    );
    check(A, "_http._tcp.web.default.svc.cluster.local.", expect!["no data"]);
    check(SRV, "_http._udp.web.default.svc.cluster.local.", expect!["NoSuchName"]);
    check(A, "_tcp.web.default.svc.cluster.local.", expect!["no data"]);
    check(A, "nothing.default.svc.cluster.local.", expect!["NoSuchName"]);
    check(A, "outside.default.svc.cluster.local.", expect!["outside.default.svc.cluster.local. 5 CNAME example.org."]);
    check(
        CNAME,
        "outside.default.svc.cluster.local.",
        expect!["outside.default.svc.cluster.local. 5 CNAME example.org."],
    );
    check(TXT, "dns-version.cluster.local.", expect!["dns-version.cluster.local. 5 TXT 1.1.0"]);
}

#[test]
fn headless_services_and_their_endpoints() {
    use RecordType::{A, AAAA, SRV};
    check(
        A,
        "db.default.svc.cluster.local.",
        expect![[r#"
        db.default.svc.cluster.local. 5 A 10.1.0.1
        db.default.svc.cluster.local. 5 A 10.1.0.2"#]],
    );
    check(AAAA, "db.default.svc.cluster.local.", expect!["no data"]);
    check(A, "db-0.db.default.svc.cluster.local.", expect!["db-0.db.default.svc.cluster.local. 5 A 10.1.0.1"]);
    check(A, "10-1-0-2.db.default.svc.cluster.local.", expect!["10-1-0-2.db.default.svc.cluster.local. 5 A 10.1.0.2"]);
    check(A, "db-2.db.default.svc.cluster.local.", expect!["NoSuchName"]);
    check(
        SRV,
        "_sql._tcp.db.default.svc.cluster.local.",
        expect![[r#"
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 50 15432 10-1-0-2.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 50 15432 db-0.db.default.svc.cluster.local.
        with
        10-1-0-2.db.default.svc.cluster.local. 5 A 10.1.0.2
        db-0.db.default.svc.cluster.local. 5 A 10.1.0.1"#]],
    );
    check(A, "empty.default.svc.cluster.local.", expect!["no data"]);
}

#[test]
fn pods_addresses_and_the_rest() {
    use RecordType::{A, AAAA, NS, PTR, SOA};
    check(A, "10-1-0-9.default.pod.cluster.local.", expect!["10-1-0-9.default.pod.cluster.local. 5 A 10.1.0.9"]);
    check(AAAA, "fd00--9.default.pod.cluster.local.", expect!["fd00--9.default.pod.cluster.local. 5 AAAA fd00::9"]);
    check(A, "web.default.pod.cluster.local.", expect!["NoSuchName"]);
    check(A, "10-1-0-9.none.pod.cluster.local.", expect!["10-1-0-9.none.pod.cluster.local. 5 A 10.1.0.9"]);
    check(PTR, "7.0.96.10.in-addr.arpa.", expect!["7.0.96.10.in-addr.arpa. 5 PTR web.default.svc.cluster.local."]);
    check(PTR, "1.0.1.10.in-addr.arpa.", expect!["1.0.1.10.in-addr.arpa. 5 PTR db-0.db.default.svc.cluster.local."]);
    check(
        PTR,
        "2.0.1.10.in-addr.arpa.",
        expect!["2.0.1.10.in-addr.arpa. 5 PTR 10-1-0-2.db.default.svc.cluster.local."],
    );
    check(PTR, "3.0.1.10.in-addr.arpa.", expect!["NotMine"]);
    check(PTR, "96.10.in-addr.arpa.", expect!["NotMine"]);
    check(
        SOA,
        "cluster.local.",
        expect!["cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"],
    );
    check(
        NS,
        "cluster.local.",
        expect![[r#"
        cluster.local. 5 NS ns.dns.cluster.local.
        with
        ns.dns.cluster.local. 5 A 10.96.0.10"#]],
    );
    check(A, "ns.dns.cluster.local.", expect!["ns.dns.cluster.local. 5 A 10.96.0.10"]);
    check(A, "svc.cluster.local.", expect!["no data"]);
    check(A, "default.svc.cluster.local.", expect!["no data"]);
    check(A, "other.svc.cluster.local.", expect!["NoSuchName"]);
    check(A, "example.org.", expect!["NotMine"]);
    check(A, "example.org.default.svc.cluster.local.", expect!["NoSuchName"]);
    check(A, "notcluster.local.", expect!["NotMine"]);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut index = Index::default();
    let web = || Arc::new(serde_json::from_value(service("a", "web", json!({"clusterIP": "10.96.0.7"}))).unwrap());
    let slice = json!({"metadata": {"namespace": "a", "name": "x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.1"]}]});
    let slice = || Arc::new(serde_json::from_value(slice.clone()).unwrap());
    index.service(&Change::Added(web()));
    index.slice(&Change::Added(slice()));
    index.service(&Change::Updated { old: web(), new: web() });
    index.slice(&Change::Updated { old: slice(), new: slice() });
    assert!(index.has_namespace("a") && index.by_cluster_ip(&"10.96.0.7".parse().unwrap()).is_some());
    assert_eq!(index.by_endpoint_ip(&"10.1.0.1".parse().unwrap()).count(), 1);
    index.service(&Change::Deleted(web()));
    index.slice(&Change::Deleted(slice()));
    assert!(!index.has_namespace("a") && index.by_cluster_ip(&"10.96.0.7".parse().unwrap()).is_none());
    assert_eq!(index.by_endpoint_ip(&"10.1.0.1".parse().unwrap()).count(), 0);
}

#[test]
fn pods_and_services_have_names_in_namespaces_that_there_are() {
    let mut index = index();
    let namespace = |name: &str| added(json!({"metadata": {"name": name}}));
    // Nobody waits for the list to be whole but who has it.
    index.namespace(&namespace("early"));
    let ask = |index: &Index, name: &str| format!("{:?}", zone().lookup(index, &name.parse().unwrap(), RecordType::A));
    let none = format!("{:?}", Outcome::NoSuchName);
    assert_eq!(ask(&index, "bare.svc.cluster.local."), none);
    assert_ne!(ask(&index, "10-1-0-9.bare.pod.cluster.local."), none);
    index.know_namespaces();
    index.namespace(&namespace("bare"));
    for name in ["bare.svc.cluster.local.", "bare.pod.cluster.local.", "10-1-0-9.bare.pod.cluster.local."] {
        assert_ne!(ask(&index, name), none, "{name}");
    }
    let Change::Added(bare) = namespace("bare") else { panic!() };
    index.namespace(&Change::Deleted(bare));
    for name in ["bare.svc.cluster.local.", "10-1-0-9.bare.pod.cluster.local.", "10-1-0-9.early.pod.cluster.local."] {
        assert_eq!(ask(&index, name), none, "{name}");
    }
    assert_ne!(ask(&index, "web.default.svc.cluster.local."), none);
}

#[test]
fn nameservers_of_resolv_conf() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "# none\nsearch a b\nnameserver 192.0.2.1 # first\nnameserver x\n nameserver fd00::1\noptions ndots:5"
    )
    .unwrap();
    assert_eq!(nameservers_of(file.path()), ["192.0.2.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    assert_eq!(nameservers_of("/nonexistent".as_ref()), []);
}

/// Another DNS server, which knows `example.org` and counts its questions.
async fn upstream(count: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::Relaxed);
            let asked = Message::from_vec(&buffer[..n]).unwrap();
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            answer.add_queries(asked.queries.iter().cloned());
            if asked.queries[0].name() == &"example.org.".parse::<Name>().unwrap() {
                let name = asked.queries[0].name().clone();
                answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 80))));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            // Somebody else's answer first: it must not be taken.
            let mut forged = answer.clone();
            forged.metadata.id = answer.metadata.id.wrapping_add(1);
            socket.send_to(&forged.to_vec().unwrap(), peer).await.unwrap();
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    address
}

fn server(upstreams: Vec<SocketAddr>, index: Index) -> Server {
    let config = Config { upstreams, resolv_conf: "/nonexistent".into(), ..Config::default() };
    let lookup = Box::new(move |name: &Name, kind| zone().lookup(&index, name, kind));
    Server { zone: zone(), lookup, forwarder: Forwarder::new(&config) }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.parse().unwrap(), kind));
    message
}

async fn ask(server: &Server, name: &str, transport: Transport) -> Message {
    let asked = question(name, RecordType::A);
    let answer = Message::from_vec(&server.answer(&asked.to_vec().unwrap(), transport).await.unwrap()).unwrap();
    assert_eq!(answer.metadata.id, asked.metadata.id);
    assert_eq!(answer.queries, asked.queries);
    answer
}

#[tokio::test]
async fn forwards_what_is_not_the_clusters_and_remembers_it() {
    let count = Arc::default();
    let server = server(vec![upstream(Arc::clone(&count)).await], index());
    for _ in 0..3 {
        let answer = ask(&server, "example.org.", Transport::Udp).await;
        assert_eq!(show(&answer.answers), "example.org. 60 A 192.0.2.80");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let answer = ask(&server, "nowhere.org.", Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    // Aliases are followed, out of the cluster and within; one that leads to itself ends.
    let answer = ask(&server, "outside.default.svc.cluster.local.", Transport::Udp).await;
    expect![[r#"
        example.org. 60 A 192.0.2.80
        outside.default.svc.cluster.local. 5 CNAME example.org."#]]
    .assert_eq(&show(&answer.answers));
    let answer = ask(&server, "inside.default.svc.cluster.local.", Transport::Udp).await;
    expect![[r#"
        inside.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 A 10.96.0.7"#]]
    .assert_eq(&show(&answer.answers));
    let answer = ask(&server, "loop.default.svc.cluster.local.", Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn without_other_servers_it_says_so() {
    let server = server(Vec::new(), index());
    let answer = ask(&server, "example.org.", Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let answer = ask(&server, "nothing.default.svc.cluster.local.", Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
}

#[tokio::test]
async fn answers_are_cut_to_what_the_client_takes() {
    let mut index = index();
    let endpoints: Vec<Value> = (0..100).map(|n| json!({"addresses": [format!("10.2.0.{n}")]})).collect();
    index.service(&added(service("default", "big", json!({"clusterIP": "None"}))));
    index.slice(&added(json!({
        "metadata": {"namespace": "default", "name": "big-1", "labels": {"kubernetes.io/service-name": "big"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [],
    })));
    let server = server(Vec::new(), index);
    let answer = ask(&server, "big.default.svc.cluster.local.", Transport::Udp).await;
    assert!(answer.metadata.truncation && answer.to_vec().unwrap().len() <= 512 && answer.answers.len() > 10);
    let mut asked = question("big.default.svc.cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    let bytes = server.answer(&asked.to_vec().unwrap(), Transport::Udp).await.unwrap();
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(bytes.len() <= 1232 && answer.metadata.truncation && answer.edns.is_some() && answer.answers.len() > 50);
    let answer = ask(&server, "big.default.svc.cluster.local.", Transport::Tcp).await;
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (100, false));
}

#[tokio::test]
async fn nonsense_is_answered_or_ignored() {
    let server = server(Vec::new(), index());
    let code = async |bytes: &[u8]| {
        let answer = server.answer(bytes, Transport::Udp).await?;
        Some(Message::from_vec(&answer).unwrap().metadata.response_code)
    };
    let good = question("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    assert_eq!(code(&good[..5]).await, None);
    assert_eq!(code(&good[..20]).await, Some(ResponseCode::FormErr));
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert_eq!(code(&answer).await, None);
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert!(code(&update).await.is_some());
    for cut in 0..good.len() {
        for byte in [0, 0x3f, 0xc0, 0xff] {
            let mut bytes = good[..cut].to_vec();
            bytes.push(byte);
            let _ = server.answer(&bytes, Transport::Udp).await;
        }
    }
}

#[tokio::test]
async fn over_udp_and_tcp() {
    let sockets = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = sockets.address();
    let tasks = Supervisor::new();
    server(Vec::new(), index()).start(sockets, &tasks);
    let asked = question("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 1500];
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&asked, address).await.unwrap();
    let n = socket.recv(&mut buffer).await.unwrap();
    let expected = "web.default.svc.cluster.local. 5 A 10.96.0.7";
    assert_eq!(show(&Message::from_vec(&buffer[..n]).unwrap().answers), expected);
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(&[&(asked.len() as u16).to_be_bytes(), asked.as_slice()].concat()).await.unwrap();
        let n = usize::from(stream.read_u16().await.unwrap());
        stream.read_exact(&mut buffer[..n]).await.unwrap();
        assert_eq!(show(&Message::from_vec(&buffer[..n]).unwrap().answers), expected);
    }
    tasks.shutdown().await;
    assert!(UdpSocket::bind(address).await.is_ok(), "the socket is closed");
}

#[tokio::test]
async fn a_question_that_panics_is_a_server_failure_and_the_others_are_answered() {
    // Its name is looked up here; the other one's once more before others are asked.
    let mut server = server(Vec::new(), index());
    let (known, asked) = (server.lookup, AtomicUsize::new(0));
    server.lookup = Box::new(move |name, kind| {
        assert_ne!(name.to_string(), "bad.default.svc.cluster.local.", "made to panic");
        let elsewhere = name.to_string() == "outside.default.svc.cluster.local.";
        assert!(!elsewhere || asked.fetch_add(1, Ordering::Relaxed) != 1, "made to panic");
        known(name, kind)
    });
    let sockets = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, tasks) = (sockets.address(), Supervisor::new());
    server.start(sockets, &tasks);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut codes = Vec::new();
    for name in ["bad", "outside", "web"] {
        let asked = question(&format!("{name}.default.svc.cluster.local."), RecordType::A);
        socket.send_to(&asked.to_vec().unwrap(), address).await.unwrap();
        let mut buffer = [0; 1500];
        let n = socket.recv(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..n]).unwrap();
        // Resolvers take no answer that does not repeat the question.
        assert_eq!((answer.metadata.id, &answer.queries), (asked.metadata.id, &asked.queries));
        codes.push(answer.metadata.response_code);
    }
    assert_eq!(codes, [ResponseCode::ServFail, ResponseCode::ServFail, ResponseCode::NoError]);
    tasks.shutdown().await;
}
