//! The two policies of a job: what a pod's failure means, and which indexes make a success.

use k8s_openapi::api::{
    batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, SuccessPolicy},
    core::v1::{ContainerStatus, Pod},
};

use super::indexes::Indexes;
use crate::util::key;

/// What a failed pod is to its job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// It ends the job, with this message.
    Job(String),
    /// It ends its index.
    Index,
    /// It is one more failure.
    Counted,
    /// It is none.
    Ignored,
}

/// The first rule that fits the pod decides; without one the failure counts. With the rule's action, if one decides.
pub(super) fn of_failure(policy: Option<&PodFailurePolicy>, pod: &Pod) -> (Option<&'static str>, Failure) {
    for (index, rule) in policy.iter().flat_map(|p| &p.rules).enumerate() {
        let (namespace, name) = (key::namespace(&pod.metadata), key::name(&pod.metadata));
        let message = if let Some(codes) = &rule.on_exit_codes {
            exited(pod, codes).map(|(container, code)| {
                format!(
                    "Container {} for pod {namespace}/{name} failed with exit code {code} matching {} rule at index {index}",
                    container.name, rule.action
                )
            })
        } else {
            let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            let patterns = || rule.on_pod_conditions.iter().flatten();
            let fits = |kind: &str, status: &str| {
                patterns().any(|p| p.type_ == kind && p.status.as_deref().unwrap_or("True") == status)
            };
            conditions.into_iter().find(|c| fits(&c.type_, &c.status)).map(|c| {
                format!(
                    "Pod {namespace}/{name} has condition {} matching {} rule at index {index}",
                    c.type_, rule.action
                )
            })
        };
        let Some(message) = message else { continue };
        match rule.action.as_str() {
            "FailJob" => return (Some("FailJob"), Failure::Job(message)),
            "FailIndex" => return (Some("FailIndex"), Failure::Index),
            "Count" => return (Some("Count"), Failure::Counted),
            "Ignore" => return (Some("Ignore"), Failure::Ignored),
            // An action of a later version.
            _ => {}
        }
    }
    (None, Failure::Counted)
}

/// The first container that ended with a code of the rule, and the code.
fn exited<'a>(pod: &'a Pod, rule: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a ContainerStatus, i32)> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().find_map(|container| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = rule.container_name.as_ref().is_none_or(|name| *name == container.name);
        let fits = match rule.operator.as_str() {
            "In" => rule.values.contains(&code),
            "NotIn" => !rule.values.contains(&code),
            _ => false,
        };
        (named && code != 0 && fits).then_some((container, code))
    })
}

/// Why the job has succeeded by its policy, if it has.
pub(super) fn of_success(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let met = |rule: &k8s_openapi::api::batch::v1::SuccessPolicyRule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = Indexes::parse(text, completions);
            let shared = wanted.shared(succeeded);
            !wanted.is_empty()
                && (shared == wanted.total() || rule.succeeded_count.is_some_and(|count| shared >= count))
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    };
    let index = policy?.rules.iter().position(met)?;
    Some(format!("Matched rules at index {index}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "mypod"}, "status": status}))
            .unwrap()
    }

    fn container(name: &str, code: i32) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code}}})
    }

    fn check(rules: Value, status: &Value, want: &Failure) {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
        assert_eq!(of_failure(Some(&policy), &pod(status.clone())).1, *want, "{rules} {status}");
    }

    #[test]
    fn rules_on_exit_codes() {
        let rule = |action: &str, container: Value, operator: &str, values: &[i32]| {
            let codes = json!({"containerName": container, "operator": operator, "values": values});
            json!({"action": action, "onExitCodes": codes})
        };
        let two = json!({"containerStatuses": [container("main", 2), container("other", 5)]});
        let fails = |name: &str, code: i32, index: usize| {
            Failure::Job(format!(
                "Container {name} for pod default/mypod failed with exit code {code} matching FailJob rule at index {index}"
            ))
        };
        check(json!([rule("FailJob", Value::Null, "In", &[1, 2, 3])]), &two, &fails("main", 2, 0));
        check(json!([rule("FailJob", Value::Null, "In", &[1, 5])]), &two, &fails("other", 5, 0));
        check(json!([rule("FailJob", json!("other"), "NotIn", &[2])]), &two, &fails("other", 5, 0));
        check(json!([rule("FailJob", json!("main"), "In", &[5])]), &two, &Failure::Counted);
        check(json!([rule("FailJob", Value::Null, "NotIn", &[2, 5])]), &two, &Failure::Counted);
        check(json!([rule("Ignore", Value::Null, "In", &[5])]), &two, &Failure::Ignored);
        check(json!([rule("Count", Value::Null, "In", &[5])]), &two, &Failure::Counted);
        check(json!([rule("FailIndex", Value::Null, "In", &[5])]), &two, &Failure::Index);
        // The first that fits.
        let rules = json!([rule("Ignore", Value::Null, "In", &[9]), rule("FailJob", Value::Null, "In", &[2])]);
        check(rules, &two, &fails("main", 2, 1));
        let rules = json!([rule("Count", Value::Null, "In", &[2]), rule("FailJob", Value::Null, "In", &[2])]);
        check(rules, &two, &Failure::Counted);
        check(
            json!([rule("New", Value::Null, "In", &[2]), rule("Ignore", Value::Null, "In", &[2])]),
            &two,
            &Failure::Ignored,
        );
        // A success is no failure, whatever the rule; an init container's failure is one.
        let good = json!({"containerStatuses": [container("main", 0)]});
        check(json!([rule("FailJob", Value::Null, "NotIn", &[1])]), &good, &Failure::Counted);
        let init =
            json!({"containerStatuses": [container("main", 0)], "initContainerStatuses": [container("init", 3)]});
        check(json!([rule("FailJob", Value::Null, "NotIn", &[1])]), &init, &fails("init", 3, 0));
        let running = json!({"containerStatuses": [
            {"name": "m", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]});
        check(json!([rule("FailJob", Value::Null, "NotIn", &[1])]), &running, &Failure::Counted);
    }

    #[test]
    fn rules_on_conditions() {
        let rule = |action: &str, kind: &str, status: Value| json!({"action": action, "onPodConditions": [{"type": "X", "status": "True"}, {"type": kind, "status": status}]});
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "DisruptionTarget", "status": "True"}]});
        let failed = "Pod default/mypod has condition DisruptionTarget matching FailJob rule at index 0";
        check(json!([rule("FailJob", "DisruptionTarget", json!("True"))]), &status, &Failure::Job(failed.into()));
        check(json!([rule("Ignore", "DisruptionTarget", json!("True"))]), &status, &Failure::Ignored);
        check(json!([rule("Ignore", "DisruptionTarget", Value::Null)]), &status, &Failure::Ignored);
        check(json!([rule("FailIndex", "DisruptionTarget", json!("True"))]), &status, &Failure::Index);
        check(json!([rule("Ignore", "DisruptionTarget", json!("False"))]), &status, &Failure::Counted);
        check(json!([]), &status, &Failure::Counted);
        assert_eq!(of_failure(None, &pod(status)), (None, Failure::Counted));
    }

    #[test]
    fn rules_of_success() {
        for (rules, succeeded, want) in [
            (json!([{"succeededIndexes": "0-2"}]), "0-2", Some(0)),
            (json!([{"succeededIndexes": "0-2"}]), "0,1", None),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 2}]), "0,1,7", Some(0)),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 2}]), "1,7,8", None),
            (json!([{"succeededCount": 3}]), "1,7,8", Some(0)),
            (json!([{"succeededCount": 4}, {"succeededCount": 3}]), "1,7,8", Some(1)),
            (json!([{"succeededIndexes": "a"}, {"succeededIndexes": "7"}]), "7", Some(1)),
            (json!([{"succeededIndexes": "12"}]), "7", None),
            (json!([{"succeededCount": 0}]), "", None),
            (json!([{}]), "1", None),
        ] {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            let message = want.map(|index: u32| format!("Matched rules at index {index}"));
            assert_eq!(of_success(Some(&policy), 10, &Indexes::parse(succeeded, 10)), message, "{rules} {succeeded}");
        }
        assert_eq!(of_success(None, 10, &Indexes::parse("0-9", 10)), None);
    }
}
