//! Events: one store under two groups, as a kube-apiserver v1.36.2 answered request by request; and they expire.

use http::Method;
use serde_json::{Value, json};
use testkit::{Cluster, Process};

const OLD: &str = "/api/v1/namespaces/default/events";
const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const MERGE: &str = "application/merge-patch+json";

/// Not a test: what others start.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

fn event(name: &str) -> Value {
    json!({"metadata": {"name": name}, "eventTime": "2026-01-02T03:04:05.000000Z", "type": "Normal", "reason": "R",
        "action": "A", "reportingController": "c.io/x", "reportingInstance": "i", "note": "n",
        "regarding": {"namespace": "default", "kind": "Pod", "name": "p"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_is_seen_in_both_groups_and_nothing_else_changes_in_the_new_one() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let made = admin.send(Method::POST, NEW, Some(&event("a"))).await?;
    assert_eq!((made.code, made.warnings), (201, Vec::new()), "{}", made.body);
    assert_eq!(made.body["deprecatedSource"], json!({}));
    let patch = async |path: &str, patch: Value| admin.send_as(Method::PATCH, path, MERGE, Some(&patch)).await;
    let series = |count: i64| json!({"series": {"count": count, "lastObservedTime": "2026-01-02T03:05:05.000000Z"}});
    let refused = patch(&format!("{NEW}/a"), series(1)).await?;
    let words = "Event \"a\" is invalid: series.count: Invalid value: \"\": should be at least 2";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    assert_eq!(refused.body["details"]["group"], Value::Null);
    assert_eq!(patch(&format!("{NEW}/a"), series(2)).await?.code, 200);
    let old = admin.get(&format!("{OLD}/a")).await?.body;
    assert_eq!(old["series"], series(2)["series"]);
    assert_eq!(
        [&old["message"], &old["reportingComponent"], &old["involvedObject"]["name"], &old["firstTimestamp"]],
        [&json!("n"), &json!("c.io/x"), &json!("p"), &Value::Null]
    );
    let refused = patch(&format!("{NEW}/a"), json!({"note": "m", "deprecatedCount": 4})).await?;
    let words = "Event \"a\" is invalid: [message: Invalid value: \"m\": field is immutable, \
                 count: Invalid value: 4: field is immutable]";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    // The old group never minded.
    let changed = patch(&format!("{OLD}/a"), json!({"message": "m", "count": 4})).await?;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let new = admin.get(&format!("{NEW}/a")).await?.body;
    assert_eq!((&new["note"], &new["deprecatedCount"]), (&json!("m"), &json!(4)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_group_takes_what_the_new_one_refuses() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let old = json!({"metadata": {"name": "Bad_Name"}, "involvedObject": {"kind": "Pod", "name": "p"}, "type": "Odd"});
    assert_eq!(admin.send(Method::POST, OLD, Some(&old)).await?.code, 201);
    let refused = admin.send(Method::POST, NEW, Some(&json!({"metadata": {"name": "b"}, "type": "Odd"}))).await?;
    let words =
        "Event \"b\" is invalid: [eventTime: Required value, type: Invalid value: \"\": has invalid value: Odd]";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    let elsewhere = json!({"metadata": {"name": "c"}, "involvedObject": {"namespace": "other"}});
    let refused = admin.send(Method::POST, OLD, Some(&elsewhere)).await?;
    let words =
        "Event \"c\" is invalid: involvedObject.namespace: Invalid value: \"other\": does not match event.namespace";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    Ok(())
}

#[tokio::test]
async fn events_are_kept_as_long_as_the_flag_says() -> anyhow::Result<()> {
    let server = Process::start(None, &["--event-ttl=1s"]).await?;
    let admin = server.admin()?;
    assert_eq!(admin.send(Method::POST, NEW, Some(&event("a"))).await?.code, 201);
    let mut watch = admin.open(&format!("{OLD}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Da")).await?;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|kind| kind != "DELETED") {
        let event = watch.next().await.expect("an event that never expires");
        seen.push(event["type"].clone());
    }
    assert_eq!(seen, ["ADDED", "DELETED"]);
    assert_eq!(admin.get(&format!("{OLD}/a")).await?.code, 404);
    Ok(())
}
