//! What runs and scales: apps, batch, autoscaling, policy, scheduling.

use machinery::gvk::GroupVersionKind;
use machinery::names;

use super::super::Resource;
use super::{scaled, stored};

pub(super) fn rows() -> Vec<Resource> {
    let apps = |resource, kind| stored("apps", "v1", resource, kind);
    let workload = |resource, kind| apps(resource, kind).categories(&["all"]).generation();
    let batch = |resource, kind| stored("batch", "v1", resource, kind).categories(&["all"]).generation().part("status");
    vec![
        apps("controllerrevisions", "ControllerRevision"),
        workload("daemonsets", "DaemonSet").short(&["ds"]).part("status"),
        scaled(workload("deployments", "Deployment")).short(&["deploy"]).part("status"),
        scaled(workload("replicasets", "ReplicaSet")).short(&["rs"]).part("status"),
        scaled(workload("statefulsets", "StatefulSet"))
            .short(&["sts"])
            .part("status")
            .name_rule(names::name_is_dns_label),
        autoscaler("v2"),
        autoscaler("v1"),
        batch("cronjobs", "CronJob").short(&["cj"]),
        batch("jobs", "Job").select_as("status.successful", "status.succeeded", "0"),
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
