//! The manager's own server: health for everybody, metrics and the configuration for those whom the API server lets read
//! them.
//!
//! Upstream: `cmd/kube-controller-manager/app/controllermanager.go`.

use std::time::Duration;

use client::delegated::{Port, configz};
use component::{Supervisor, serving::Server};
use serde_json::{Map, Value, json};

use crate::{Config, metrics};

/// The port that upstream has for it.
pub const PORT: u16 = 10257;

/// Serves what controllers with that configuration say of themselves, as a task of `tasks`.
///
/// # Errors
/// The address can't be had.
pub async fn serve(port: Port, config: &Config, tasks: &Supervisor) -> anyhow::Result<()> {
    let shown = configz("kubecontrollermanager.config.k8s.io", effective(config));
    port.serve(Server::default().metrics(metrics::write).guarded(shown), tasks).await.map(drop)
}

/// The configuration as upstream's `/configz` shows it (`kubecontrollermanager.config.k8s.io/v1alpha1`), as far as there
/// is such a setting here. Of keys and certificates it shows the files.
fn effective(config: &Config) -> Value {
    let lasts = |length: Duration| {
        let nanoseconds = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        json!(machinery::duration::text(nanoseconds))
    };
    let hpa = &config.horizontal_pod_autoscaler;
    let mut signing = Map::from_iter([("ClusterSigningDuration".to_owned(), lasts(config.signing.duration))]);
    for (signer, section) in [
        ("kubernetes.io/kubelet-serving", "KubeletServingSignerConfiguration"),
        ("kubernetes.io/kube-apiserver-client-kubelet", "KubeletClientSignerConfiguration"),
        ("kubernetes.io/kube-apiserver-client", "KubeAPIServerClientSignerConfiguration"),
        ("kubernetes.io/legacy-unknown", "LegacyUnknownSignerConfiguration"),
    ] {
        let (cert, key) = config.signing.files.get(signer).cloned().unwrap_or_default();
        signing.insert(section.to_owned(), json!({"CertFile": cert, "KeyFile": key}));
    }
    json!({
        "kind": "KubeControllerManagerConfiguration",
        "apiVersion": "kubecontrollermanager.config.k8s.io/v1alpha1",
        "Generic": {"Controllers": config.controllers},
        "KubeCloudShared": {
            "UseServiceAccountCredentials": config.client_for.is_some(),
            "RouteReconciliationPeriod": lasts(config.route_reconciliation_period),
            "NodeMonitorPeriod": lasts(config.node_monitor_period),
            "ClusterName": config.cluster_name,
            "AllocateNodeCIDRs": config.node_ranges.is_some(),
        },
        "AttachDetachController": {
            "DisableAttachDetachReconcilerSync": config.disable_attach_detach_reconcile_sync,
            "ReconcilerSyncLoopPeriod": lasts(config.attach_detach_reconcile_sync_period),
            "disableForceDetachOnTimeout": config.disable_force_detach_on_timeout,
        },
        "CSRSigningController": signing,
        "DaemonSetController": {"ConcurrentDaemonSetSyncs": config.concurrent_daemonset_syncs},
        "DeploymentController": {"ConcurrentDeploymentSyncs": config.concurrent_deployment_syncs},
        "StatefulSetController": {"ConcurrentStatefulSetSyncs": config.concurrent_statefulset_syncs},
        "EndpointController": {
            "ConcurrentEndpointSyncs": config.concurrent_endpoint_syncs,
            "EndpointUpdatesBatchPeriod": lasts(config.endpoint_updates_batch_period),
        },
        "EndpointSliceController": {
            "ConcurrentServiceEndpointSyncs": config.concurrent_service_endpoint_syncs,
            "MaxEndpointsPerSlice": config.max_endpoints_per_slice,
            "EndpointUpdatesBatchPeriod": lasts(config.endpointslice_updates_batch_period),
        },
        "EndpointSliceMirroringController": {
            "MirroringConcurrentServiceEndpointSyncs": config.mirroring_concurrent_service_endpoint_syncs,
            "MirroringMaxEndpointsPerSubset": config.mirroring_max_endpoints_per_subset,
            "MirroringEndpointUpdatesBatchPeriod": lasts(config.mirroring_endpointslice_updates_batch_period),
        },
        "EphemeralVolumeController": {"ConcurrentEphemeralVolumeSyncs": config.concurrent_ephemeralvolume_syncs},
        "GarbageCollectorController": {
            "EnableGarbageCollector": true,
            "ConcurrentGCSyncs": config.concurrent_gc_syncs,
        },
        "HPAController": {
            "ConcurrentHorizontalPodAutoscalerSyncs": config.concurrent_horizontal_pod_autoscaler_syncs,
            "HorizontalPodAutoscalerSyncPeriod": lasts(hpa.sync_period),
            "HorizontalPodAutoscalerDownscaleStabilizationWindow": lasts(hpa.downscale_stabilization),
            "HorizontalPodAutoscalerTolerance": hpa.tolerance,
            "HorizontalPodAutoscalerCPUInitializationPeriod": lasts(hpa.cpu_initialization_period),
            "HorizontalPodAutoscalerInitialReadinessDelay": lasts(hpa.initial_readiness_delay),
        },
        "JobController": {"ConcurrentJobSyncs": config.concurrent_job_syncs},
        "CronJobController": {"ConcurrentCronJobSyncs": config.concurrent_cron_job_syncs},
        "LegacySATokenCleaner": {"CleanUpPeriod": lasts(config.legacy_service_account_token_clean_up_period)},
        "NamespaceController": {"ConcurrentNamespaceSyncs": config.concurrent_namespace_syncs},
        "NodeLifecycleController": {
            "NodeStartupGracePeriod": lasts(config.node_startup_grace_period),
            "NodeMonitorGracePeriod": lasts(config.node_monitor_grace_period),
        },
        "PersistentVolumeBinderController": {
            "PVClaimBinderSyncPeriod": lasts(config.pvclaimbinder_sync_period),
            "VolumeConfiguration": {"EnableDynamicProvisioning": config.enable_dynamic_provisioning},
        },
        "PodGCController": {"TerminatedPodGCThreshold": config.terminated_pod_gc_threshold},
        "ReplicaSetController": {"ConcurrentRSSyncs": config.concurrent_replicaset_syncs},
        "ReplicationController": {"ConcurrentRCSyncs": config.concurrent_rc_syncs},
        "ResourceQuotaController": {
            "ResourceQuotaSyncPeriod": lasts(config.resource_quota_sync_period),
            "ConcurrentResourceQuotaSyncs": config.concurrent_resource_quota_syncs,
        },
        "SAController": {"ConcurrentSATokenSyncs": config.concurrent_serviceaccount_token_syncs},
        "ServiceController": {"ConcurrentServiceSyncs": config.concurrent_service_syncs},
        "TTLAfterFinishedController": {"ConcurrentTTLSyncs": config.concurrent_ttl_after_finished_syncs},
        "ValidatingAdmissionPolicyStatusController": {
            "ConcurrentPolicySyncs": config.concurrent_validating_admission_policy_status_syncs,
        },
        "DeviceTaintEvictionController": {"ConcurrentSyncs": config.concurrent_device_taint_eviction_syncs},
        "ResourceClaimController": {"ConcurrentSyncs": config.concurrent_resourceclaim_syncs},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signing;

    #[test]
    fn the_configuration_shows_what_was_given_and_no_key() {
        let config = Config {
            concurrent_job_syncs: 7,
            service_account_key: Some("a secret".into()),
            signing: Signing::with("/pki/ca.crt".into(), "/pki/ca.key".into()),
            ..Config::default()
        };
        let shown = effective(&config);
        assert_eq!(shown["JobController"]["ConcurrentJobSyncs"], 7);
        assert_eq!(shown["NodeLifecycleController"]["NodeMonitorGracePeriod"], "50s");
        assert_eq!(shown["HPAController"]["HorizontalPodAutoscalerDownscaleStabilizationWindow"], "5m0s");
        let signer = &shown["CSRSigningController"]["LegacyUnknownSignerConfiguration"];
        assert_eq!(signer, &json!({"CertFile": "/pki/ca.crt", "KeyFile": "/pki/ca.key"}));
        assert!(!shown.to_string().contains("a secret"));
    }
}
