//! Aggregated ClusterRoles: `admin`, `edit` and `view` are the sum of the roles that their selectors name.
//!
//! Upstream: `pkg/controller/clusterroleaggregation`.

use std::sync::Arc;

use client::Informer;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    context::Context,
    util::{key, selector::Selector},
};

/// Runs the aggregation controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let roles: Informer<ClusterRole> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let (wake, all) = (queue.clone(), roles.clone());
    // Any role may be part of any aggregate; aggregates are few.
    roles.on_change(move |_| {
        let aggregates = all.list().into_iter().filter(|r| r.aggregation_rule.is_some());
        aggregates.for_each(|r| wake.add(key::name(&r.metadata).to_owned()));
    });
    roles.synced().await;
    let (roles, api) = (&roles, &Api::<ClusterRole>::all(context.client.clone()));
    run_workers(context.name, &queue, 5, context.cancel.clone(), |name: String| async move {
        let Some(role) = roles.get(None, &name) else { return Ok(()) };
        let Some(rules) = sync(&role, &roles.list())? else { return Ok(()) };
        // By apply, so that only the rules are this controller's; a server without apply gets an update.
        let wanted = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
        });
        let apply = PatchParams::apply("clusterrole-aggregation-controller").force();
        match api.patch(&name, &apply, &Patch::Apply(wanted)).await {
            Err(kube::Error::Api(status)) if status.code == 415 => {
                let mut role = (*role).clone();
                role.rules = Some(rules);
                api.replace(&name, &PostParams::default(), &role).await?;
                Ok(())
            }
            other => Ok(other.map(|_| ())?),
        }
    })
    .await;
    Ok(())
}

/// The rules that an aggregate should have, or nothing if it has them.
fn sync(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> anyhow::Result<Option<Vec<PolicyRule>>> {
    let Some(rule) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = vec![];
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let Some(selector) = Selector::new(selector) else { anyhow::bail!("invalid aggregation rule") };
        // Informers list by name, which is the order wanted.
        for part in all.iter().filter(|r| selector.matches(r.metadata.labels.as_ref())) {
            if part.metadata.name == role.metadata.name {
                continue;
            }
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok((role.rules.as_deref().unwrap_or_default() != rules).then_some(rules))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn role(name: &str, label: &str, rules: Value, aggregate: bool) -> Arc<ClusterRole> {
        let mut role = json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": rules});
        if aggregate {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "admin"}}]});
        }
        Arc::new(serde_json::from_value(role).unwrap())
    }

    #[test]
    fn an_aggregate_is_the_sum_of_its_parts_each_rule_once() {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let maps = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]});
        let all = [
            role("a", "admin", json!([pods]), false),
            role("admin", "admin", json!([]), true),
            role("b", "admin", json!([pods, maps]), false),
            role("c", "view", json!([{"verbs": ["*"]}]), false),
        ];
        let rules = sync(&all[1], &all).unwrap().unwrap();
        assert_eq!(serde_json::to_value(&rules).unwrap(), json!([pods, maps]));
        assert_eq!(sync(&role("admin", "admin", json!([pods, maps]), true), &all).unwrap(), None);
        assert_eq!(sync(&all[0], &all).unwrap(), None);
    }
}
