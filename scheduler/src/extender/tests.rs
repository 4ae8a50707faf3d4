//! `scheduler/extender_test.go`: what is asked, and what becomes of the answers.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::{
    cache::labels::Interner,
    config::Config,
    core::{Core, Effect, Settings},
};

/// Answers by verb, and notes what it was asked, shortened.
struct Fake {
    answers: Vec<(&'static str, Result<Value, String>)>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl Ask for Fake {
    fn ask(&self, verb: &str, question: &Value) -> Result<Value, String> {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let nodes = question["Nodes"]["items"].as_array().map(|items| items.iter().map(name).collect::<Vec<_>>());
        let names = serde_json::from_value::<Option<Vec<String>>>(question["NodeNames"].clone()).unwrap_or_default();
        let victims = [&question["NodeNameToVictims"], &question["NodeNameToMetaVictims"]];
        let victims = victims.into_iter().filter_map(Value::as_object).flatten().map(|(node, victims)| {
            let pods = victims["Pods"].as_array().cloned().unwrap_or_default();
            let pods: Vec<_> =
                pods.iter().map(|pod| pod["UID"].as_str().map_or_else(|| name(pod), str::to_owned)).collect();
            format!("{node}: {}", pods.join(" "))
        });
        let about = [nodes, names].into_iter().flatten().flatten().chain(victims).collect::<Vec<_>>().join(", ");
        self.asked.lock().push(format!("{verb} {} ({about})", name(&question["Pod"])));
        let found = self.answers.iter().find(|(known, _)| *known == verb);
        found.map_or_else(|| Err(format!("{verb} is out of order")), |(_, answer)| answer.clone())
    }

    async fn tell(&self, verb: &str, question: &Value) -> Result<Value, String> {
        self.asked.lock().push(format!("{verb} {question}"));
        let found = self.answers.iter().find(|(known, _)| *known == verb);
        found.map_or_else(|| Err(format!("{verb} is out of order")), |(_, answer)| answer.clone())
    }
}

/// What is decided, after what was asked, for pods of one CPU on the nodes `a`, `b` and `c` of two, with extenders of
/// these configurations and answers.
fn check(extenders: Vec<(Value, Vec<(&'static str, Value)>)>, pods: &[Value], expected: Expect) -> Core {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let made = extenders.into_iter().map(|(config, answers)| {
        let answers = answers.into_iter().map(|(verb, answer)| (verb, Ok(answer))).collect();
        let config = serde_json::from_value(config).expect("a configuration");
        Extender::new(config, Arc::new(Fake { answers, asked: asked.clone() }))
    });
    let made: Arc<[Extender]> = made.collect();
    let config = Config::default();
    let make = |interner: &mut Interner| {
        let mut frameworks = config.frameworks(interner)?;
        frameworks.iter_mut().for_each(|framework| framework.extend(made.clone()));
        Ok::<_, String>(frameworks)
    };
    let mut core = Core::new(&Settings::default(), |_| 0, make).expect("the default profile");
    let now = Instant::now();
    for name in ["a", "b", "c"] {
        let node = json!({"metadata": {"name": name}, "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "9"}}});
        core.node_changed(&serde_json::from_value::<Node>(node).expect("a node"), now);
    }
    let mut lines = Vec::new();
    for manifest in pods {
        core.pod_changed(&serde_json::from_value::<Pod>(manifest.clone()).expect("a pod"), now);
        for effect in core.step(now).into_iter().flatten() {
            lines.append(&mut asked.lock());
            lines.push(match effect {
                Effect::Bind { pod, node_name, .. } => format!("{} -> {node_name}", pod.name),
                Effect::Failed { pod, reason, message, .. } => format!("{} {reason}: {message}", pod.name),
                Effect::Preempt { victim, node_name, .. } => format!("evict {} from {node_name}", victim.name),
                other => panic!("{other:?}"),
            });
        }
    }
    expected.assert_eq(&lines.join("\n"));
    core
}

fn pod(name: &str, requests: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
    })
}

fn one_cpu(name: &str) -> Value {
    pod(name, json!({"cpu": "1"}))
}

#[test]
fn filters_are_asked_one_after_the_other_about_what_is_left() {
    let caching = json!({"filterVerb": "filter", "nodeCacheCapable": true});
    let whole = json!({"filterVerb": "filter"});
    let left = |names: &[&str]| json!({"nodes": {"items": names.iter().map(|name| json!({"metadata": {"name": name}})).collect::<Vec<_>>()}});
    check(
        vec![
            (caching.clone(), vec![("filter", json!({"NodeNames": ["b", "c"], "FailedNodes": {"a": "too loud"}}))]),
            (whole, vec![("filter", left(&["c"]))]),
        ],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            filter p (b, c)
            p -> c"#]],
    );
    let core = check(
        vec![(
            caching.clone(),
            vec![(
                "filter",
                json!({"nodeNames": [], "failedNodes": {"a": "too loud", "b": "too loud"},
                    "failedAndUnresolvableNodes": {"b": "too far", "c": "too far"}}),
            )],
        )],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            p Unschedulable: 0/3 nodes are available: 1 too loud, 2 too far. no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."#]],
    );
    // Nobody knows what could help: it is tried again at anything.
    let (mut core, now) = (core, Instant::now());
    assert_eq!(core.queue_lengths(), (0, 0, 1));
    core.node_deleted("a", now);
    assert_eq!(core.queue_lengths(), (0, 1, 0));
    assert!(core.step(now + Duration::from_secs(2)).is_some());

    check(
        vec![(caching.clone(), vec![("filter", json!({"NodeNames": ["z"]}))])],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            p SchedulerError: extender "" claims a filtered node "z" which is not found in the input node list"#]],
    );
    check(
        vec![(caching, vec![("filter", json!({"Error": "overloaded"}))])],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            p SchedulerError: overloaded"#]],
    );
}

#[test]
fn an_extender_that_may_fail_is_skipped_and_one_that_is_not_concerned_is_not_asked() {
    let of = |more: Value| {
        let mut config = json!({"filterVerb": "filter", "nodeCacheCapable": true});
        config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        config
    };
    check(
        vec![(of(json!({})), vec![])],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            p SchedulerError: filter is out of order"#]],
    );
    check(
        vec![(of(json!({"ignorable": true})), vec![])],
        &[one_cpu("p")],
        expect![[r#"
            filter p (a, b, c)
            p -> a"#]],
    );
    let managed = of(json!({"managedResources": [{"name": "example.com/x"}]}));
    check(
        vec![(managed, vec![("filter", json!({"NodeNames": ["b"]}))])],
        &[one_cpu("p"), pod("q", json!({"cpu": "1", "example.com/x": "0"}))],
        expect![[r#"
            p -> a
            filter q (a, b, c)
            q -> b"#]],
    );
}

#[test]
fn scores_are_weighed_and_added() {
    let prioritizing = json!({"prioritizeVerb": "rate", "weight": 5, "nodeCacheCapable": true});
    check(
        vec![(prioritizing.clone(), vec![("rate", json!([{"Host": "b", "Score": 1}, {"host": "c", "score": 10}]))])],
        &[one_cpu("p")],
        expect![[r#"
            rate p (a, b, c)
            p -> c"#]],
    );
    // Without an answer the plugins decide.
    check(
        vec![(prioritizing, vec![])],
        &[one_cpu("p")],
        expect![[r#"
            rate p (a, b, c)
            p -> a"#]],
    );
}

#[test]
fn preemption_is_agreed_on() {
    let low = |name: &str, node: &str, cpu: &str| {
        let mut pod = pod(name, json!({"cpu": cpu}));
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    let high = || {
        let mut pod = pod("high", json!({"cpu": "2"}));
        pod["spec"]["priority"] = json!(10);
        pod
    };
    let pods =
        || [low("on-a", "a", "2"), low("on-b", "b", "1"), low("also-on-b", "b", "1"), low("on-c", "c", "2"), high()];
    let cached = json!({"preemptVerb": "preempt", "nodeCacheCapable": true});
    check(
        vec![(
            cached.clone(),
            vec![(
                "preempt",
                json!({"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": "on-b"}, {"UID": "also-on-b"}]}}}),
            )],
        )],
        &pods(),
        expect![[r#"
            preempt high (a: on-a, b: on-b also-on-b, c: on-c)
            evict on-b from b
            evict also-on-b from b
            high Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."#]],
    );
    check(
        vec![(cached.clone(), vec![("preempt", json!({"NodeNameToMetaVictims": {"b": {"Pods": []}}}))])],
        &pods(),
        expect![[r#"
            preempt high (a: on-a, b: on-b also-on-b, c: on-c)
            high Unschedulable: 0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: expected at least one victim pod on node "b""#]],
    );
    let whole = json!({"preemptVerb": "preempt", "ignorable": true});
    check(
        vec![(whole, vec![])],
        &pods(),
        expect![[r#"
            preempt high (a: on-a, b: on-b also-on-b, c: on-c)
            evict on-a from a
            high Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."#]],
    );
}

#[tokio::test]
async fn binding_is_left_to_it() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let of = |answer: Value| {
        let config = serde_json::from_value(json!({"bindVerb": "bind"})).expect("a configuration");
        Extender::new(config, Arc::new(Fake { answers: vec![("bind", Ok(answer))], asked: asked.clone() }))
    };
    let pod = crate::cache::Cache::default().read_pod(&serde_json::from_value(one_cpu("p")).expect("a pod"));
    assert_eq!(of(json!({})).bind(&pod, "a").await, Ok(()));
    assert_eq!(of(json!({"Error": "taken"})).bind(&pod, "a").await, Err("taken".to_owned()));
    expect![[r#"bind {"Node":"a","PodName":"p","PodNamespace":"default","PodUID":"p"}"#]].assert_eq(&asked.lock()[0]);
}

/// What a server over HTTP makes of it: path, body, and codes.
#[tokio::test(flavor = "multi_thread")]
async fn questions_are_posted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tasks = component::Supervisor::new();
    let routes = axum::Router::new()
        .route("/base/filter", axum::routing::post(async |body: String| body))
        .route("/base/slow", axum::routing::post(async || std::future::pending::<String>().await));
    tasks.vital("extender", move |own| component::serving::serve(routes, listener, own));
    let config: ExtenderConfig = serde_json::from_value(json!({
        "urlPrefix": format!("http://{address}/base/"),
        "httpTimeout": "1s",
    }))
    .expect("a configuration");
    let http = Http::new(&config).expect("a client");
    let (answers, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let question = json!({"Pod": "p"});
        let _ = answers.send(["filter", "gone", "slow"].map(|verb| http.ask(verb, &question)));
    });
    let [echo, gone, slow] = ended.await.expect("answers");
    assert_eq!(echo, Ok(json!({"Pod": "p"})));
    assert_eq!(gone, Err(format!("failed gone with extender at URL http://{address}/base/gone, code 404")));
    assert!(slow.is_err_and(|why| why.ends_with("context deadline exceeded")));
    tasks.shutdown().await;
}

/// Over TLS the extender shows who it is, if it is asked to, and the scheduler has a certificate to show.
#[tokio::test(flavor = "multi_thread")]
async fn an_extender_is_known_by_its_authority() {
    let now = time::OffsetDateTime::now_utc();
    let ca = component::tls::pki::Ca::new("extenders", now).expect("an authority");
    let sign = |name: &str, server: bool| {
        let leaf = component::tls::pki::Leaf {
            common_name: name.to_owned(),
            sans: vec!["extender.example.com".to_owned()],
            server,
            client: !server,
            lasts: Some(std::time::Duration::from_secs(24 * 3600)),
            ..Default::default()
        };
        ca.sign(&leaf, now).expect("a certificate")
    };
    let (own, clients) = (sign("extender", true), sign("kube-scheduler", false));
    let key = component::tls::certified_key(own.cert_pem.as_bytes(), own.key_pem.as_bytes()).expect("a key");
    let resolver = Arc::new(component::tls::Fixed(Arc::new(key)));
    let tls = component::tls::server_config(resolver, Some(ca.pair().cert_pem.as_bytes())).expect("a server");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let who = async |request: axum::extract::Request| {
        let shown = request.extensions().get::<component::serving::PeerCertificates>().map_or(0, |peer| peer.0.len());
        json!({"certificates": shown}).to_string()
    };
    let server = component::serving::Server::default()
        .tls(Arc::new(tls))
        .open(axum::Router::new().route("/filter", axum::routing::post(who)));
    let tasks = component::Supervisor::new();
    tasks.vital("extender", move |own| server.serve(listener, own));
    let encoded = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let authority = encoded(&ca.pair().cert_pem);
    let asked = async |tls: Value, https: bool| {
        let config = json!({"urlPrefix": format!("https://127.0.0.1:{port}"), "enableHTTPS": https, "tlsConfig": tls});
        let http = Http::new(&serde_json::from_value(config).expect("a configuration")).expect("a client");
        http.tell("filter", &json!({})).await
    };
    let known = json!({"caData": authority, "serverName": "extender.example.com"});
    assert_eq!(asked(known.clone(), true).await, Ok(json!({"certificates": 0})));
    let mut shown = known;
    shown["certData"] = json!(encoded(&clients.cert_pem));
    shown["keyData"] = json!(encoded(&clients.key_pem));
    assert_eq!(asked(shown, true).await, Ok(json!({"certificates": 1})));
    // By its address it is not known.
    assert!(asked(json!({"caData": authority}), true).await.is_err());
    assert!(asked(json!({"insecure": true}), false).await.is_ok());
    // Upstream trusts everybody when HTTPS is asked for and no authority is named.
    assert!(asked(json!({}), true).await.is_ok());
    assert!(asked(json!({}), false).await.is_err());
    tasks.shutdown().await;
}
