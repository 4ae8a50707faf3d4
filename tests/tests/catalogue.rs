//! Walks the catalogue: every resource is served, by the same rules. A new row is tested by being a row.

use ferry_tests::definitions::{established, until};
use http::Method;
use kinds::catalogue::rows;
use model::resource::{Sort, Verb};
use serde_json::Value;
use testkit::{Cluster, filled, fixture};
use writes::strategy::Kind;

const NAMESPACE: &str = "default";

/// Where a resource's objects are listed and created.
fn collection(row: &Kind) -> String {
    let base = if row.group.is_empty() {
        format!("/api/{}", row.version)
    } else {
        format!("/apis/{}/{}", row.group, row.version)
    };
    let within = if row.namespaced { format!("/namespaces/{NAMESPACE}") } else { String::new() };
    format!("{base}{within}/{}", row.resource)
}

/// A name that the kind's rules allow.
fn name(row: &Kind) -> &'static str {
    match row.kind.as_ref() {
        "CustomResourceDefinition" => "fixtures.example.com",
        "APIService" => "v1.example.com",
        "IPAddress" => "192.0.2.7",
        _ => "fixture",
    }
}

fn stored() -> Vec<Kind> {
    rows().into_iter().filter(|r| r.sort != Sort::Virtual && r.verbs.contains(&Verb::Create)).collect()
}

/// What a client sees of an object, without what the server counts.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stored_resource_lives_from_create_to_delete() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let account = serde_json::json!({"metadata": {"name": "default"}});
    admin.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let mut failures = Vec::new();
    for row in stored() {
        if let Err(why) = lives(&cluster, &row).await {
            failures.push(format!("{}: {why:#}", row.group_resource()));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), stored().len(), failures.join("\n"));
    Ok(())
}

async fn lives(cluster: &Cluster, row: &Kind) -> anyhow::Result<()> {
    let admin = cluster.admin();
    let (collection, name) = (collection(row), name(row));
    let item = format!("{collection}/{name}");
    let object = fixture(&row.kind(), name, row.namespaced.then_some(NAMESPACE)).expect("a row has a schema");

    let created = admin.send(Method::POST, &collection, Some(&object)).await?;
    anyhow::ensure!(created.code == 201, "create: {} {}", created.code, created.body);
    anyhow::ensure!(
        created.body["kind"] == row.kind.as_ref() && created.body["metadata"]["uid"].is_string(),
        "created: {}",
        created.body
    );
    let again = admin.send(Method::POST, &collection, Some(&object)).await?;
    anyhow::ensure!(again.code == 409 && again.body["reason"] == "AlreadyExists", "create again: {}", again.body);

    let definition = row.kind == "CustomResourceDefinition";
    if definition {
        until(&admin, name, established).await?;
    }
    let read = admin.get(&item).await?;
    anyhow::ensure!(
        read.code == 200 && (definition || comparable(&read.body) == comparable(&created.body)),
        "read: {} not {}",
        read.body,
        created.body
    );
    let same = admin.send(Method::PUT, &item, Some(&read.body)).await?;
    let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
    anyhow::ensure!(same.code == 200, "replace: {}", same.body);
    anyhow::ensure!(
        revision(&same.body) == revision(&read.body),
        "replacing an object by itself writes: {} / {}",
        same.body,
        read.body
    );

    let list =
        admin.get(&format!("{collection}?labelSelector=fixture%3Dyes&fieldSelector=metadata.name%3D{name}")).await?;
    anyhow::ensure!(list.code == 200 && list.body["kind"] == format!("{}List", row.kind), "list: {}", list.body);
    anyhow::ensure!(list.body["items"].as_array().is_some_and(|i| i.len() == 1), "list: {}", list.body);
    let event = admin
        .first_event(&format!("{collection}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3D{name}"))
        .await?;
    anyhow::ensure!(event["type"] == "ADDED" && event["object"]["metadata"]["name"] == name, "watch: {event}");

    let patch = serde_json::json!({"metadata": {"annotations": {"patched": "yes"}}});
    let patched = admin.send_as(Method::PATCH, &item, "application/merge-patch+json", Some(&patch)).await?;
    anyhow::ensure!(
        patched.code == 200 && patched.body["metadata"]["annotations"]["patched"] == "yes",
        "patch: {}",
        patched.body
    );
    if row.has_status() {
        let status = admin.get(&format!("{item}/status")).await?;
        anyhow::ensure!(status.code == 200 && status.body["kind"] == row.kind.as_ref(), "status: {}", status.body);
    }

    let now = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    let deleted = admin.send(Method::DELETE, &item, Some(&now)).await?;
    anyhow::ensure!(deleted.code == 200, "delete: {}", deleted.body);
    Ok(())
}

/// Kinds of which upstream checks the metadata alone.
const UNCHECKED: &[&str] = &["serviceaccounts"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stored_resource_refuses_an_object_for_more_than_its_metadata() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    // Admission refuses pods that no account is for.
    let account = serde_json::json!({"metadata": {"name": "default"}});
    admin.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let mut unchecked = Vec::new();
    for row in stored() {
        let collection = format!("{}?dryRun=All", collection(&row));
        let small = fixture(&row.kind(), name(&row), row.namespaced.then_some(NAMESPACE)).expect("a row has a schema");
        let mut full = filled(&row.kind()).expect("a row has a schema");
        full["metadata"] = small["metadata"].clone();
        let mut refused = false;
        let of_full = std::iter::once_with(|| broken(&full)).flatten();
        for object in broken(&small).into_iter().chain([full.clone()]).chain(of_full) {
            let answer = admin.send(Method::POST, &collection, Some(&object)).await?;
            let causes = answer.body["details"]["causes"].as_array().into_iter().flatten();
            let mut fields = causes.filter_map(|cause| cause["field"].as_str());
            if answer.code == 422 && fields.any(|field| !field.starts_with("metadata")) {
                refused = true;
                break;
            }
        }
        if !refused {
            unchecked.push(row.group_resource().to_string());
        }
    }
    assert_eq!(unchecked, UNCHECKED, "these take whatever is written to them");
    Ok(())
}

/// The object with one fault each: a value that is missing, empty or nonsense, or a map with a key that is none.
fn broken(object: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for (field, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            let put = |new| {
                let mut whole = object.clone();
                whole[field] = new;
                whole
            };
            out.extend(faulty(value).into_iter().map(put));
            out.push(put(Value::Null));
        }
    }
    out
}

fn faulty(value: &Value) -> Vec<Value> {
    match value {
        Value::String(_) => vec!["".into(), "not valid!".into()],
        Value::Number(_) => vec![(-1).into()],
        Value::Null | Value::Bool(_) => Vec::new(),
        Value::Array(items) => {
            let of_first = items.first().map(faulty).unwrap_or_default();
            let one = |item| Value::Array(vec![item]);
            [Value::Array(Vec::new())].into_iter().chain(of_first.into_iter().map(one)).collect()
        }
        Value::Object(members) => {
            let mut out = Vec::new();
            if let Some(any) = members.values().next() {
                let mut more = members.clone();
                more.insert("not a key!".to_owned(), any.clone());
                out.push(Value::Object(more));
            }
            for (key, value) in members {
                for new in faulty(value) {
                    let mut changed = members.clone();
                    changed.insert(key.clone(), new);
                    out.push(Value::Object(changed));
                }
                let mut fewer = members.clone();
                fewer.remove(key);
                out.push(Value::Object(fewer));
            }
            out
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_of_every_resource_is_forbidden_to_a_stranger() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let stranger = cluster.caller("stranger", &[]);
    // What upstream's bootstrap roles allow to everybody who is authenticated.
    let open = ["selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    let mut allowed = Vec::new();
    for row in rows().into_iter().filter(|r| !open.contains(&r.resource.as_ref())) {
        let item = format!("{}/{}", collection(&row), name(&row));
        let mut attempts = Vec::new();
        for verb in row.verbs {
            attempts.push(match verb {
                Verb::Create => (Method::POST, collection(&row)),
                Verb::Delete => (Method::DELETE, item.clone()),
                Verb::DeleteCollection => (Method::DELETE, collection(&row)),
                Verb::Get => (Method::GET, item.clone()),
                Verb::List => (Method::GET, collection(&row)),
                Verb::Patch => (Method::PATCH, item.clone()),
                Verb::Update => (Method::PUT, item.clone()),
                Verb::Watch => (Method::GET, format!("{}?watch=true", collection(&row))),
            });
        }
        for part in &row.subresources {
            attempts.push((
                if part.verbs.contains(&Verb::Get) { Method::GET } else { Method::POST },
                format!("{item}/{}", part.name),
            ));
        }
        for (method, path) in attempts {
            let answer = stranger.send(method.clone(), &path, None).await?;
            let refused = answer.code == 403 && answer.body["reason"] == "Forbidden";
            if !refused {
                allowed.push(format!("{method} {path}: {} {}", answer.code, answer.body));
            }
        }
    }
    assert!(allowed.is_empty(), "{}", allowed.join("\n"));
    Ok(())
}

#[tokio::test]
async fn what_the_server_makes_itself_is_its_own() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    for namespace in ["default", "kube-system"] {
        let made = cluster.admin().get(&format!("/api/v1/namespaces/{namespace}")).await?;
        let owner = &made.body["metadata"]["managedFields"][0];
        assert_eq!(owner["manager"], "kube-apiserver", "{}", made.body);
        let label = &owner["fieldsV1"]["f:metadata"]["f:labels"]["f:kubernetes.io/metadata.name"];
        assert!(label.is_object(), "defaults are written as by a client: {}", made.body);
    }
    Ok(())
}

#[tokio::test]
async fn discovery_names_what_is_served() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    for row in rows() {
        let base =
            if row.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", row.group, row.version) };
        let document = cluster.admin().get(&base).await?;
        let named =
            document.body["resources"].as_array().is_some_and(|r| r.iter().any(|r| r["name"] == row.resource.as_ref()));
        assert!(document.code == 200 && named, "{base} does not name {}", row.resource);
    }
    Ok(())
}
