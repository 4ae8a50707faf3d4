//! What runs and scales: apps, batch, autoscaling, policy, scheduling.

use machinery::gvk::GroupVersionKind;
use machinery::managed_fields::Resets;
use machinery::names;

use super::super::Resource;
use super::{scaled, stored};
use crate::registry::{apps, batch as jobs};

pub(super) fn rows() -> Vec<Resource> {
    let app = |resource, kind| stored("apps", "v1", resource, kind);
    let workload = |resource, kind| app(resource, kind).categories(&["all"]).generation();
    let batch = |resource, kind| stored("batch", "v1", resource, kind).categories(&["all"]).generation().part("status");
    vec![
        app("controllerrevisions", "ControllerRevision").rules(apps::controllerrevision::ControllerRevisions),
        workload("daemonsets", "DaemonSet").short(&["ds"]).part("status").rules(apps::daemonset::DaemonSets),
        scaled(workload("deployments", "Deployment"))
            .short(&["deploy"])
            .part("status")
            .resetting("status", Resets(&[&["spec"], &["metadata", "labels"]]))
            .rules(apps::deployment::Deployments),
        scaled(workload("replicasets", "ReplicaSet"))
            .short(&["rs"])
            .part("status")
            .rules(apps::replicaset::ReplicaSets),
        scaled(workload("statefulsets", "StatefulSet"))
            .short(&["sts"])
            .part("status")
            .name_rule(names::name_is_dns_label)
            .rules(apps::statefulset::StatefulSets),
        autoscaler("v2"),
        autoscaler("v1"),
        batch("cronjobs", "CronJob").short(&["cj"]).rules(jobs::cronjob::CronJobs),
        batch("jobs", "Job").select_as("status.successful", "status.succeeded", "0").rules(jobs::job::Jobs),
        stored("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
            .short(&["pdb"])
            .generation()
            .part("status"),
        stored("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass").cluster().short(&["pc"]).generation(),
    ]
}

/// Two served versions of one kind, stored as v2.
fn autoscaler(version: &'static str) -> Resource {
    let row = stored("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler");
    let storage_version = GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    Resource { storage_version, ..row }.short(&["hpa"]).categories(&["all"]).part("status")
}
