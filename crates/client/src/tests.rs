//! Informers against a server of a few lines, in the same process, over an in-memory stream.

use std::{
    borrow::Cow,
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use component::{Supervisor, supervisor};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::{ClusterResourceScope, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::mpsc;

use crate::{Change, Index, Informer, Informers, over_stream};

/// What the server says to one request, in the order of requests.
enum Answer {
    Json(StatusCode, String),
    /// Lines of a watch that then ends.
    Lines(Vec<String>),
    /// Lines of a watch that stays open.
    Open(Vec<String>),
}

type Body = BoxBody<Bytes, Infallible>;
type Seen = Arc<Mutex<Vec<String>>>;

/// A client of a server that gives these answers, and the paths that were asked for.
fn scripted(answers: Vec<Answer>) -> (kube::Client, Seen) {
    let (answers, seen) = (Arc::new(Mutex::new(VecDeque::from(answers))), Seen::default());
    let told = seen.clone();
    let connect = move || {
        let (answers, told) = (answers.clone(), told.clone());
        async move {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                told.lock().unwrap().push(request.uri().to_string());
                let answer = answers.lock().unwrap().pop_front();
                async move { Ok::<_, Infallible>(answer_with(answer)) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(theirs), service));
            Ok(ours)
        }
    };
    (over_stream(connect, "test"), seen)
}

fn answer_with(answer: Option<Answer>) -> Response<Body> {
    let (status, body) = match answer {
        Some(Answer::Json(status, text)) => (status, Full::new(Bytes::from(text)).boxed()),
        Some(Answer::Lines(lines)) => (StatusCode::OK, Full::new(Bytes::from(lines.join("\n") + "\n")).boxed()),
        other => {
            let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(16);
            let lines = if let Some(Answer::Open(lines)) = other { lines } else { vec![] };
            tokio::spawn(async move {
                for line in lines {
                    let _ = tx.send(Ok(Frame::data(Bytes::from(line + "\n")))).await;
                }
                tx.closed().await;
            });
            let stream = futures::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|frame| (frame, rx)) });
            (StatusCode::OK, BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(stream))))))
        }
    };
    Response::builder().status(status).body(body).unwrap()
}

/// A boxed body must be `Sync`; only one task polls it.
struct SyncStream<S>(Mutex<std::pin::Pin<Box<S>>>);

impl<S: futures::Stream> futures::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().as_mut().poll_next(cx)
    }
}

fn object(name: &str, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"namespace":"ns","name":"{name}","uid":"{name}","resourceVersion":"{version}","managedFields":[{{"manager":"m"}}]}}}}"#
    )
}

fn list(version: u32, next: &str, names: &[(&str, u32)]) -> Answer {
    let items: Vec<_> = names.iter().map(|(n, v)| object(n, *v)).collect();
    let text = format!(
        r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{next}"}},"items":[{}]}}"#,
        items.join(",")
    );
    Answer::Json(StatusCode::OK, text)
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn expired() -> String {
    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}"#
        .into()
}

/// What happened, as `<what> <name>@<resourceVersion>`.
fn tell<K: Resource>(informer: &Informer<K>, may_panic: impl Fn(&str) + Send + Sync + 'static) -> Told {
    let (tx, rx) = mpsc::unbounded_channel();
    informer.on_change(move |change| {
        let meta = change.object().meta();
        let what = match change {
            Change::Added(_) => "added",
            Change::Updated { .. } => "updated",
            Change::Deleted(_) => "deleted",
        };
        let text = format!("{what} {}@{}", meta.name.as_ref().unwrap(), meta.resource_version.as_ref().unwrap());
        let text = if meta.managed_fields.is_some() { text + " with managedFields" } else { text };
        may_panic(&text);
        let _ = tx.send(text);
    });
    Told(rx)
}

struct Told(mpsc::UnboundedReceiver<String>);

impl Told {
    async fn next(&mut self, count: usize) -> Vec<String> {
        let mut told = vec![];
        while told.len() < count {
            told.push(self.0.recv().await.expect("the handler is gone"));
        }
        told
    }
}

/// Runs an informer until `count` changes were told, and prints them.
async fn changes(answers: Vec<Answer>, count: usize) -> (Vec<String>, Seen) {
    let (client, seen) = scripted(answers);
    let tasks = Supervisor::new();
    let informer = Informers::new(client, &tasks).of::<ConfigMap>();
    let told = tell(&informer, |_| ()).next(count).await;
    tasks.shutdown().await;
    (told, seen)
}

#[tokio::test]
async fn pages_are_put_together_and_the_watch_goes_on_from_there() {
    let watch = vec![
        event("MODIFIED", &object("a", 6)),
        event("BOOKMARK", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"9"}}"#),
    ];
    let answers = vec![
        list(5, "more", &[("a", 1)]),
        list(5, "", &[("b", 2)]),
        Answer::Lines(watch),
        Answer::Open(vec![event("DELETED", &object("b", 10))]),
    ];
    let (told, seen) = changes(answers, 4).await;
    assert_eq!(told, ["added a@1", "added b@2", "updated a@6", "deleted b@10"]);
    let seen = seen.lock().unwrap();
    assert!(seen[1].contains("continue=more"), "{seen:?}");
    assert!(seen[2].contains("watch=true") && seen[2].contains("resourceVersion=5"), "{seen:?}");
    assert!(seen[3].contains("resourceVersion=9"), "a bookmark moves on: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_lists_again_and_finds_what_it_missed() {
    let answers = vec![
        list(5, "", &[("a", 1), ("b", 2)]),
        Answer::Lines(vec![event("ERROR", &expired())]),
        list(9, "", &[("b", 2), ("c", 8)]),
        Answer::Json(StatusCode::GONE, expired()),
        list(12, "", &[("c", 11)]),
        Answer::Open(vec![]),
    ];
    let (told, _) = changes(answers, 6).await;
    assert_eq!(told, ["added a@1", "added b@2", "added c@8", "deleted a@1", "updated c@11", "deleted b@2"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_ten_times_is_found_as_soon_as_the_first_time() {
    let away = || Answer::Json(StatusCode::SERVICE_UNAVAILABLE, String::new());
    let begin = tokio::time::Instant::now();
    let mut answers = vec![list(5, "", &[("a", 1)])];
    for version in 6..16 {
        answers.extend([away(), Answer::Lines(vec![event("MODIFIED", &object("a", version))])]);
    }
    let (told, _) = changes(answers, 11).await;
    assert_eq!(told[10], "updated a@15");
    // Each time 0.8 to 1.6 s, and 0.8 s before a watch is resumed that ended at once.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    // One that stays away is asked less and less.
    let begin = tokio::time::Instant::now();
    let answers = (0..8).map(|_| away()).chain([list(5, "", &[("a", 1)])]).collect();
    changes(answers, 1).await;
    assert!(begin.elapsed() > Duration::from_secs(110), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_late_handler_is_told_what_is_there() {
    let (client, _) = scripted(vec![list(5, "", &[("a", 1)]), Answer::Open(vec![])]);
    let informers = Informers::new(client, &Supervisor::new());
    let informer = informers.of::<ConfigMap>();
    informer.synced().await;
    let (told, names) = (Arc::new(Mutex::new(vec![])), |told: &Mutex<Vec<String>>| told.lock().unwrap().join(" "));
    let tell = told.clone();
    informer.on_change(move |c| tell.lock().unwrap().push(c.object().metadata.name.clone().unwrap()));
    assert_eq!(names(&told), "a");
    assert_eq!(informer.list_namespace("ns").len(), 1);
    assert!(informer.get(Some("ns"), "a").is_some() && informer.get(None, "a").is_none());
}

#[tokio::test]
async fn a_handler_that_panics_misses_one_change_and_nobody_else_does() {
    let watch = vec![event("MODIFIED", &object("a", 6)), event("DELETED", &object("a", 7))];
    let (client, _) = scripted(vec![list(5, "", &[("a", 1), ("b", 2)]), Answer::Open(watch)]);
    let tasks = Supervisor::new();
    let informers = Informers::new(client, &tasks);
    let fails = |text: &str| assert!(!["added a@1", "updated a@6"].contains(&text), "made to panic");
    let mut bad = tell(&informers.owned_by("bad", &tasks).of::<ConfigMap>(), fails);
    let mut good = tell(&informers.owned_by("good", &tasks).of::<ConfigMap>(), |_| ());
    assert_eq!(good.next(4).await, ["added a@1", "added b@2", "updated a@6", "deleted a@7"]);
    assert_eq!(bad.next(2).await, ["added b@2", "deleted a@7"]);
    // Told at once what is there, by the caller of `on_change`.
    let mut late = tell(&informers.of::<ConfigMap>(), |text| assert_ne!(text, "added b@2", "made to panic"));
    assert!(late.0.try_recv().is_err());
    let metrics = supervisor::metrics();
    assert!(metrics.contains("ferry_task_panics_total{task=\"informer_handler\"} 3"), "{metrics}");
}

#[tokio::test]
async fn the_handlers_of_a_run_that_is_over_are_dropped() {
    let (open, mut more) = mpsc::unbounded_channel::<()>();
    let (client, _) = scripted(vec![list(5, "", &[("a", 1)]), Answer::Open(vec![])]);
    let tasks = Supervisor::new();
    let informers = Informers::new(client, &tasks);
    let run = tasks.child("run");
    let informer = informers.owned_by("old", &run).of::<ConfigMap>();
    informer.synced().await;
    informer.on_change(move |_| open.send(()).unwrap_or_default());
    assert!(more.recv().await.is_some());
    run.shutdown().await;
    // One registered by the next run is enough for the old one to go, though nothing changes.
    informers.owned_by("new", &tasks).of::<ConfigMap>().on_change(|_| ());
    assert!(more.recv().await.is_none(), "the old handler is still there");
}

#[tokio::test]
async fn who_waits_for_a_first_list_that_never_comes_ends_with_its_run() {
    let (client, _) = scripted(vec![Answer::Open(vec![])]);
    let tasks = Supervisor::new();
    let run = tasks.child("run");
    let informer = Informers::new(client, &tasks).owned_by("owner", &run).of::<ConfigMap>();
    let waiting = run.one_shot("waiting", async move { informer.synced().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    run.shutdown().await;
    waiting.await.unwrap();
}

/// A kind whose decoder panics on the object `bomb`, the first time.
#[derive(Clone, Debug)]
struct Fragile(ObjectMeta);

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ConfigMap { metadata: self.0.clone(), ..Default::default() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static ONCE: AtomicBool = AtomicBool::new(false);
        let map = ConfigMap::deserialize(deserializer)?;
        let bomb = map.metadata.name.as_deref() == Some("bomb");
        assert!(!bomb || ONCE.swap(true, Ordering::Relaxed), "made to panic");
        Ok(Self(map.metadata))
    }
}

impl Resource for Fragile {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Fragile".into()
    }
    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }
    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural(_: &()) -> Cow<'_, str> {
        "fragiles".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.0
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}

#[tokio::test(start_paused = true)]
async fn an_informer_that_panics_lists_again_and_tells_the_difference_and_nothing_twice() {
    let answers = vec![
        list(5, "", &[("a", 1), ("b", 2), ("c", 3)]),
        Answer::Lines(vec![event("ADDED", &object("d", 6)), event("ADDED", &object("bomb", 7))]),
        list(9, "", &[("a", 8), ("b", 2), ("bomb", 7)]),
        Answer::Open(vec![event("DELETED", &object("bomb", 10))]),
    ];
    let (client, _) = scripted(answers);
    let mut told = tell(&Informers::new(client, &Supervisor::new()).of::<Fragile>(), |_| ());
    assert_eq!(told.next(4).await, ["added a@1", "added b@2", "added c@3", "added d@6"]);
    let after = ["updated a@8", "added bomb@7", "deleted c@3", "deleted d@6", "deleted bomb@10"];
    assert_eq!(told.next(5).await, after);
    let metrics = supervisor::metrics();
    assert!(metrics.contains("ferry_task_restarts_total{task=\"informer\"} 1"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_found_listed_and_told_as_if_it_did_not() {
    let answers = vec![list(5, "", &[("a", 1), ("b", 2)]), Answer::Open(vec![])];
    let (client, _) = scripted(answers);
    let informer = Informers::new(client, &Supervisor::new()).of::<ConfigMap>();
    informer.synced().await;
    for _ in 0..3 {
        assert_eq!(informer.list().len(), 2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(informer.open(), 0);
        assert_eq!(informer.each().count(), 2);
        assert!(informer.peek(Some("ns"), "a").is_some() && informer.peek(None, "a").is_none());
        assert!(informer.has(Some("ns"), "a") && !informer.has(None, "a"));
        let by_name = Index::new("name", |m: &ConfigMap| m.metadata.name.as_deref().unwrap_or_default());
        assert_eq!(
            (informer.keys(by_name), informer.each_found(by_name, "b").count()),
            (vec!["a".into(), "b".into()], 1)
        );
        assert_eq!(informer.open(), 0, "those were looks");
        assert_eq!(informer.found(by_name, "b").len(), 1);
        assert_eq!(informer.open(), 1);
        assert!(informer.get(Some("ns"), "a").is_some());
        let late = tell(&informer, |_| ()).next(2).await;
        assert_eq!(late, ["added a@1", "added b@2"]);
    }
}

#[tokio::test]
async fn more_watches_than_a_connection_takes_get_another_one() {
    let (client, seen) = scripted((0..150).map(|_| Answer::Open(vec![])).collect());
    let mut open = vec![];
    for _ in 0..150 {
        let request = Request::get("/watch").body(kube::client::Body::empty()).unwrap();
        open.push(client.send(request).await.unwrap());
    }
    assert_eq!(seen.lock().unwrap().len(), 150);
}

#[tokio::test]
async fn an_answer_without_a_status_is_told_in_the_words_of_gos_clients() {
    for (status, body, words) in [
        (StatusCode::NOT_FOUND, "404 page not found\n", "the server could not find the requested resource"),
        (StatusCode::SERVICE_UNAVAILABLE, "", "the server is currently unable to handle the request"),
        (StatusCode::FORBIDDEN, "not you", "not you"),
        (StatusCode::BAD_GATEWAY, "no", "an error on the server (\"no\") has prevented the request from succeeding"),
        (
            StatusCode::IM_A_TEAPOT,
            "",
            "the server responded with the status code 418 but did not return more information",
        ),
    ] {
        let (client, _) = scripted(vec![Answer::Json(status, body.to_owned())]);
        let request = Request::get("/apis/none").body(vec![]).unwrap();
        let error = client.request::<serde_json::Value>(request).await.unwrap_err();
        assert_eq!(crate::message(&error), words);
        assert_eq!(crate::is_not_found(&error), status == StatusCode::NOT_FOUND);
    }
}
