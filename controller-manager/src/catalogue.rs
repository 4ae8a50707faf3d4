//! The controllers: one line each. A new one is a folder and a line here.

use futures::future::BoxFuture;

use crate::{
    attachdetach, bootstrap, certificates, cloudnodes, clusterrole_aggregation,
    context::{Config, Context},
    cronjob, daemonset, deployment, devicetainteviction, disruption, endpoint, endpointslice, endpointslicemirroring,
    ephemeralvolume, expand, garbage_collector, job, joining, local_volumes, namespace, nodeipam, nodelifecycle,
    noderoutes, persistentvolume, podautoscaler, podgc, policystatus, pvcprotection, pvprotection, replicaset,
    resourceclaim, resourcequota, root_ca, selinux_warning, serviceaccount, serviceaccount_token, servicecidrs,
    servicelb, statefulset, tainteviction, ttl, ttlafterfinished, vacprotection,
};

/// A controller as the manager knows it.
pub(crate) struct Entry {
    /// As upstream's `--controllers` names it.
    pub(crate) name: &'static str,
    /// The name before v1.27's renaming, which the flag still takes.
    pub(crate) alias: &'static str,
    /// The service account in kube-system under which it writes; RBAC's bootstrap has a role for each. Empty: it writes as
    /// the manager.
    pub(crate) service_account: &'static str,
    /// Runs it until its context is cancelled.
    pub(crate) start: fn(Context) -> BoxFuture<'static, anyhow::Result<()>>,
}

impl Entry {
    /// Whether `*` means it, too.
    fn is_on(&self) -> bool {
        !matches!(
            self.name,
            "bootstrap-signer-controller"
                | "kubelet-serving-approving-controller"
                | "local-volume-provisioner-controller"
                | "node-joining-controller"
                | "selinux-warning-controller"
                | "token-cleaner-controller"
        )
    }

    /// Whether it does nothing where no cloud is.
    fn needs_cloud(&self) -> bool {
        matches!(self.name, "cloud-node-lifecycle-controller" | "node-route-controller" | "service-lb-controller")
    }

    /// The component that its events name: older than the controllers' present names.
    pub(crate) fn event_source(&self) -> &'static str {
        match self.name {
            "disruption-controller" => "controllermanager",
            "endpoints-controller" => "endpoint-controller",
            "endpointslice-controller" => "endpoint-slice-controller",
            "endpointslice-mirroring-controller" => "endpoint-slice-mirroring-controller",
            "ephemeral-volume-controller" => "ephemeral_volume",
            "horizontal-pod-autoscaler-controller" => "horizontal-pod-autoscaler",
            "node-ipam-controller" => "cidrAllocator",
            "node-lifecycle-controller" => "node-controller",
            "node-route-controller" => "route_controller",
            "persistentvolume-attach-detach-controller" => "attachdetach-controller",
            "persistentvolume-binder-controller" => "persistentvolume-controller",
            "persistentvolume-expander-controller" => "volume_expand",
            "replicationcontroller-controller" => "replication-controller",
            "resourceclaim-controller" => "resource_claim",
            "selinux-warning-controller" => "selinux_warning",
            "service-lb-controller" => "service-controller",
            name => name,
        }
    }
}

/// What a controller's queue is named in metrics: as upstream names it, where it has one queue like that.
pub(crate) fn queue_name(controller: &str) -> &str {
    match controller {
        "bootstrap-signer-controller" => "bootstrap_signer_queue",
        "clusterrole-aggregation-controller" => "ClusterRoleAggregator",
        "cronjob-controller" => "cronjob",
        "daemonset-controller" => "daemonset",
        "daemonset-node-updates" => "daemonset-node-updates",
        "deployment-controller" => "deployment",
        "disruption-controller" => "disruption",
        "disruption-stale-pods" => "stale_pod_disruption",
        "endpoints-controller" => "endpoint",
        "endpointslice-controller" => "endpoint_slice",
        "endpointslice-mirroring-controller" => "endpoint_slice_mirroring",
        "garbage-collector-controller" => "garbage_collector_attempt_to_delete",
        "job-controller" => "job",
        "job-orphan-pods" => "job_orphan_pod",
        "namespace-controller" => "namespace",
        "node-ipam-controller" => "cidrallocator_node",
        "persistentvolume-protection-controller" => "pvprotection",
        "persistentvolumeclaim-protection-controller" => "pvcprotection",
        "pod-garbage-collector-controller" => "orphaned_pods_nodes",
        "replicaset-controller" => "replicaset",
        "replicationcontroller-controller" => "replicationmanager",
        "resourcequota-controller" => "resourcequota_primary",
        "resourcequota-priority" => "resourcequota_priority",
        "root-ca-certificate-publisher-controller" => "root_ca_cert_publisher",
        "selinux-warning-controller" => "selinux_warning",
        "service-cidr-controller" => "ipaddresses",
        "service-lb-controller" => "service",
        "service-lb-nodes" => "node",
        "serviceaccount-controller" => "serviceaccount",
        "serviceaccount-token-controller" => "serviceaccount_tokens_service",
        "statefulset-controller" => "statefulset",
        "token-cleaner-controller" => "token_cleaner",
        "ttl-after-finished-controller" => "ttl_jobs_to_delete",
        "ttl-controller" => "ttlcontroller",
        "validatingadmissionpolicy-status-controller" => "validatingadmissionpolicy-status",
        "volumeattributesclass-protection-controller" => "vacprotection",
        other => other,
    }
}

macro_rules! entries {
    ($($name:literal $alias:literal $account:literal $start:path;)*) => {
        &[$(Entry { name: $name, alias: $alias, service_account: $account, start: $start }),*]
    };
}

/// All controllers there are.
pub(crate) const CONTROLLERS: &[Entry] = entries! {
    "bootstrap-signer-controller"                    "bootstrapsigner"                             "bootstrap-signer"                            bootstrap::start_signing;
    "certificatesigningrequest-approving-controller" "csrapproving"                                "certificate-controller"                      certificates::start_approving;
    "certificatesigningrequest-cleaner-controller"   "csrcleaner"                                  "certificate-controller"                      certificates::start_cleaning;
    "certificatesigningrequest-signing-controller"   "csrsigning"                                  "certificate-controller"                      certificates::start_signing;
    "cloud-node-lifecycle-controller"                "cloud-node-lifecycle"                        "node-controller"                             cloudnodes::start;
    "clusterrole-aggregation-controller"             "clusterrole-aggregation"                     "clusterrole-aggregation-controller"          clusterrole_aggregation::start;
    "cronjob-controller"                             "cronjob"                                     "cronjob-controller"                          cronjob::start;
    "daemonset-controller"                           "daemonset"                                   "daemon-set-controller"                       daemonset::start;
    "deployment-controller"                          "deployment"                                  "deployment-controller"                       deployment::start;
    "device-taint-eviction-controller"               "device-taint-eviction-controller"            "device-taint-eviction-controller"            devicetainteviction::start;
    "disruption-controller"                          "disruption"                                  "disruption-controller"                       disruption::start;
    "endpoints-controller"                           "endpoint"                                    "endpoint-controller"                         endpoint::start;
    "endpointslice-controller"                       "endpointslice"                               "endpointslice-controller"                    endpointslice::start;
    "endpointslice-mirroring-controller"             "endpointslicemirroring"                      "endpointslicemirroring-controller"           endpointslicemirroring::start;
    "ephemeral-volume-controller"                    "ephemeral-volume"                            "ephemeral-volume-controller"                 ephemeralvolume::start;
    "garbage-collector-controller"                   "garbagecollector"                            "generic-garbage-collector"                   garbage_collector::start;
    "horizontal-pod-autoscaler-controller"           "horizontalpodautoscaling"                    "horizontal-pod-autoscaler"                   podautoscaler::start;
    "job-controller"                                 "job"                                         "job-controller"                              job::start;
    "kubelet-serving-approving-controller"           "kubelet-serving-approver"                    "kubelet-serving-approver"                    certificates::start_approving_serving;
    "legacy-serviceaccount-token-cleaner-controller" "legacy-service-account-token-cleaner"        "legacy-service-account-token-cleaner"        serviceaccount_token::start_cleaning;
    "local-volume-provisioner-controller"            "local-volume-provisioner"                    "local-volume-provisioner"                    local_volumes::start;
    "namespace-controller"                           "namespace"                                   "namespace-controller"                        namespace::start;
    "node-ipam-controller"                           "nodeipam"                                    "node-controller"                             nodeipam::start;
    "node-joining-controller"                        "node-joining"                                "node-joining"                                joining::start;
    "node-lifecycle-controller"                      "nodelifecycle"                               "node-controller"                             nodelifecycle::start;
    "node-route-controller"                          "route"                                       "route-controller"                            noderoutes::start;
    "persistentvolume-attach-detach-controller"      "attachdetach"                                "attachdetach-controller"                     attachdetach::start;
    "persistentvolume-binder-controller"             "persistentvolume-binder"                     "persistent-volume-binder"                    persistentvolume::start;
    "persistentvolume-expander-controller"           "persistentvolume-expander"                   "expand-controller"                           expand::start;
    "persistentvolume-protection-controller"         "pv-protection"                               "pv-protection-controller"                    pvprotection::start;
    "persistentvolumeclaim-protection-controller"    "pvc-protection"                              "pvc-protection-controller"                   pvcprotection::start;
    "pod-garbage-collector-controller"               "podgc"                                       "pod-garbage-collector"                       podgc::start;
    "replicaset-controller"                          "replicaset"                                  "replicaset-controller"                       replicaset::start;
    "replicationcontroller-controller"               "replicationcontroller"                       "replication-controller"                      replicaset::start_replication_controller;
    "resourceclaim-controller"                       "resource-claim-controller"                   "resource-claim-controller"                   resourceclaim::start;
    "resourcequota-controller"                       "resourcequota"                               "resourcequota-controller"                    resourcequota::start;
    "root-ca-certificate-publisher-controller"       "root-ca-cert-publisher"                      "root-ca-cert-publisher"                      root_ca::start;
    "selinux-warning-controller"                     "selinux-warning-controller"                  "selinux-warning-controller"                  selinux_warning::start;
    "service-cidr-controller"                        "service-cidr-controller"                     "service-cidrs-controller"                    servicecidrs::start;
    "service-lb-controller"                          "service"                                     "service-controller"                          servicelb::start;
    "serviceaccount-controller"                      "serviceaccount"                              "service-account-controller"                  serviceaccount::start;
    "serviceaccount-token-controller"                "serviceaccount-token"                        ""                                            serviceaccount_token::start;
    "statefulset-controller"                         "statefulset"                                 "statefulset-controller"                      statefulset::start;
    "taint-eviction-controller"                      "taint-eviction"                              "node-controller"                             tainteviction::start;
    "token-cleaner-controller"                       "tokencleaner"                                "token-cleaner"                               bootstrap::start_cleaning;
    "ttl-after-finished-controller"                  "ttl-after-finished"                          "ttl-after-finished-controller"               ttlafterfinished::start;
    "ttl-controller"                                 "ttl"                                         "ttl-controller"                              ttl::start;
    "validatingadmissionpolicy-status-controller"    "validatingadmissionpolicy-status-controller" "validatingadmissionpolicy-status-controller" policystatus::start;
    "volumeattributesclass-protection-controller"    "volumeattributesclass-protection-controller" "volumeattributesclass-protection-controller" vacprotection::start;
};

/// Upstream's controllers of feature gates that are off by default in v1.36. Naming one is no error, and changes nothing.
const NOT_STARTED: &[&str] = &[
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "podcertificaterequest-cleaner-controller",
    "podgroup-protection-controller",
    "resourcepoolstatusrequest-controller",
    "storage-version-gc",
    "storage-version-migrator-controller",
    "storageversion-garbage-collector-controller",
];

/// The feature that evicts pods from tainted devices.
pub(crate) const DEVICE_TAINTS: &str = "DRADeviceTaints";

/// Which controllers `--controllers` asks for: `*` is all, `name` one, `-name` all but that one; the first that fits
/// decides. A controller of a feature that is off does not start, nor one of a cloud where none is, whoever asks for it.
///
/// # Errors
/// A name that is no controller's.
pub(crate) fn selected(config: &Config) -> anyhow::Result<Vec<&'static Entry>> {
    let wanted = &config.controllers;
    for name in wanted.iter().map(|w| w.strip_prefix('-').unwrap_or(w)) {
        let known = name == "*" || CONTROLLERS.iter().any(|e| e.name == name || e.alias == name);
        anyhow::ensure!(known || NOT_STARTED.contains(&name), "{name:?} is not in the list of known controllers");
    }
    let is = |e: &Entry, name: &str| e.name == name || e.alias == name;
    let enabled = |e: &&Entry| {
        let named = wanted.iter().find_map(|w| match w.strip_prefix('-') {
            Some(off) => is(e, off).then_some(false),
            None => is(e, w).then_some(true),
        });
        named.unwrap_or_else(|| e.is_on() && wanted.iter().any(|w| w == "*"))
    };
    let has_devices = config.feature_gates.enabled(DEVICE_TAINTS);
    let possible = |e: &&Entry| {
        (has_devices || e.name != "device-taint-eviction-controller") && (config.cloud.is_some() || !e.needs_cloud())
    };
    Ok(CONTROLLERS.iter().filter(enabled).filter(possible).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wanted: &[&str]) -> Config {
        let controllers = wanted.iter().map(|s| (*s).to_owned()).collect();
        Config { controllers, ..Config::default() }
    }

    fn check(wanted: &[&str], has: &[&str], has_not: &[&str]) {
        let config = of(wanted);
        let names: Vec<_> = selected(&config).unwrap().iter().map(|e| e.name).collect();
        assert!(has.iter().all(|n| names.contains(n)), "{wanted:?}: {names:?}");
        assert!(!has_not.iter().any(|n| names.contains(n)), "{wanted:?}: {names:?}");
    }

    #[test]
    fn the_flag_chooses_as_upstream() {
        let (d, r) = ("deployment-controller", "replicaset-controller");
        check(&["*"], &[d, r], &[]);
        check(&["*", "-deployment-controller"], &[r], &[d]);
        check(&["*", "-deployment"], &[r], &[d]);
        check(&["replicaset"], &[r], &[d]);
        check(&["*"], &[d], &["token-cleaner-controller", "kubelet-serving-approving-controller"]);
        check(&["*", "kubelet-serving-approver"], &[d, "kubelet-serving-approving-controller"], &[]);
        check(&["*", "tokencleaner"], &[d, "token-cleaner-controller"], &["bootstrap-signer-controller"]);
        check(&["*", "-selinux-warning-controller"], &[d, r], &[]);
        check(&["*", "podgroup-protection-controller", "-storage-version-gc"], &[d, r], &[]);
        check(
            &["*", "service-lb-controller"],
            &[d],
            &["service-lb-controller", "node-route-controller", "cloud-node-lifecycle-controller"],
        );
        assert!(selected(&of(&["nonsense"])).is_err());
    }
}
