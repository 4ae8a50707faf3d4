//! Snapshots of servers that serve: exact at one revision whatever is written meanwhile, taken of the embedded store and of
//! etcd, and restored into either; and who may take one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use apiserver::restore::{Etcd as EtcdPlace, Restored, into_directory, into_etcd};
use http::Method;
use serde_json::{Value, json};
use snapshots::{Contents, Reader, Saved, save};
use testkit::{Caller, Etcd, Process};
use tokio::task::JoinSet;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RISE: i64 = 1_000_000_000;

/// The server's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

async fn done(caller: &Caller, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = (!body.is_null()).then_some(body);
    let answer = caller.send(method.clone(), path, body).await?;
    anyhow::ensure!(answer.code < 300, "{method} {path}: {} {}", answer.code, answer.body);
    Ok(answer.body)
}

async fn read(caller: &Caller, path: &str) -> anyhow::Result<Value> {
    done(caller, Method::GET, path, &Value::Null).await
}

async fn snapshot(caller: &Caller, path: &Path) -> anyhow::Result<Saved> {
    let raw = caller.raw(Method::GET, apiserver::SNAPSHOT, &[], Vec::new()).await?;
    anyhow::ensure!(raw.code == 200, "{} {}", raw.code, String::from_utf8_lossy(&raw.bytes));
    Ok(save(&raw.bytes[..], &Contents::default(), None, |_| path.to_owned())?)
}

fn reader(path: &Path) -> anyhow::Result<Reader<File>> {
    let mut reader = Reader::open(File::open(path)?)?;
    reader.unlock(None)?;
    Ok(reader)
}

/// Name, UID, resourceVersion and data of each object of a list.
fn told(list: &Value) -> BTreeMap<String, [Value; 3]> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .map(|item| {
            let metadata = &item["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default().to_owned();
            (name, [metadata["uid"].clone(), metadata["resourceVersion"].clone(), item["data"].clone()])
        })
        .collect()
}

fn map(name: &str, turn: usize) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"turn": turn.to_string(), "pad": "x".repeat(2000)}})
}

/// Objects of many sorts.
async fn fill(caller: &Caller) -> anyhow::Result<()> {
    for n in 0..200 {
        done(caller, Method::POST, MAPS, &map(&format!("c{n:03}"), 0)).await?;
    }
    let definition = json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": "xs.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "xs", "singular": "x", "kind": "X"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    done(caller, Method::POST, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await?;
    let custom =
        json!({"kind": "X", "apiVersion": "example.org/v1", "metadata": {"name": "a"}, "spec": {"deep": [{"n": 1.5}]}});
    let path = "/apis/example.org/v1/namespaces/default/xs";
    for _ in 0..500 {
        if caller.send(Method::POST, path, Some(&custom)).await?.code < 300 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    read(caller, &format!("{path}/a")).await?;
    let service =
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    done(caller, Method::POST, "/api/v1/namespaces/default/services", &service).await?;
    let secret =
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"password": "old"}});
    done(caller, Method::POST, "/api/v1/namespaces/default/secrets", &secret).await?;
    let event = json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "reason": "Test", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "ConfigMap", "namespace": "default", "name": "c000"}});
    done(caller, Method::POST, "/api/v1/namespaces/default/events", &event).await?;
    Ok(())
}

/// Takes a snapshot while several write, and holds it against a list at its very revision.
async fn under_load(server: &Process, path: &Path) -> anyhow::Result<Saved> {
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let caller = server.admin()?;
        writers.spawn(async move {
            for turn in 1..60 {
                for n in (writer..200).step_by(40) {
                    let name = format!("c{n:03}");
                    done(&caller, Method::PUT, &format!("{MAPS}/{name}"), &map(&name, turn)).await?;
                }
                let extra = format!("extra-{writer}-{turn}");
                done(&caller, Method::POST, MAPS, &map(&extra, turn)).await?;
                if turn % 2 == 0 {
                    done(&caller, Method::DELETE, &format!("{MAPS}/{extra}"), &Value::Null).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    let caller = server.admin()?;
    // In the midst of it.
    while read(&caller, &format!("{MAPS}/c003")).await?["data"]["turn"] == "0" {
        tokio::task::yield_now().await;
    }
    let saved = snapshot(&caller, path).await?;
    let at = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", saved.header.revision);
    let then = told(&read(&caller, &at).await?);
    let forms = apiserver::restore::Forms::new();
    let mut reader = reader(path)?;
    let mut found = Vec::new();
    for object in reader.objects() {
        let object = object?;
        if object.key.starts_with("/registry/configmaps/default/") {
            found.push(forms.object(&object).map_err(anyhow::Error::msg)?);
        }
    }
    assert_eq!(told(&json!({ "items": found })), then, "the snapshot is the state at its revision");
    while let Some(outcome) = writers.join_next().await {
        outcome??;
    }
    Ok(saved)
}

/// A server on what was restored into its data directory.
async fn restored(path: &Path) -> anyhow::Result<(Process, Restored)> {
    let mut server = Process::start(None, &[]).await?;
    server.kill()?;
    let data = server.directory().join("data");
    std::fs::remove_dir_all(data.join("store"))?;
    let outcome = into_directory(&mut reader(path)?, &data, RISE, None)?;
    let again = into_directory(&mut reader(path)?, &data, RISE, None).expect_err("there is a store").to_string();
    assert!(again.contains("there is a store already"), "{again}");
    server.start_again().await?;
    Ok((server, outcome))
}

/// All that a client sees is as it was at the snapshot's revision.
async fn as_it_was(server: &Process, then: &[(&str, Value)], same_versions: bool) -> anyhow::Result<()> {
    let caller = server.admin()?;
    for (path, list) in then {
        let (mut now, mut then) = (told(&read(&caller, path).await?), told(list));
        if !same_versions {
            now.values_mut().chain(then.values_mut()).for_each(|object| object[1] = Value::Null);
        }
        for (name, object) in then {
            assert_eq!(now.get(&name), Some(&object), "{path} {name}");
        }
    }
    let custom = read(&caller, "/apis/example.org/v1/namespaces/default/xs/a").await?;
    assert_eq!(custom["spec"], json!({"deep": [{"n": 1.5}]}));
    // And it can be written on.
    done(&caller, Method::PUT, &format!("{MAPS}/c000"), &map("c000", 1000)).await?;
    Ok(())
}

const LISTS: [&str; 4] =
    [MAPS, "/api/v1/namespaces/default/secrets", "/api/v1/namespaces", "/api/v1/namespaces/default/events"];

async fn lists(caller: &Caller, revision: i64) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let mut all = Vec::new();
    for path in LISTS {
        let at = format!("{path}?resourceVersion={revision}&resourceVersionMatch=Exact");
        all.push((path, read(caller, &at).await?));
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_back_as_it_was_and_fools_no_client() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("s.ferrysnapshot");
    let server = Process::start(None, &[]).await?;
    let caller = server.admin()?;
    fill(&caller).await?;
    let saved = under_load(&server, &path).await?;
    let system = read(&caller, "/api/v1/namespaces/kube-system").await?;
    assert_eq!(saved.header.cluster, system["metadata"]["uid"]);
    let revision = saved.header.revision;
    let then = lists(&caller, revision).await?;
    let lost = read(&caller, MAPS).await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse::<i64>()?;
    assert!(lost > revision, "the cluster went on");
    drop(server);

    let (server, outcome) = restored(&path).await?;
    assert_eq!((outcome.keys, outcome.revision), (saved.totals.objects, revision + RISE));
    as_it_was(&server, &then, true).await?;
    let caller = server.admin()?;
    let now = read(&caller, MAPS).await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse::<i64>()?;
    assert!(now > revision + RISE);
    // A client that has seen what is lost is told so, and does not wait for events that never come.
    for from in [revision, lost, revision + RISE - 1] {
        let event = caller.first_event(&format!("{MAPS}?watch=1&resourceVersion={from}")).await?;
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{from}: {event}");
    }
    // An object that was deleted or written after the snapshot cannot be written by what is known of it.
    let mut stale = map("c001", 7);
    stale["metadata"]["resourceVersion"] = lost.to_string().into();
    let answer = caller.send(Method::PUT, &format!("{MAPS}/c001"), Some(&stale)).await?;
    assert_eq!(answer.code, 409, "{}", answer.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_from_etcd_to_the_embedded_store_and_back() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("s.ferrysnapshot");
    let server = Process::start(Some(etcd.url()), &[]).await?;
    let caller = server.admin()?;
    fill(&caller).await?;
    let saved = under_load(&server, &path).await?;
    assert!(!saved.header.canonical, "objects are in protobuf there");
    let then = lists(&caller, saved.header.revision).await?;
    let place = || EtcdPlace { servers: vec![etcd.url().to_owned()], ..EtcdPlace::default() };
    let refused = into_etcd(&mut reader(&path)?, place(), None).await.unwrap_err().to_string();
    assert!(refused.contains("there is a cluster in this etcd already"), "{refused}");
    drop(server);

    let (server, outcome) = restored(&path).await?;
    assert_eq!((outcome.keys, outcome.unreadable), (saved.totals.objects, 0));
    as_it_was(&server, &then, true).await?;

    let back = dir.path().join("b.ferrysnapshot");
    let saved = snapshot(&server.admin()?, &back).await?;
    assert!(saved.header.canonical);
    drop(server);
    let Some(other) = Etcd::start().await? else { return Ok(()) };
    let place = EtcdPlace { servers: vec![other.url().to_owned()], ..EtcdPlace::default() };
    // Its revisions are its own: by a thousand million they can't be raised by writing.
    let refused = into_etcd(&mut reader(&back)?, place.clone(), None).await.unwrap_err().to_string();
    assert!(refused.contains("etcdutl snapshot restore --bump-revision"), "{refused}");
    let outcome = into_etcd(&mut reader(&path)?, place, None).await?;
    assert!(outcome.revision > reader(&path)?.header().revision);
    let stored = other.get("/registry/configmaps/default/c000").await?.unwrap_or_default();
    assert!(stored.starts_with(b"k8s\0"), "as upstream's servers have it");
    let server = Process::start(Some(other.url()), &[]).await?;
    as_it_was(&server, &then, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_for_those_who_may_see_everything() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let (admin, jane) = (server.admin()?, server.caller("jane")?);
    let asked = async || jane.get(apiserver::SNAPSHOT).await;
    let answer = asked().await?;
    let message = "forbidden: User \"jane\" cannot get path \"/ferry/snapshot\"";
    assert_eq!((answer.code, answer.body["message"].as_str()), (403, Some(message)));
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = |rules: Value| json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "backup"}, "rules": rules});
    let paths = json!({"nonResourceURLs": ["*"], "verbs": ["get"]});
    done(&admin, Method::POST, roles, &role(json!([paths]))).await?;
    let binding = json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "backup"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "backup"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    done(&admin, Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
    // Every path, as monitoring has: no Secrets by a back door.
    let answer = asked().await?;
    assert_eq!(answer.code, 403);
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("a snapshot holds every object"), "{message}");
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]});
    done(&admin, Method::PUT, &format!("{roles}/backup"), &role(json!([paths, everything]))).await?;
    let dir = tempfile::tempdir()?;
    snapshot(&jane, &dir.path().join("s.ferrysnapshot")).await?;
    Ok(())
}
