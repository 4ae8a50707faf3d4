//! Evictions: a delete that asks the pod's disruption budget first. What the budget has left is taken by compare-and-swap,
//! so that two evictions never share it; pods that serve nothing (ended, not begun, or going already) go without asking.
//! Follows `pkg/registry/core/pod/storage/eviction.go`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kinds::conditions;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use machinery::selector::LabelSelector;
use machinery::status::{Cause, StatusError};
use model::options::{Delete, Ownership, Write};
use model::request_info::RequestInfo;
use serde_json::{Value, json};
use writes::strategy::{Kind, WriteContext};
use writes::{delete, update};

use crate::Server;
use crate::virtual_::Virtual;

/// How often a delete that collides is tried again, and after how long, as upstream.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Evicted pods that the disruption controller has not seen going; more are not added.
const MAX_DISRUPTED: usize = 2000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// `pods/eviction`.
pub struct Eviction;

#[async_trait]
impl Virtual for Eviction {
    async fn serve(
        &self,
        _: &Server,
        cx: &WriteContext<'_>,
        info: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        if meta::name(&body) != info.name {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        if !meta::namespace(&body).is_empty() && Some(meta::namespace(&body)) != cx.namespace {
            return Err(StatusError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let none = json!({});
        let asked = Delete::parse(&info.query, Some(body.sub("deleteOptions").unwrap_or(&none)))?;
        let pods = GroupResource::new("", "pods");
        let row = cx.registry.rows().of(&pods).ok_or_else(StatusError::no_such_resource)?.clone();
        let cx = WriteContext { dry_run: cx.dry_run || asked.dry_run, ..*cx };
        let eviction = Evicting { cx, row, name: &info.name };
        eviction.evict(&asked).await
    }
}

/// One eviction on its way.
struct Evicting<'a> {
    cx: WriteContext<'a>,
    row: Kind,
    name: &'a str,
}

impl Evicting<'_> {
    async fn evict(&self, asked: &Delete) -> Result<Value, StatusError> {
        let mut tries = 0;
        let pod = loop {
            let pod = self.pod().await?;
            if !goes_unasked(&pod) {
                break pod;
            }
            let mut options = asked.clone();
            if asked.resource_version.is_none() && pod["status"].text("phase") == "Pending" && !going(&pod) {
                // It may become ready meanwhile, and then its budget has a say.
                options.resource_version = Some(meta::resource_version(&pod).to_owned());
            }
            tries += 1;
            match self.mark_and_delete(&options).await {
                Err(error) if error.is_conflict() && asked.resource_version.is_none() && tries < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome.map(|()| success()),
            }
        };

        let budgets = self.budgets(&pod);
        let mut options = asked.clone();
        let budget = match budgets.as_slice() {
            [] => None,
            [budget] => Some(budget),
            _ => {
                let message =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                let mut status = success();
                status["status"] = "Failure".into();
                status["message"] = message.into();
                status["code"] = 500.into();
                return Ok(status);
            }
        };
        let spare = budget.is_some_and(|budget| !ready(&pod) && spares_unready(budget));
        if spare && asked.resource_version.is_none() {
            // It must still be unready when it goes.
            options.resource_version = Some(meta::resource_version(&pod).to_owned());
        } else if let Some(budget) = budget.filter(|_| !spare) {
            self.take(meta::name(budget)).await?;
        }
        match (self.mark_and_delete(&options).await, budget) {
            (Err(error), Some(budget)) if spare && error.is_conflict() && asked.resource_version.is_none() => {
                Err(in_progress(meta::name(budget)))
            }
            (outcome, _) => outcome.map(|()| success()),
        }
    }

    async fn pod(&self) -> Result<Arc<Value>, StatusError> {
        let pods = self.row.group_resource();
        let pod = self.cx.registry.get_consistent(&pods, self.cx.namespace, self.name).await?;
        pod.ok_or_else(|| StatusError::not_found(&pods, self.name))
    }

    /// The budgets that select the pod.
    fn budgets(&self, pod: &Value) -> Vec<Arc<Value>> {
        let mut budgets = self.cx.registry.list(&budgets(), self.cx.namespace);
        budgets.retain(|budget| {
            LabelSelector::from_value(budget["spec"].sub("selector"))
                .is_ok_and(|selector| selector.matches(&meta::labels(pod)))
        });
        budgets
    }

    /// Takes one disruption of a budget, or says why there is none.
    async fn take(&self, budget: &str) -> Result<(), StatusError> {
        let mut take = |budget: &Value| taken(budget, self.name, self.cx.now);
        if self.cx.dry_run {
            let there = self.cx.registry.get_consistent(&budgets(), self.cx.namespace, budget).await?;
            let there = there.ok_or_else(|| StatusError::not_found(&budgets(), budget))?;
            return take(&there).map(drop);
        }
        self.cx.registry.update_part(&budgets(), self.cx.namespace, budget, "status", &mut take).await.map(drop)
    }

    /// Says in the pod's status why it goes, and deletes it.
    async fn mark_and_delete(&self, options: &Delete) -> Result<(), StatusError> {
        let mut options = options.clone();
        if !self.cx.dry_run {
            let part = WriteContext { resource: &self.row, subresource: Some("status"), ..self.cx };
            let write = Write { ownership: Ownership::AsGiven, ..Write::default() };
            let mut mark = |old: &Value| {
                delete::check_preconditions(&part, self.name, &options, old)?;
                let mut pod = old.clone();
                conditions::set(
                    &mut pod["status"],
                    json!({
                        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
                        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                    }),
                    self.cx.now,
                );
                Ok(pod)
            };
            let marked = update::update(&part, self.name, &write, &mut mark).await?;
            if options.resource_version.is_some() {
                options.resource_version = Some(marked.entry.revision.to_string());
            }
        }
        let whole = WriteContext { resource: &self.row, subresource: None, ..self.cx };
        delete::delete(&whole, self.name, &options).await.map(drop)
    }
}

fn budgets() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

fn going(pod: &Value) -> bool {
    meta::deletion_timestamp(pod).is_some()
}

/// Whether a pod serves nothing that a budget protects.
fn goes_unasked(pod: &Value) -> bool {
    matches!(pod["status"].text("phase"), "Succeeded" | "Failed" | "Pending") || going(pod)
}

fn ready(pod: &Value) -> bool {
    let condition = conditions::find(&pod["status"], "Ready");
    condition.text("status") == "True"
}

/// Whether a budget lets pods that are not ready go for nothing.
fn spares_unready(budget: &Value) -> bool {
    let count = |field: &str| budget["status"].int(field).unwrap_or(0);
    budget["spec"].text("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

/// A refusal that time will lift: the budget's status is behind.
fn in_progress(budget: &str) -> StatusError {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    StatusError::too_many_requests(REFUSED, 10).with_cause(cause(why))
}

fn cause(message: String) -> Cause {
    Cause { kind: "DisruptionBudget".into(), message, field: String::new() }
}

/// A budget after one more disruption.
fn taken(budget: &Value, pod: &str, now: jiff::Timestamp) -> Result<Value, StatusError> {
    let (name, status) = (meta::name(budget), &budget["status"]);
    let count = |field: &str| status.int(field).unwrap_or(0);
    let allowed = count("disruptionsAllowed");
    let forbidden =
        |why: &str| Err(StatusError::forbidden(&GroupResource::new("policy", "poddisruptionbudget"), name, why));
    if count("observedGeneration") < meta::generation(budget) {
        return Err(in_progress(name));
    }
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.object("disruptedPods").is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(StatusError::too_many_requests(REFUSED, 0).with_cause(cause(why_none(name, status))));
    }
    let mut budget = budget.clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = json!(allowed - 1);
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = machinery::time::rfc3339(now).into();
    if allowed == 1 {
        let observed = status.int("observedGeneration").unwrap_or(0);
        let mut none =
            json!({ "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "" });
        if observed > 0 {
            none["observedGeneration"] = json!(observed);
        }
        conditions::set(status, none, now);
    }
    Ok(budget)
}

fn why_none(name: &str, status: &Value) -> String {
    let count = |field: &str| status.int(field).unwrap_or(0);
    let condition = conditions::find(status, "DisruptionAllowed");
    let (reason, message) = (condition.text("reason"), condition.text("message"));
    let told = condition.text("status") == "False" && !message.is_empty();
    if told && reason == "SyncFailed" {
        format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}")
    } else if count("currentHealthy") <= count("desiredHealthy") {
        let (needs, has) = (count("desiredHealthy"), count("currentHealthy"));
        format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
    } else if told {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    }
}
