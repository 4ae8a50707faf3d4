//! What runs and scales: apps, batch, autoscaling, policy, scheduling.

use machinery::gvk::GroupVersionKind;
use machinery::managed_fields::Resets;
use machinery::names;
use model::resource::{Generation, Resource};
use writes::strategy::{Kind, Rules};

use super::{scaled, stored};
use crate::rules::RULED;
use crate::{apps, autoscaling, batch as jobs, cells, policy};

const REPLICAS: &str = "=Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector";

pub(super) fn rows() -> Vec<Kind> {
    let app = |resource, kind| stored("apps", "v1", resource, kind);
    let workload = |resource, kind| app(resource, kind).categories(&["all"]).generation();
    let batch = |resource, kind| stored("batch", "v1", resource, kind).categories(&["all"]).generation().part("status");
    kinds![
        app("controllerrevisions", "ControllerRevision")
            .columns("=Name|Controller|Revision|Age", cells::workloads::controller_revision)
            .rules(apps::controllerrevision::ControllerRevisions),
        workload("daemonsets", "DaemonSet")
            .columns(
                "=Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|+Containers|+Images|+Selector",
                cells::workloads::daemon_set,
            )
            .short(&["ds"])
            .part("status")
            .rules(apps::daemonset::DaemonSets),
        scaled(workload("deployments", "Deployment").columns(
            "=Name|Ready|Up-to-date|Available|Age|+Containers|+Images|+Selector",
            cells::workloads::deployment,
        ))
        .short(&["deploy"])
        // Its controller copies annotations to replica sets, hence looks at them.
        .counts(Generation { metadata: &["annotations"], ..Generation::USUAL })
        .part("status")
        .resetting("status", Resets(&[&["spec"], &["metadata", "labels"]]))
        .rules(apps::deployment::Deployments),
        scaled(workload("replicasets", "ReplicaSet").columns(REPLICAS, cells::workloads::replica_set))
            .short(&["rs"])
            .part("status")
            .rules(apps::replicaset::ReplicaSets),
        scaled(
            workload("statefulsets", "StatefulSet")
                .columns("=Name|Ready|Age|+Containers|+Images", cells::workloads::stateful_set),
        )
        .short(&["sts"])
        .part("status")
        .name_rule(names::name_is_dns_label)
        .rules(apps::statefulset::StatefulSets),
        autoscaler("v2"),
        autoscaler("v1"),
        batch("cronjobs", "CronJob")
            .columns(
                "=Name|Schedule|Timezone|?Suspend|#Active|Last Schedule|Age|+Containers|+Images|+Selector",
                cells::workloads::cron_job,
            )
            .short(&["cj"])
            .rules(jobs::cronjob::CronJobs),
        batch("jobs", "Job")
            .columns("=Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector", cells::workloads::job)
            .select_as("status.successful", "status.succeeded", "0")
            .rules(jobs::job::Jobs),
        stored("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
            .columns(
                "=Name|Min Available|Max Unavailable|#Allowed Disruptions|Age",
                cells::workloads::pod_disruption_budget,
            )
            .short(&["pdb"])
            .generation()
            .part("status")
            .conditional_update()
            .rules(policy::Budgets),
        stored("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
            .columns("=Name|#Value|?Global-Default|Age|PreemptionPolicy", cells::cluster::priority_class)
            .cluster()
            .short(&["pc"])
            .counts(Generation { content: false, ..Generation::USUAL })
            .rules(RULED.change_only()),
    ]
}

/// Two served versions of one kind, stored as v2.
fn autoscaler(version: &'static str) -> Kind {
    let row = stored("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        .columns("=Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", cells::workloads::horizontal_pod_autoscaler);
    let storage_version = GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    let row = Resource { storage_version, ..row }.short(&["hpa"]).categories(&["all"]).part("status");
    row.rules(autoscaling::Autoscalers)
}
