//! Custom resources cannot be reached around their definition, and a conversion webhook that means no good gains nothing.
//! Messages were compared with a kube-apiserver v1.36.2 and the same webhook, answer by answer.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Cluster};

use ferry_tests::definitions::{established, until};
use hook::Hook;

mod hook;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn define(admin: &Caller, plural: &str, scope: &str, conversion: Value) -> anyhow::Result<()> {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let name = format!("{plural}.ex.io");
    let definition = json!({"metadata": {"name": name}, "spec": {
        "group": "ex.io", "scope": scope, "names": {"plural": plural, "kind": kind(plural)},
        "versions": [version("v1", true), version("v2", false)], "conversion": conversion}});
    let answer = admin.send(Method::POST, DEFINITIONS, Some(&definition)).await?;
    anyhow::ensure!(answer.code == 201, "{answer:?}");
    until(admin, &name, established).await
}

fn kind(plural: &str) -> String {
    format!("K{plural}")
}

/// Stores one object in v1, and says where it is read in v2.
async fn stored(admin: &Caller, hook: &Hook, mode: &str) -> anyhow::Result<String> {
    define(admin, mode, "Namespaced", hook.conversion(mode)).await?;
    let object = json!({"apiVersion": "ex.io/v1", "kind": kind(mode), "metadata": {"name": "a", "labels": {"l": "x"}},
        "secret": "s"});
    let answer = admin.send(Method::POST, &format!("/apis/ex.io/v1/namespaces/default/{mode}"), Some(&object)).await?;
    anyhow::ensure!(answer.code == 201, "{answer:?}");
    Ok(format!("/apis/ex.io/v2/namespaces/default/{mode}/a"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_webhook_must_not_answer_is_refused_in_upstreams_words() -> anyhow::Result<()> {
    let (cluster, hook) = (Cluster::start().await?, Hook::start().await?);
    let admin = cluster.admin();
    let good = admin.get(&stored(&admin, &hook, "good").await?).await?;
    assert_eq!((good.code, &good.body["secret"]), (200, &json!("s")), "{good:?}");
    for (mode, expect) in [
        ("uid", "failed: expected response.uid=\"REQUEST\", got \"other\""),
        ("none", "returned 0 objects, expected 1"),
        ("name", "returned invalid object: must have the same name: a != other"),
        ("namespace", "returned invalid object: must have the same namespace: default != kube-system"),
        ("owner", "returned invalid object: must have the same UID: OWN != other"),
        ("kind", "returned invalid object at index 0: invalid kind (expected Kkind, received Secret)"),
        ("labels", "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"),
        ("refusing", "failed: I will not"),
        (
            "pod",
            "failed: no kind \"Pod\" is registered for version \"apiextensions.k8s.io/v1\" in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"",
        ),
        ("empty", "failed: 0-length response with status code: 200 and content type: application/json"),
        ("broken", "failed: couldn't get version/kind; json parse error: unexpected end of JSON input"),
        (
            "list",
            "failed: couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }",
        ),
        (
            "failing",
            "failed: an error on the server (\"the password is 1234\") has prevented the request from succeeding",
        ),
    ] {
        let path = stored(&admin, &hook, mode).await?;
        let v1 = admin.get(&path.replace("/v2/", "/v1/")).await?;
        assert_eq!(v1.code, 200, "{mode}: what needs no conversion is not held up");
        let own = v1.body["metadata"]["uid"].as_str().unwrap_or_default();
        for path in [path.as_str(), path.trim_end_matches("/a")] {
            let answer = admin.get(path).await?;
            let mut message = answer.body["message"].as_str().unwrap_or_default().replace(own, "OWN");
            if let Some((before, rest)) = message.split_once("response.uid=\"") {
                let after = rest.split_once('"').map_or("", |(_, after)| after);
                message = format!("{before}response.uid=\"REQUEST\"{after}");
            }
            let kind = kind(mode);
            let whole = format!("conversion webhook for ex.io/v1, Kind={kind} {expect}");
            assert_eq!((answer.code, message.as_str()), (500, whole.as_str()), "{path}");
            assert!(!answer.body.to_string().contains("secret\":"), "nothing of the object is told");
        }
    }
    let text = admin.get(&stored(&admin, &hook, "text").await?).await?;
    assert_eq!(text.body["message"], "json: cannot unmarshal string into Go value of type map[string]interface {}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed_and_no_credential_is_sent() -> anyhow::Result<()> {
    let (cluster, hook) = (Cluster::start().await?, Hook::start().await?);
    let admin = cluster.admin();
    for mode in ["redirect302", "redirect307", "redirect308"] {
        let answer = admin.get(&stored(&admin, &hook, mode).await?).await?;
        assert_eq!(answer.code, 500, "{answer:?}");
    }
    let requests = hook.requests();
    assert_eq!(
        requests.iter().map(|r| r.uri.path()).collect::<Vec<_>>(),
        ["/redirect302", "/redirect307", "/redirect308"]
    );
    let mut names: Vec<_> = requests[0].headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_cut_off() -> anyhow::Result<()> {
    let (cluster, hook) = (Cluster::start().await?, Hook::start().await?);
    let admin = cluster.admin();
    let answer = admin.get(&stored(&admin, &hook, "endless").await?).await?;
    assert_eq!(answer.code, 500, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_hangs_is_given_up_after_30_s() -> anyhow::Result<()> {
    let (cluster, hook) = (Cluster::start().await?, Hook::start().await?);
    let admin = cluster.admin();
    let path = stored(&admin, &hook, "hang").await?;
    let asked = {
        let (admin, path) = (admin.clone(), path.clone());
        tokio::spawn(async move { admin.get(&path).await })
    };
    hook.hangs().await;
    assert_eq!(admin.get(&path.replace("/v2/", "/v1/")).await?.code, 200, "others are served meanwhile");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();
    let answer = asked.await??;
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert_eq!(answer.code, 500, "{message}");
    let expect = "conversion webhook for ex.io/v1, Kind=Khang failed: Post \"https://127.0.0.1:";
    assert!(message.starts_with(expect) && message.contains("/hang?timeout=30s\": "), "{message}");
    Ok(())
}

/// Who owns what is told in the version that it was written in, which takes the webhook. It is waited for as everything is: on
/// the one thread of this test others are served meanwhile.
#[tokio::test]
async fn a_slow_webhook_holds_up_nobody_but_who_needs_it() -> anyhow::Result<()> {
    let (cluster, hook) = (Cluster::start().await?, Hook::start().await?);
    let admin = cluster.admin();
    define(&admin, "things", "Namespaced", hook.conversion("good")).await?;
    let apply = async |version: &str, manager: &str, more: Value| {
        let mut config =
            json!({"apiVersion": format!("ex.io/{version}"), "kind": kind("things"), "metadata": {"name": "a"}});
        config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let path = format!("/apis/ex.io/{version}/namespaces/default/things/a?fieldManager={manager}");
        cluster.admin().send_as(Method::PATCH, &path, "application/apply-patch+yaml", Some(&config)).await
    };
    let made = apply("v2", "a", json!({"of": "a"})).await?;
    assert_eq!(made.code, 201, "{made:?}");

    for write in ["apply", "put"] {
        let labels = json!({"slow": write});
        let slow = async {
            if write == "apply" {
                let metadata = json!({"metadata": {"name": "a", "labels": labels}, "by": "b"});
                return apply("v1", "b", metadata).await;
            }
            let path = "/apis/ex.io/v1/namespaces/default/things/a";
            let mut object = admin.get(path).await?.body;
            object["metadata"]["labels"] = labels.clone();
            admin.send(Method::PUT, &format!("{path}?fieldManager=c"), Some(&object)).await
        };
        let meanwhile = async {
            hook.hangs().await;
            let other = admin.get("/apis/ex.io/v1/namespaces/default/things/a").await?;
            assert_eq!((other.code, other.body["metadata"]["labels"]["slow"] == write), (200, false), "{other:?}");
            hook.release();
            anyhow::Ok(())
        };
        let (slow, meanwhile) = tokio::join!(slow, meanwhile);
        meanwhile?;
        let slow = slow?;
        assert_eq!((slow.code, &slow.body["metadata"]["labels"]["slow"]), (200, &json!(write)), "{slow:?}");
        let owners = slow.body["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let of_a = owners.iter().find(|entry| entry["manager"] == "a").expect("an owner");
        assert_eq!(of_a["apiVersion"], "ex.io/v2");
        assert!(of_a["fieldsV1"]["f:of"].is_object(), "{slow:?}");
        hook.close();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custom_resource_is_at_its_own_path_and_scope_alone() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let by_name = json!({"strategy": "None"});
    define(&admin, "wides", "Cluster", by_name.clone()).await?;
    define(&admin, "narrows", "Namespaced", by_name).await?;
    for (plural, collection) in
        [("wides", "/apis/ex.io/v1/wides"), ("narrows", "/apis/ex.io/v1/namespaces/default/narrows")]
    {
        let object = json!({"apiVersion": "ex.io/v1", "kind": kind(plural), "metadata": {"name": "a"}});
        assert_eq!(admin.send(Method::POST, collection, Some(&object)).await?.code, 201);
        assert_eq!(admin.get(&format!("{collection}/a")).await?.code, 200);
        assert_eq!(admin.get(&format!("{}/a", collection.replace("v1", "v2"))).await?.code, 200);
    }
    for path in [
        "/apis/ex.io/v1/namespaces/default/wides/a",
        "/apis/ex.io/v1/namespaces/default/wides",
        "/apis/ex.io/v1/narrows/a",
        "/apis/ex.io/v1/namespaces/kube-system/narrows/a",
        "/apis/ex.io/v3/wides/a",
        "/apis/other.io/v1/wides/a",
        "/apis/apps/v1/wides/a",
        "/api/v1/wides/a",
        "/apis/ex.io/v1/Wides/a",
        "/apis/ex.io/v1/kwides/a",
        "/apis/ex.io/v1/wides.ex.io/a",
        "/apis/ex.io/v1/wides/..%2Fnarrows%2Fdefault%2Fa",
        "/apis/ex.io/v1/wides/a/b",
        "/apis/ex.io/v1/wides/a/status",
        "/apis/ex.io/v1/wides/a/scale",
    ] {
        let answer = admin.get(path).await?;
        assert_eq!(answer.code, 404, "{path}: {answer:?}");
    }
    let object = json!({"apiVersion": "ex.io/v1", "kind": "Kwides", "metadata": {"name": "b"}});
    assert_eq!(admin.send(Method::POST, "/apis/ex.io/v1/namespaces/default/wides", Some(&object)).await?.code, 404);
    assert_eq!(admin.send(Method::DELETE, "/apis/ex.io/v1/namespaces/default/wides/a", None).await?.code, 404);
    Ok(())
}
