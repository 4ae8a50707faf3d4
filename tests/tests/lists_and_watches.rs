//! What lists, watches and deletes of collections answer to their options, as upstream answers (compared with a
//! kube-apiserver v1.36.2, request by request).

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn create(admin: &Caller, name: &str, color: &str) -> anyhow::Result<Value> {
    let body = json!({"metadata": {"name": name, "labels": {"color": color}}});
    let answer = admin.send(Method::POST, MAPS, Some(&body)).await?;
    anyhow::ensure!(answer.code == 201, "{answer:?}");
    Ok(answer.body)
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|i| i["metadata"]["name"].as_str()).collect()
}

/// All frames of a watch that ends by itself.
async fn frames(admin: &Caller, query: &str) -> anyhow::Result<Vec<Value>> {
    let mut lines = admin.open(&format!("{MAPS}?watch=1&{query}")).await?;
    let mut frames = Vec::new();
    while let Some(frame) = lines.next().await {
        frames.push(frame);
    }
    Ok(frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_options_are_told_in_upstreams_words() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    for (query, code, message) in [
        (
            "resourceVersion=abc",
            400,
            r#"invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#,
        ),
        ("limit=99999999999999999999", 400, r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#),
        ("continue=eA&resourceVersion=7", 400, "specifying resource version is not allowed when using continue"),
        ("continue=!!", 400, "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
        (
            "fieldSelector=spec.x%3D1",
            400,
            r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        ("labelSelector=c+in+(", 400, "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        (
            "watch=1&resourceVersion=abc",
            500,
            r#"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#,
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#,
        ),
    ] {
        let answer = admin.get(&format!("{MAPS}?{query}")).await?;
        assert_eq!((answer.code, answer.body["message"].as_str()), (code, Some(message)), "{query}");
    }
    let pods = admin.get("/api/v1/pods?fieldSelector=spec.foo%3Dx").await?;
    assert_eq!(pods.body["message"], "field label not supported: spec.foo");
    let events = "/apis/events.k8s.io/v1/events?fieldSelector=";
    assert_eq!(admin.get(&format!("{events}regarding.kind%3DPod")).await?.code, 200);
    assert_eq!(admin.get(&format!("{events}involvedObject.kind%3DPod")).await?.code, 400);
    let other = "/api/v1/watch/namespaces/default/configmaps/a?fieldSelector=metadata.name%3Db";
    assert_eq!(admin.get(other).await?.body["message"], "fieldSelector metadata.name doesn't match requested name");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_of_one_revision() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d", "e"] {
        create(&admin, name, "red").await?;
    }
    let first = admin.get(&format!("{MAPS}?limit=2")).await?.body;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    admin.send(Method::DELETE, &format!("{MAPS}/d"), None).await?;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    let rest = admin.get(&format!("{MAPS}?continue={token}")).await?.body;
    assert_eq!(names(&rest), ["c", "d", "e"], "as it was at the first page");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    // Whatever is there is there as a whole.
    assert_eq!(names(&admin.get(&format!("{MAPS}?limit=2&resourceVersion=0")).await?.body).len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_compacted_away_is_continued_at_the_newest_state() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d", "e"] {
        create(&admin, name, "red").await?;
    }
    let first = admin.get(&format!("{MAPS}?limit=2")).await?.body;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    admin.send(Method::DELETE, &format!("{MAPS}/d"), None).await?;
    cluster.compact().await?;
    // The window of events still has it; the store has not.
    let gone = admin.get(&format!("{MAPS}?limit=2&continue={token}")).await?;
    assert_eq!((gone.code, &gone.body["reason"]), (410, &json!("Expired")));
    let token = gone.body["metadata"]["continue"].as_str().unwrap_or_default();
    let rest = admin.get(&format!("{MAPS}?limit=2&continue={token}")).await?.body;
    assert_eq!((names(&rest), &rest["metadata"]["remainingItemCount"]), (vec!["c", "e"], &Value::Null));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_enter_and_leave_a_selection() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let begin = admin.get(MAPS).await?.body["metadata"]["resourceVersion"].clone();
    let mut object = create(&admin, "t", "red").await?;
    for color in ["blue", "red"] {
        object["metadata"]["labels"]["color"] = color.into();
        object = admin.send(Method::PUT, &format!("{MAPS}/t"), Some(&object)).await?.body;
    }
    let query =
        format!("timeoutSeconds=1&labelSelector=color%3Dred&resourceVersion={}", begin.as_str().unwrap_or_default());
    let seen = frames(&admin, &query).await?;
    let told: Vec<_> =
        seen.iter().map(|f| (f["type"].as_str(), f["object"]["metadata"]["labels"]["color"].as_str())).collect();
    let red = |kind| (Some(kind), Some("red"));
    assert_eq!(
        told,
        [red("ADDED"), red("DELETED"), red("ADDED")],
        "the last red object, at the revision that took it out"
    );
    assert_eq!(seen[2]["object"]["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_how_far_it_is_before_it_ends() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let made = create(&admin, "a", "red").await?;
    assert_eq!(frames(&admin, "resourceVersion=0&timeoutSeconds=-1").await?, Vec::<Value>::new());
    let seen = frames(&admin, "resourceVersion=0&timeoutSeconds=3&allowWatchBookmarks=true").await?;
    let kinds: Vec<_> = seen.iter().map(|frame| frame["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["ADDED", "BOOKMARK"]);
    let revision = |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse::<i64>().ok());
    assert!(revision(&seen[1]["object"]) >= revision(&made));
    let state = "resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1";
    let seen = frames(&admin, state).await?;
    assert_eq!(seen[1]["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    let future = frames(&admin, &format!("{state}&resourceVersion=999999999")).await?;
    assert_eq!((future[0]["type"].as_str(), &future[0]["object"]["code"]), (Some("ERROR"), &json!(504)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_deleted_in_parts_and_whole() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    for n in 0..300 {
        create(&admin, &format!("m{n:03}"), if n % 3 == 0 { "red" } else { "blue" }).await?;
    }
    let part = admin.send(Method::DELETE, &format!("{MAPS}?labelSelector=color%3Dred&limit=40"), None).await?;
    assert_eq!((part.code, names(&part.body).len()), (200, 40), "what was found is the answer");
    assert!(part.body["metadata"]["continue"].is_string());
    assert_eq!(names(&admin.get(MAPS).await?.body).len(), 260);
    let wrong = json!({"preconditions": {"uid": "x"}});
    let refused = admin.send(Method::DELETE, MAPS, Some(&wrong)).await?;
    assert_eq!((refused.code, &refused.body["reason"]), (409, &json!("Conflict")));
    admin.send(Method::DELETE, &format!("{MAPS}?dryRun=All"), None).await?;
    assert_eq!(names(&admin.get(MAPS).await?.body).len(), 260);
    admin.send(Method::DELETE, MAPS, None).await?;
    assert_eq!(names(&admin.get(MAPS).await?.body).len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn component_statuses_are_found_out_when_they_are_read() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let all = admin.get("/api/v1/componentstatuses").await?;
    assert_eq!((all.code, &all.body["kind"]), (200, &"ComponentStatusList".into()));
    // They come in the order in which they answer, as upstream's.
    let mut found = names(&all.body);
    found.sort();
    assert_eq!(found, ["controller-manager", "etcd-0", "scheduler"]);
    assert_eq!(all.warnings, ["v1 ComponentStatus is deprecated in v1.19+"]);
    let store = admin.get("/api/v1/componentstatuses/etcd-0").await?.body;
    assert_eq!(store["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    let missing = admin.get("/api/v1/componentstatuses/x").await?;
    assert_eq!((missing.code, &missing.body["message"]), (404, &"componentstatus \"x\" not found".into()));
    for (query, expected) in [("fieldSelector=metadata.name%3Dscheduler", &["scheduler"][..]), ("labelSelector=a", &[])]
    {
        assert_eq!(names(&admin.get(&format!("/api/v1/componentstatuses?{query}")).await?.body), expected, "{query}");
    }
    Ok(())
}
