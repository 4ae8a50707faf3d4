//! The controllers: one line each. A new one is a folder and a line here.

use futures::future::BoxFuture;

use crate::{
    certificates, clusterrole_aggregation, context::Context, cronjob, daemonset, deployment, disruption, endpoint,
    endpointslice, endpointslicemirroring, garbage_collector, job, local_volumes, namespace, nodelifecycle, podgc,
    pvcprotection, pvprotection, replicaset, resourcequota, root_ca, serviceaccount, serviceaccount_token, statefulset,
    tainteviction, ttl, ttlafterfinished, vacprotection,
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
        !matches!(self.name, "local-volume-provisioner-controller")
    }

    /// The component that its events name: older than the controllers' present names.
    pub(crate) fn event_source(&self) -> &'static str {
        match self.name {
            "disruption-controller" => "controllermanager",
            "endpoints-controller" => "endpoint-controller",
            "endpointslice-controller" => "endpoint-slice-controller",
            "endpointslice-mirroring-controller" => "endpoint-slice-mirroring-controller",
            "node-lifecycle-controller" => "node-controller",
            "replicationcontroller-controller" => "replication-controller",
            name => name,
        }
    }
}

macro_rules! entries {
    ($($name:literal $alias:literal $account:literal $start:path;)*) => {
        &[$(Entry { name: $name, alias: $alias, service_account: $account, start: $start }),*]
    };
}

/// All controllers there are.
pub(crate) const CONTROLLERS: &[Entry] = entries! {
    "certificatesigningrequest-approving-controller" "csrapproving"                                "certificate-controller"                      certificates::start_approving;
    "certificatesigningrequest-cleaner-controller"   "csrcleaner"                                  "certificate-controller"                      certificates::start_cleaning;
    "certificatesigningrequest-signing-controller"   "csrsigning"                                  "certificate-controller"                      certificates::start_signing;
    "clusterrole-aggregation-controller"             "clusterrole-aggregation"                     "clusterrole-aggregation-controller"          clusterrole_aggregation::start;
    "cronjob-controller"                             "cronjob"                                     "cronjob-controller"                          cronjob::start;
    "daemonset-controller"                           "daemonset"                                   "daemon-set-controller"                       daemonset::start;
    "deployment-controller"                          "deployment"                                  "deployment-controller"                       deployment::start;
    "disruption-controller"                          "disruption"                                  "disruption-controller"                       disruption::start;
    "endpoints-controller"                           "endpoint"                                    "endpoint-controller"                         endpoint::start;
    "endpointslice-controller"                       "endpointslice"                               "endpointslice-controller"                    endpointslice::start;
    "endpointslice-mirroring-controller"             "endpointslicemirroring"                      "endpointslicemirroring-controller"           endpointslicemirroring::start;
    "garbage-collector-controller"                   "garbagecollector"                            "generic-garbage-collector"                   garbage_collector::start;
    "job-controller"                                 "job"                                         "job-controller"                              job::start;
    "legacy-serviceaccount-token-cleaner-controller" "legacy-service-account-token-cleaner"        "legacy-service-account-token-cleaner"        serviceaccount_token::start_cleaning;
    "local-volume-provisioner-controller"            "local-volume-provisioner"                    "local-volume-provisioner"                    local_volumes::start;
    "namespace-controller"                           "namespace"                                   "namespace-controller"                        namespace::start;
    "node-lifecycle-controller"                      "nodelifecycle"                               "node-controller"                             nodelifecycle::start;
    "persistentvolume-protection-controller"         "pv-protection"                               "pv-protection-controller"                    pvprotection::start;
    "persistentvolumeclaim-protection-controller"    "pvc-protection"                              "pvc-protection-controller"                   pvcprotection::start;
    "pod-garbage-collector-controller"               "podgc"                                       "pod-garbage-collector"                       podgc::start;
    "replicaset-controller"                          "replicaset"                                  "replicaset-controller"                       replicaset::start;
    "replicationcontroller-controller"               "replicationcontroller"                       "replication-controller"                      replicaset::start_replication_controller;
    "resourcequota-controller"                       "resourcequota"                               "resourcequota-controller"                    resourcequota::start;
    "root-ca-certificate-publisher-controller"       "root-ca-cert-publisher"                      "root-ca-cert-publisher"                      root_ca::start;
    "serviceaccount-controller"                      "serviceaccount"                              "service-account-controller"                  serviceaccount::start;
    "serviceaccount-token-controller"                "serviceaccount-token"                        ""                                            serviceaccount_token::start;
    "statefulset-controller"                         "statefulset"                                 "statefulset-controller"                      statefulset::start;
    "taint-eviction-controller"                      "taint-eviction"                              "node-controller"                             tainteviction::start;
    "ttl-after-finished-controller"                  "ttl-after-finished"                          "ttl-after-finished-controller"               ttlafterfinished::start;
    "ttl-controller"                                 "ttl"                                         "ttl-controller"                              ttl::start;
    "volumeattributesclass-protection-controller"    "volumeattributesclass-protection-controller" "volumeattributesclass-protection-controller" vacprotection::start;
};

/// Upstream's controllers that are not here yet. Naming one on the command line is a warning, not an error.
pub(crate) const MISSING: &[&str] = &[
    "attachdetach",
    "bootstrap-signer-controller",
    "bootstrapsigner",
    "cloud-node-lifecycle-controller",
    "device-taint-eviction-controller",
    "ephemeral-volume",
    "ephemeral-volume-controller",
    "horizontal-pod-autoscaler-controller",
    "horizontalpodautoscaling",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "node-ipam-controller",
    "node-route-controller",
    "nodeipam",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder",
    "persistentvolume-binder-controller",
    "persistentvolume-expander",
    "persistentvolume-expander-controller",
    "podcertificaterequest-cleaner-controller",
    "podgroup-protection-controller",
    "resource-claim-controller",
    "resourceclaim-controller",
    "resourcepoolstatusrequest-controller",
    "route",
    "selinux-warning-controller",
    "service-cidr-controller",
    "service-lb-controller",
    "storage-version-gc",
    "storage-version-migrator-controller",
    "storageversion-garbage-collector-controller",
    "token-cleaner-controller",
    "tokencleaner",
    "validatingadmissionpolicy-status-controller",
];

/// Which controllers `--controllers` asks for: `*` is all, `name` one, `-name` all but that one; the first that fits
/// decides.
///
/// # Errors
/// A name that is no controller's.
pub(crate) fn selected(wanted: &[String]) -> anyhow::Result<Vec<&'static Entry>> {
    for name in wanted.iter().map(|w| w.strip_prefix('-').unwrap_or(w)) {
        let known = name == "*" || CONTROLLERS.iter().any(|e| e.name == name || e.alias == name);
        if !known {
            anyhow::ensure!(MISSING.contains(&name), "{name:?} is not in the list of known controllers");
            tracing::warn!("controller {name} is not there yet");
        }
    }
    let is = |e: &Entry, name: &str| e.name == name || e.alias == name;
    let enabled = |e: &&Entry| {
        let named = wanted.iter().find_map(|w| match w.strip_prefix('-') {
            Some(off) => is(e, off).then_some(false),
            None => is(e, w).then_some(true),
        });
        named.unwrap_or_else(|| e.is_on() && wanted.iter().any(|w| w == "*"))
    };
    Ok(CONTROLLERS.iter().filter(enabled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &[&str], has: &[&str], has_not: &[&str]) {
        let wanted: Vec<_> = wanted.iter().map(|s| (*s).to_owned()).collect();
        let names: Vec<_> = selected(&wanted).unwrap().iter().map(|e| e.name).collect();
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
        check(&["*", "-selinux-warning-controller"], &[d, r], &[]);
        assert!(selected(&["nonsense".into()]).is_err());
    }
}
