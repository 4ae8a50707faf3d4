//! What the controllers count, under upstream's names: one line a metric. What queues count is written beside it.

use std::sync::LazyLock;

use component::metrics::{Counter, Family, Gauge, Histogram, Text};

/// Upper bounds that grow by a factor.
const fn exponential<const N: usize>(first: f64, factor: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * factor;
        at += 1;
    }
    bounds
}

macro_rules! metrics {
    ($($id:ident: $sort:ident $name:literal [$($label:literal),*] $help:literal = $make:expr;)*) => {
        $(pub(crate) static $id: LazyLock<Family<$sort>> =
            LazyLock::new(|| Family::new($name, $help, &[$($label),*], || $make));)*

        /// Writes all of them.
        pub(crate) fn write(out: &mut Text) {
            $($id.write(out);)*
            controller::write_queues(out, crate::catalogue::queue_name);
        }
    };
}

metrics! {
    RUNNING: Gauge "running_managed_controllers" ["name", "manager"]
        "[BETA] Indicates where instances of a controller are currently running" = Gauge::default();
    CRON_JOB_SKEW: Histogram "cronjob_controller_job_creation_skew_duration_seconds" []
        "[STABLE] Time between when a cronjob is scheduled to be run, and when the corresponding job is created"
        = Histogram::new(const { &exponential::<10>(1.0, 2.0) });
    JOB_SYNCS: Counter "job_controller_job_syncs_total" ["completion_mode", "result", "action"]
        "[STABLE] The number of job syncs" = Counter::default();
    JOB_SYNC_SECONDS: Histogram "job_controller_job_sync_duration_seconds" ["completion_mode", "result", "action"]
        "[STABLE] The time it took to sync a job" = Histogram::new(const { &exponential::<15>(0.004, 2.0) });
    JOBS_FINISHED: Counter "job_controller_jobs_finished_total" ["completion_mode", "result", "reason"]
        "[STABLE] The number of finished jobs" = Counter::default();
    JOB_PODS_FINISHED: Counter "job_controller_job_pods_finished_total" ["completion_mode", "result"]
        "[STABLE] The number of finished Pods that are fully tracked" = Counter::default();
    NODE_RANGES_TAKEN: Counter "node_ipam_controller_cidrset_cidrs_allocations_total" ["clusterCIDR"]
        "[ALPHA] Counter measuring total number of CIDR allocations." = Counter::default();
    NODE_RANGES_RELEASED: Counter "node_ipam_controller_cidrset_cidrs_releases_total" ["clusterCIDR"]
        "[ALPHA] Counter measuring total number of CIDR releases." = Counter::default();
    NODE_RANGES_MOST: Gauge "node_ipam_controller_cirdset_max_cidrs" ["clusterCIDR"]
        "[ALPHA] Maximum number of CIDRs that can be allocated." = Gauge::default();
    PODS_FORCED: Counter "pod_gc_collector_force_delete_pods_total" ["namespace", "reason"]
        "[ALPHA] Number of pods that are being forcefully deleted since the Pod GC Controller started."
        = Counter::default();
    PODS_NOT_FORCED: Counter "pod_gc_collector_force_delete_pod_errors_total" ["namespace", "reason"]
        "[ALPHA] Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started."
        = Counter::default();
    ROOT_CA_SYNCS: Counter "root_ca_cert_publisher_sync_total" ["code"]
        "[ALPHA] Number of namespace syncs happened in root ca cert publisher." = Counter::default();
    ROOT_CA_SECONDS: Histogram "root_ca_cert_publisher_sync_duration_seconds" ["code"]
        "[ALPHA] Number of namespace syncs happened in root ca cert publisher."
        = Histogram::new(const { &exponential::<15>(0.001, 2.0) });
    TAINT_DELETIONS: Counter "taint_eviction_controller_pod_deletions_total" []
        "[ALPHA] Total number of Pods deleted by TaintEvictionController since its start." = Counter::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_upstreams_names() {
        JOB_SYNCS.with(&["NonIndexed", "success", "tracking"]).add(2);
        let mut out = Text::default();
        write(&mut out);
        let text = out.finish();
        for line in [
            "# TYPE job_controller_job_syncs_total counter",
            "job_controller_job_syncs_total{completion_mode=\"NonIndexed\",result=\"success\",action=\"tracking\"} 2",
            "cronjob_controller_job_creation_skew_duration_seconds_bucket{le=\"512\"} 0",
            "taint_eviction_controller_pod_deletions_total 0",
            "# TYPE workqueue_depth gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
