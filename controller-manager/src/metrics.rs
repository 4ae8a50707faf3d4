//! What the controllers count, under upstream's names: one line a metric. What queues count is written beside it, and what
//! is counted only when somebody asks ([`collect`]).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use component::metrics::{Counter, Family, Gauge, Histogram, Text};
use parking_lot::Mutex;

type Collector = Arc<dyn Fn(&mut Text) + Send + Sync>;

/// By the controller's name.
static COLLECTORS: Mutex<BTreeMap<&'static str, (u64, Collector)>> = Mutex::new(BTreeMap::new());
static RUNS: AtomicU64 = AtomicU64::new(0);

/// A controller's figures are asked for as long as this is there.
pub(crate) struct Collected(&'static str, u64);

impl Drop for Collected {
    fn drop(&mut self) {
        let mut all = COLLECTORS.lock();
        if all.get(self.0).is_some_and(|(run, _)| *run == self.1) {
            all.remove(self.0);
        }
    }
}

/// Has `write` write figures of a controller that are counted when they are asked for: what there is, not what happened.
pub(crate) fn collect(controller: &'static str, write: impl Fn(&mut Text) + Send + Sync + 'static) -> Collected {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    COLLECTORS.lock().insert(controller, (run, Arc::new(write)));
    Collected(controller, run)
}

/// Writes how many there are of each sort; `labels` name what tells the sorts apart.
pub(crate) fn gauge<const N: usize>(
    out: &mut Text,
    (name, help): (&str, &str),
    labels: [&str; N],
    counted: impl IntoIterator<Item = ([String; N], f64)>,
) {
    out.head(name, help, "gauge");
    for (values, value) in counted {
        out.line(name, &labels, &values.each_ref().map(String::as_str), value);
    }
}

/// How many there are of each sort.
pub(crate) fn tally<const N: usize>(sorts: impl IntoIterator<Item = [String; N]>) -> BTreeMap<[String; N], f64> {
    let mut counted = BTreeMap::new();
    sorts.into_iter().for_each(|sort| *counted.entry(sort).or_insert(0.0) += 1.0);
    counted
}

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

/// How long deletions are late.
const DELETION_SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];
/// How many endpoints change at once.
const PER_SYNC: [f64; 15] = exponential(2.0, 2.0);

macro_rules! metrics {
    ($($id:ident: $sort:ident $name:literal [$($label:literal),*] $help:literal = $make:expr;)*) => {
        $(pub(crate) static $id: LazyLock<Family<$sort>> =
            LazyLock::new(|| Family::new($name, $help, &[$($label),*], || $make));)*

        /// Writes all of them.
        pub(crate) fn write(out: &mut Text) {
            $($id.write(out);)*
            let collectors: Vec<Collector> = COLLECTORS.lock().values().map(|(_, write)| write.clone()).collect();
            collectors.iter().for_each(|write| write(out));
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
    DEVICE_DELETIONS: Counter "device_taint_eviction_controller_pod_deletions_total" []
        "[ALPHA] Pods that were deleted for their devices' taints." = Counter::default();
    DEVICE_DELETION_SECONDS: Histogram "device_taint_eviction_controller_pod_deletion_duration_seconds" []
        "[ALPHA] From when a pod has to leave its devices until it is deleted." = Histogram::new(&DELETION_SECONDS);
    EPHEMERAL_CREATES: Counter "ephemeral_volume_controller_create_total" []
        "[ALPHA] Claims for ephemeral volumes that were to be created." = Counter::default();
    EPHEMERAL_CREATE_FAILURES: Counter "ephemeral_volume_controller_create_failures_total" []
        "[ALPHA] Those of them that were not." = Counter::default();
    FORCED_DETACHES: Counter "attach_detach_controller_attachdetach_controller_forced_detaches" ["reason"]
        "[ALPHA] Volumes that were detached although their node may use them." = Counter::default();
    GARBAGE_SYNC_ERRORS: Counter "garbagecollector_controller_resources_sync_error_total" []
        "[ALPHA] Times that it could not be found out which kinds to watch." = Counter::default();
    HPA_RECONCILIATIONS: Counter "horizontal_pod_autoscaler_controller_reconciliations_total" ["action", "error"]
        "[BETA] Turns of autoscalers, by what was done and whose fault it was that nothing was." = Counter::default();
    HPA_SECONDS: Histogram "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds" ["action", "error"]
        "[BETA] How long a turn of an autoscaler took." = Histogram::new(const { &exponential::<15>(0.001, 2.0) });
    HPA_METRICS: Counter "horizontal_pod_autoscaler_controller_metric_computation_total"
        ["action", "error", "metric_type"]
        "[BETA] Metrics of autoscalers that were worked out, by what they ask for." = Counter::default();
    HPA_METRIC_SECONDS: Histogram "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds"
        ["action", "error", "metric_type"]
        "[BETA] How long it took to work out a metric of an autoscaler."
        = Histogram::new(const { &exponential::<15>(0.001, 2.0) });
    JOBS_ELSEWHERE: Counter "job_controller_jobs_by_external_controller_total" ["controller_name"]
        "[ALPHA] Jobs that another controller looks after." = Counter::default();
    JOB_FAILURES_HANDLED: Counter "job_controller_pod_failures_handled_by_failure_policy_total" ["action"]
        "[BETA] Failed pods about which a rule of their job's failure policy decided." = Counter::default();
    JOB_PODS_TRACKED: Counter "job_controller_terminated_pods_tracking_finalizer_total" ["event"]
        "[BETA] Pods that ended and have the finalizer that jobs count by, and those that lost it or went."
        = Counter::default();
    JOB_INDEXES: Counter "job_controller_job_finished_indexes_total" ["status", "backoffLimit"]
        "[ALPHA] Indexes of jobs that came to an end." = Counter::default();
    JOB_PODS_CREATED: Counter "job_controller_job_pods_creation_total" ["reason", "status"]
        "[ALPHA] Pods that jobs created or could not create, and whether they replace others." = Counter::default();
    MIRROR_ADDED: Histogram "endpoint_slice_mirroring_controller_endpoints_added_per_sync" []
        "[ALPHA] Endpoints that a turn over an Endpoints object added." = Histogram::new(&PER_SYNC);
    MIRROR_UPDATED: Histogram "endpoint_slice_mirroring_controller_endpoints_updated_per_sync" []
        "[ALPHA] Endpoints that such a turn changed." = Histogram::new(&PER_SYNC);
    MIRROR_REMOVED: Histogram "endpoint_slice_mirroring_controller_endpoints_removed_per_sync" []
        "[ALPHA] Endpoints that such a turn removed." = Histogram::new(&PER_SYNC);
    MIRROR_SKIPPED: Histogram "endpoint_slice_mirroring_controller_addresses_skipped_per_sync" []
        "[ALPHA] Addresses that such a turn left out, as no IP or as too many." = Histogram::new(&PER_SYNC);
    MIRROR_SECONDS: Histogram "endpoint_slice_mirroring_controller_endpoints_sync_duration" []
        "[ALPHA] Seconds that such a turn took." = Histogram::new(const { &exponential::<15>(0.001, 2.0) });
    MIRROR_CHANGES: Counter "endpoint_slice_mirroring_controller_changes" ["operation"]
        "[ALPHA] Slices that were written for Endpoints." = Counter::default();
    NODE_EVICTIONS: Counter "node_collector_evictions_total" ["zone"]
        "[STABLE] Nodes of a zone whose pods have to leave." = Counter::default();
    NODE_SECONDS: Histogram "node_collector_update_node_health_duration_seconds" []
        "[ALPHA] How long it took to look at a node." = Histogram::new(const { &exponential::<8>(0.001, 4.0) });
    NODE_RANGE_TRIES: Histogram "node_ipam_controller_cidrset_allocation_tries_per_request" ["clusterCIDR"]
        "[ALPHA] Parts that were taken already when a free one was looked for."
        = Histogram::new(const { &exponential::<5>(1.0, 5.0) });
    REPLICAS_AGE_RATIO: Histogram "replicaset_controller_sorting_deletion_age_ratio" []
        "[ALPHA] The age of a pod that is given up, in ages of the youngest ready one. It should be under 2."
        = Histogram::new(const { &exponential::<6>(0.25, 2.0) });
    CLAIM_CREATES: Counter "resourceclaim_controller_creates_total" ["status", "admin_access"]
        "[ALPHA] Claims of devices that were to be created for pods." = Counter::default();
    RETROACTIVE_CLASSES: Counter "retroactive_storageclass_total" []
        "[ALPHA] Claims that got the default class after they were made." = Counter::default();
    RETROACTIVE_CLASS_ERRORS: Counter "retroactive_storageclass_errors_total" []
        "[ALPHA] Those of them that could not be written." = Counter::default();
    ROUTE_SYNCS: Counter "route_controller_route_sync_total" []
        "[ALPHA] Times that the cloud's routes were looked at." = Counter::default();
    BALANCER_SYNCS: Counter "service_controller_loadbalancer_sync_total" []
        "[ALPHA] Times that a load balancer was given its nodes." = Counter::default();
    BALANCER_NODE_ERRORS: Counter "service_controller_nodesync_error_total" []
        "[ALPHA] Load balancers that could not be given the nodes there are now." = Counter::default();
    BALANCER_NODE_SECONDS: Histogram "service_controller_nodesync_latency_seconds" []
        "[ALPHA] How long it took to give all load balancers the nodes there are now."
        = Histogram::new(const { &exponential::<15>(1.0, 2.0) });
    BALANCER_SECONDS: Histogram "service_controller_update_loadbalancer_host_latency_seconds" []
        "[ALPHA] How long it took to give one load balancer its nodes."
        = Histogram::new(const { &exponential::<15>(1.0, 2.0) });
    SLICES_ADDED: Histogram "endpoint_slice_controller_endpoints_added_per_sync" []
        "[BETA] Endpoints that a turn over a Service added." = Histogram::new(&PER_SYNC);
    SLICES_REMOVED: Histogram "endpoint_slice_controller_endpoints_removed_per_sync" []
        "[BETA] Endpoints that such a turn removed." = Histogram::new(&PER_SYNC);
    SLICES_CHANGES: Counter "endpoint_slice_controller_changes" ["operation"]
        "[ALPHA] Slices that were written for Services." = Counter::default();
    SLICES_CHANGED: Histogram "endpoint_slice_controller_endpointslices_changed_per_sync"
        ["topology", "traffic_distribution"]
        "[ALPHA] Slices that a turn over a Service wrote."
        = Histogram::new(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
    SLICES_SYNCS: Counter "endpoint_slice_controller_syncs" ["result"]
        "[ALPHA] Turns over Services, and what came of them." = Counter::default();
    STALE_DAEMONS: Counter "daemonset_controller_stale_sync_skips_total" ["group", "resource"]
        "[ALPHA] Turns that waited since a write was not seen yet." = Counter::default();
    STALE_JOBS: Counter "job_controller_stale_sync_skips_total" ["group", "resource"]
        "[ALPHA] Turns that waited since a write was not seen yet." = Counter::default();
    STALE_STATEFUL: Counter "statefulset_controller_stale_sync_skips_total" ["group", "resource"]
        "[ALPHA] Turns that waited since a write was not seen yet." = Counter::default();
    TAINT_DELETION_SECONDS: Histogram "taint_eviction_controller_pod_deletion_duration_seconds" []
        "[ALPHA] From when a pod has to leave its node until it is deleted." = Histogram::new(&DELETION_SECONDS);
    TTL_SECONDS: Histogram "ttl_after_finished_controller_job_deletion_duration_seconds" []
        "[ALPHA] From when a finished job has to go until it is deleted."
        = Histogram::new(const { &exponential::<14>(0.1, 2.0) });
    VOLUME_ERRORS_TOTAL: Counter "volume_operation_errors_total" ["plugin_name", "operation_name"]
        "[ALPHA] Volumes that could not be deleted or emptied." = Counter::default();
    VOLUME_TOTAL_ERRORS: Counter "volume_operation_total_errors" ["plugin_name", "operation_name"]
        "[ALPHA] (Deprecated since 1.36.0) The same as volume_operation_errors_total." = Counter::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_figures_are_asked_for_as_long_as_it_runs() {
        let text = || {
            let mut out = Text::default();
            write(&mut out);
            out.finish()
        };
        let write = |of: &'static str| {
            move |out: &mut Text| {
                gauge(out, ("test_things", "Things."), ["of"], tally([[of.to_owned()], [of.to_owned()]]))
            }
        };
        let first = collect("test", write("first"));
        assert!(text().contains("# TYPE test_things gauge\ntest_things{of=\"first\"} 2\n"));
        let second = collect("test", write("second"));
        drop(first);
        assert!(text().contains("test_things{of=\"second\"} 2\n"), "another run has taken its place");
        drop(second);
        assert!(!text().contains("test_things"));
    }

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
