//! Each kind, made and changed by one server and then by the other. A write that changes nothing is the judge of what is in
//! etcd: upstream's server writes where the bytes there are not those that it would write, and the object's version tells.

use ::kinds::catalogue::rows;
use ferry_tests::load::{self, MADE};
use http::Method;
use model::resource::{Sort, Verb};
use serde_json::{Value, json};
use testkit::{Caller, fixture};
use writes::strategy::Kind;

use crate::upstream::{self, Upstream, differ, same};

const NAMESPACE: &str = "default";
const APPLY: &str = "application/apply-patch+yaml";

fn collection(row: &Kind) -> String {
    let base = match row.group.is_empty() {
        true => format!("/api/{}", row.version),
        false => format!("/apis/{}/{}", row.group, row.version),
    };
    let within = if row.namespaced { format!("/namespaces/{NAMESPACE}") } else { String::new() };
    format!("{base}{within}/{}", row.resource)
}

/// A name that the kind's rules allow.
fn name(row: &Kind, by: &str) -> String {
    match (row.kind.as_ref(), by) {
        ("CustomResourceDefinition", _) => format!("{by}s.example.com"),
        ("APIService", _) => format!("v1.{by}.example.com"),
        ("IPAddress", "ferry") => "192.0.2.7".into(),
        ("IPAddress", _) => "192.0.2.8".into(),
        _ => format!("by-{by}"),
    }
}

fn small(row: &Kind, by: &str) -> Value {
    let mut object =
        fixture(&row.kind(), &name(row, by), row.namespaced.then_some(NAMESPACE)).expect("a row has a schema");
    match row.kind.as_ref() {
        // Names are one definition's.
        "CustomResourceDefinition" => object["spec"]["names"]["kind"] = format!("Kind{by}").into(),
        // Two of one range are in each other's way.
        "ServiceCIDR" if by == "ferry" => object["spec"]["cidrs"] = json!(["198.51.100.0/24"]),
        _ => {}
    }
    object
}

/// An object as any server would have made it.
fn comparable(made: &Value, by: &str) -> Value {
    let mut object = made.clone();
    for key in ["uid", "resourceVersion", "creationTimestamp"] {
        object["metadata"].as_object_mut().unwrap().remove(key);
    }
    let owned = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in owned.into_iter().flatten() {
        entry["time"] = Value::Null;
    }
    // What a server makes at random.
    let volumes = object.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        volume["name"] = "random".into();
    }
    let mounts = object.pointer_mut("/spec/containers/0/volumeMounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        mount["name"] = "random".into();
    }
    let uid = made["metadata"]["uid"].as_str().unwrap_or("none");
    let by_both = ["192.0.2.7", "192.0.2.8", "198.51.100.0/24", "192.0.2.0/24"];
    let text = by_both.iter().fold(object.to_string(), |text, one| text.replace(one, "BOTH"));
    let text = text.replace(by, "BY").replace(uid, "UID");
    serde_json::from_str(&text).unwrap()
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_is_written_by_one_as_by_the_other() -> anyhow::Result<()> {
    let Some((etcd, ferry)) = upstream::ferry().await? else { return Ok(()) };
    let other = Upstream::start(&etcd, &ferry).await?;
    let (ours, theirs) = (ferry.admin()?, other.admin()?);
    let account = json!({"metadata": {"name": "default"}});
    ours.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let mut failures = Vec::new();
    let rows = rows().into_iter().filter(|r| r.sort != Sort::Virtual && r.verbs.contains(&Verb::Create));
    let mut checked = 0;
    for row in rows {
        checked += 1;
        match alike(&row, &ours, &theirs).await {
            Ok(told) => failures.extend(told.into_iter().map(|why| format!("{}: {why}", row.group_resource()))),
            Err(why) => failures.push(format!("{}: {why:#}", row.group_resource())),
        }
    }
    failures.extend(custom(&ours, &theirs).await?);
    println!("{checked} kinds were checked, and a custom one");
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// The same for a custom kind, which the store has in JSON.
async fn custom(ours: &Caller, theirs: &Caller) -> anyhow::Result<Vec<String>> {
    let (definitions, made) = ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", MADE[4]);
    let defined = ours.send(Method::POST, definitions, Some(&load::definition())).await?;
    anyhow::ensure!(defined.code == 201, "{}", defined.body);
    let mut told = Vec::new();
    for (by, maker) in [("ferry", ours), ("peer", theirs)] {
        crate::load::served(maker, made.collection).await?;
        let mut object = (made.body)();
        (object["apiVersion"], object["kind"]) = (made.kind.0.into(), made.kind.1.into());
        object["metadata"] =
            json!({"name": by, "annotations": {"html": "<&>", "line": "\u{2028}"}, "labels": {"z": "1", "a": "2"}});
        let created = maker.send(Method::POST, made.collection, Some(&object)).await?;
        anyhow::ensure!(created.code == 201, "created by {by}: {} {}", created.code, created.body);
        crate::load::served(if by == "ferry" { theirs } else { ours }, made.collection).await?;
        told.extend(step(&format!("{}/{by}", made.collection), by, ours, theirs).await?);
    }
    Ok(told)
}

async fn alike(row: &Kind, ours: &Caller, theirs: &Caller) -> anyhow::Result<Vec<String>> {
    let collection = collection(row);
    let mut told = Vec::new();
    let mut made = Vec::new();
    for (by, maker) in [("ferry", ours), ("peer", theirs)] {
        let created = maker.send(Method::POST, &collection, Some(&small(row, by))).await?;
        anyhow::ensure!(created.code == 201, "created by {by}: {} {}", created.code, created.body);
        made.push((by, created.body));
    }
    let mut differences = Vec::new();
    differ(&comparable(&made[0].1, "ferry"), &comparable(&made[1].1, "peer"), "", &mut differences);
    told.extend(differences.into_iter().map(|difference| format!("created: {difference}")));
    for (by, created) in &made {
        let item = format!("{collection}/{}", created["metadata"]["name"].as_str().unwrap_or_default());
        told.extend(step(&item, by, ours, theirs).await?);
    }
    Ok(told)
}

/// What is wrong with an object that was made by one of them, in the course of its life.
async fn step(item: &str, by: &str, ours: &Caller, theirs: &Caller) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    let mut read = match same(ours, theirs, item).await {
        Ok(read) => read,
        Err(why) => {
            told.push(format!("made by {by}: {why:#}"));
            theirs.get(item).await?.body
        }
    };
    let patches = [
        ("application/merge-patch+json", json!({"metadata": {"annotations": {"merged": "yes"}}})),
        ("application/strategic-merge-patch+json", json!({"metadata": {"labels": {"merged": "too"}}})),
        ("application/json-patch+json", json!([{"op": "add", "path": "/metadata/labels/added", "value": "yes"}])),
    ];
    let mut last = by;
    // Of a custom kind no server knows how lists merge.
    let known = |media: &str| !item.contains("example.org") || !media.contains("strategic");
    for (media, patch) in patches.into_iter().filter(|(media, _)| known(media)) {
        for (who, caller) in [("ferry", ours), ("peer", theirs)] {
            // Changed by nobody: what Ferry has put there is what upstream's server would put there.
            let kept = theirs.send(Method::PUT, item, Some(&read)).await?;
            if kept.code != 200 {
                told.push(format!("made by {by}, put by the peer as it is: {} {}", kept.code, kept.body));
            } else if last == "ferry" && version(&kept.body) != version(&read) {
                told.push(format!("made by {by}, before {media} by {who}: the peer writes it otherwise"));
            }
            let again = ours.send(Method::PUT, item, Some(&kept.body)).await?;
            if again.code != 200 || version(&again.body) != version(&kept.body) {
                told.push(format!("made by {by}, put by Ferry as it is: {} {}", again.code, again.body));
            }
            let patched = caller.send_as(Method::PATCH, item, media, Some(&patch)).await?;
            anyhow::ensure!(patched.code == 200, "{media} by {who}: {} {}", patched.code, patched.body);
            last = who;
            match same(ours, theirs, item).await {
                Ok(now) => read = now,
                Err(why) => {
                    told.push(format!("made by {by}, {media} by {who}: {why:#}"));
                    read = theirs.get(item).await?.body;
                }
            }
        }
    }
    let mut applied = json!({"apiVersion": read["apiVersion"], "kind": read["kind"],
        "metadata": {"name": read["metadata"]["name"], "labels": {"applied": "yes"}}});
    for (who, caller) in [("ferry", ours), ("peer", theirs)] {
        applied["metadata"]["labels"][who] = "yes".into();
        let path = format!("{item}?fieldManager={who}&force=true");
        let answer = caller.send_as(Method::PATCH, &path, APPLY, Some(&applied)).await?;
        anyhow::ensure!(answer.code == 200, "applied by {who}: {} {}", answer.code, answer.body);
        if let Err(why) = same(ours, theirs, item).await {
            told.push(format!("made by {by}, applied by {who}: {why:#}"));
        }
    }
    let now = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    let deleter = if by == "ferry" { theirs } else { ours };
    let deleted = deleter.send(Method::DELETE, item, Some(&now)).await?;
    anyhow::ensure!(deleted.code == 200, "deleted: {} {}", deleted.code, deleted.body);
    Ok(told)
}
