//! The status of ValidatingAdmissionPolicies: what of their expressions can't be right for the kinds that they are about.
//!
//! Upstream: `pkg/controller/validatingadmissionpolicystatus`. Each generation is checked once; a kind that is not served
//! then is not checked.

mod check;
mod declare;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicy},
    apimachinery::pkg::apis::meta::v1::APIResourceList,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    util::{discovery::get, key},
};
use check::{Kind, Params};

/// Who applies the status.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let policies: Informer<ValidatingAdmissionPolicy> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    policies.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            wake.add(key::name(&change.object().metadata).to_owned());
        }
    });
    policies.synced().await;
    let workers = context.config.concurrent_validating_admission_policy_status_syncs;
    let (policies, client) = (&policies, &context.client);
    run_workers(context.name, &queue, workers, context.cancel.clone(), |name: String| async move {
        let Some(policy) = policies.get(None, &name) else { return Ok(()) };
        let generation = policy.metadata.generation.unwrap_or(0);
        if policy.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0) >= generation {
            return Ok(());
        }
        let warnings = check(client, &policy).await;
        let apply = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings}},
        });
        let api: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(apply)).await?;
        Ok(())
    })
    .await;
    Ok(())
}

/// Finds the kinds and checks the expressions against them. What can't be found is left out.
async fn check(client: &Client, policy: &ValidatingAdmissionPolicy) -> Vec<ExpressionWarning> {
    let mut kinds: Vec<Kind> = vec![];
    for [group, version, plural] in check::resources(policy) {
        let Some(kind) = kind_of(client, group, version, plural).await else { continue };
        if kinds.iter().any(|k| k.group == group && k.version == version && k.kind == kind) {
            continue;
        }
        if let Some(ty) = type_of(client, group, version, &kind).await {
            kinds.push(Kind { group: group.to_owned(), version: version.to_owned(), kind, ty });
        }
    }
    kinds.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    let params = match policy.spec.as_ref().and_then(|spec| spec.param_kind.as_ref()) {
        None => Params::None,
        Some(of) => {
            let api_version = of.api_version.as_deref().unwrap_or_default();
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let ty = type_of(client, group, version, of.kind.as_deref().unwrap_or_default()).await;
            ty.map_or(Params::Unknown, Params::Of)
        }
    };
    check::warnings(policy, &kinds, &params)
}

/// The path of a group's version, after a root.
fn path(root: &str, group: &str, version: &str) -> String {
    if group.is_empty() { format!("{root}/api/{version}") } else { format!("{root}/apis/{group}/{version}") }
}

async fn kind_of(client: &Client, group: &str, version: &str, plural: &str) -> Option<String> {
    let list: APIResourceList = get(client, &path("", group, version)).await.ok()?;
    list.resources.into_iter().find(|r| r.name == plural).map(|r| r.kind)
}

async fn type_of(client: &Client, group: &str, version: &str, kind: &str) -> Option<cel::types::Type> {
    let document: Value = get(client, &path("/openapi/v3", group, version)).await.ok()?;
    declare::of_kind(&document, group, version, kind)
}
