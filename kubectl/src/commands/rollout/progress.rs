//! How far a rollout is, from the object's status alone: what `rollout status` says (`polymorphichelpers/rollout_status.go`).

use machinery::json::Fields;
use serde_json::Value;

use crate::cli::failure::{Failure, Outcome};

/// How far a rollout is: what to say, and whether it is over.
pub(super) fn progress(object: &Value, revision: i64) -> Outcome<(String, bool)> {
    let name = object["metadata"].text("name");
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let observed = number(&object["metadata"]["generation"]) <= number(&status["observedGeneration"]);
    match object.text("kind") {
        "Deployment" => {
            if revision > 0 {
                let running =
                    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or("0");
                if running.parse() != Ok(revision) {
                    return Err(Failure::new(format!(
                        "desired revision ({revision}) is different from the running revision ({running})"
                    )));
                }
            }
            if !observed {
                return Ok(("Waiting for deployment spec update to be observed...\n".into(), false));
            }
            let late = status["conditions"].as_array().into_iter().flatten().any(|condition| {
                condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded"
            });
            if late {
                return Err(Failure::new(format!("deployment {name:?} exceeded its progress deadline")));
            }
            let waiting =
                |what: String| Ok((format!("Waiting for deployment {name:?} rollout to finish: {what}...\n"), false));
            let wanted = spec["replicas"].as_i64().unwrap_or(1);
            let (all, updated, available) =
                (number(&status["replicas"]), number(&status["updatedReplicas"]), number(&status["availableReplicas"]));
            if updated < wanted {
                return waiting(format!("{updated} out of {wanted} new replicas have been updated"));
            }
            if all > updated {
                return waiting(format!("{} old replicas are pending termination", all - updated));
            }
            if available < updated {
                return waiting(format!("{available} of {updated} updated replicas are available"));
            }
            Ok((format!("deployment {name:?} successfully rolled out\n"), true))
        }
        "DaemonSet" => {
            if spec["updateStrategy"]["type"] != "RollingUpdate" {
                return Err(Failure::new("rollout status is only available for RollingUpdate strategy type"));
            }
            if !observed {
                return Ok(("Waiting for daemon set spec update to be observed...\n".into(), false));
            }
            let waiting =
                |what: String| Ok((format!("Waiting for daemon set {name:?} rollout to finish: {what}...\n"), false));
            let (wanted, updated, available) = (
                number(&status["desiredNumberScheduled"]),
                number(&status["updatedNumberScheduled"]),
                number(&status["numberAvailable"]),
            );
            if updated < wanted {
                return waiting(format!("{updated} out of {wanted} new pods have been updated"));
            }
            if available < wanted {
                return waiting(format!("{available} of {wanted} updated pods are available"));
            }
            Ok((format!("daemon set {name:?} successfully rolled out\n"), true))
        }
        "StatefulSet" => {
            if spec["updateStrategy"]["type"] != "RollingUpdate" {
                return Err(Failure::new("rollout status is only available for RollingUpdate strategy type"));
            }
            if number(&status["observedGeneration"]) == 0 || !observed {
                return Ok(("Waiting for statefulset spec update to be observed...\n".into(), false));
            }
            let (wanted, ready, updated) =
                (number(&spec["replicas"]), number(&status["readyReplicas"]), number(&status["updatedReplicas"]));
            if ready < wanted {
                return Ok((format!("Waiting for {} pods to be ready...\n", wanted - ready), false));
            }
            if let Some(partition) = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64() {
                if updated < wanted - partition {
                    let text = format!(
                        "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...\n",
                        wanted - partition
                    );
                    return Ok((text, false));
                }
                return Ok((format!("partitioned roll out complete: {updated} new pods have been updated...\n"), true));
            }
            let revision = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
            if status["updateRevision"] != status["currentRevision"] {
                let text = format!(
                    "waiting for statefulset rolling update to complete {updated} pods at revision {}...\n",
                    revision("updateRevision")
                );
                return Ok((text, false));
            }
            let text = format!(
                "statefulset rolling update complete {} pods at revision {}...\n",
                number(&status["currentReplicas"]),
                revision("currentRevision")
            );
            Ok((text, true))
        }
        other => Err(Failure::new(format!("no status viewer has been implemented for {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_far_a_rollout_is() {
        let deployment = |status: Value| json!({"kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        for (status, text, over) in [
            (json!({"observedGeneration": 1}), "Waiting for deployment spec update to be observed...\n", false),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 1}),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
                "deployment \"web\" successfully rolled out\n",
                true,
            ),
        ] {
            assert_eq!(progress(&deployment(status), 0).unwrap(), (text.to_owned(), over));
        }
    }
}
