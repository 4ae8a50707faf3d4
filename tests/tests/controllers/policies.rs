//! ValidatingAdmissionPolicies: their expressions are checked against the kinds that they are about, built-in or defined.

use serde_json::{Value, json};

use crate::world::World;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

fn policy(name: &str, resource: [&str; 3], validation: Value) -> Value {
    let [group, version, plural] = resource;
    let rule = json!({
        "apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": ["CREATE", "UPDATE"],
    });
    let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]});
    json!({"metadata": {"name": name}, "spec": spec})
}

/// The warnings of a policy once it was checked: fields and texts.
async fn warnings(world: &World, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let checked = |now: &Value| now["status"]["observedGeneration"] == now["metadata"]["generation"];
    let policy = world.until(&format!("{POLICIES}/{name}"), checked).await?;
    assert!(policy["status"]["typeChecking"].is_object(), "{policy}");
    let all = policy["status"]["typeChecking"]["expressionWarnings"].as_array().cloned().unwrap_or_default();
    let text = |warning: &Value, field: &str| warning[field].as_str().unwrap_or_default().to_owned();
    Ok(all.iter().map(|w| (text(w, "fieldRef"), text(w, "warning"))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_are_checked_against_built_in_and_defined_kinds() -> anyhow::Result<()> {
    let world = World::with(&["validatingadmissionpolicy-status-controller"]).await?;
    let good = json!({
        "expression": "object.spec.replicas > 1 && object.spec.template.spec.containers.all(c, c.image != '')",
        "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
    });
    world.create(POLICIES, policy("good", ["apps", "v1", "deployments"], good)).await?;
    assert_eq!(warnings(&world, "good").await?, []);

    let bad = json!({
        "expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
    });
    world.create(POLICIES, policy("bad", ["apps", "v1", "deployments"], bad)).await?;
    let told = warnings(&world, "bad").await?;
    let overloads = ["'_>_' applied to '(int, string)'", "'_+_' applied to '(string, int)'"];
    for ((field, text), (wanted, overload)) in
        told.iter().zip([("expression", overloads[0]), ("messageExpression", overloads[1])])
    {
        assert_eq!(*field, format!("spec.validations[0].{wanted}"));
        assert!(text.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:"), "{text}");
        assert!(text.contains(&format!("found no matching overload for {overload}")), "{text}");
    }
    assert_eq!(told.len(), 2);

    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"replicas": {"type": "integer"}, "image": {"type": "string"}},
    }}});
    world
        .define(json!({
            "metadata": {"name": "crontabs.stable.example.com"},
            "spec": {
                "group": "stable.example.com", "scope": "Namespaced",
                "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        }))
        .await?;
    let wrong =
        json!({"expression": "object.spec.replicas == object.spec.image && object.metadata.labels['a'] == 'b'"});
    world.create(POLICIES, policy("defined", ["stable.example.com", "v1", "crontabs"], wrong)).await?;
    let told = warnings(&world, "defined").await?;
    let [(_, text)] = &told[..] else { panic!("{told:?}") };
    assert!(text.starts_with("stable.example.com/v1, Kind=CronTab: "), "{text}");
    assert!(text.contains("found no matching overload for '_==_' applied to '(int, string)'"), "{text}");
    assert!(!text.contains("undefined field"), "{text}");
    Ok(())
}
