//! How many volumes and claims there are of each sort, for who asks for metrics.
//!
//! Upstream: `pkg/controller/volume/persistentvolume/metrics`.

use std::sync::Arc;

use component::metrics::Text;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::{metrics, util::key};

/// Writes the gauges.
pub(super) fn write(out: &mut Text, volumes: &[Arc<PersistentVolume>], claims: &[Arc<PersistentVolumeClaim>]) {
    let sorts = volumes.iter().map(|volume| {
        let mode = volume.spec.as_ref().and_then(|spec| spec.volume_mode.clone());
        [plugin(volume), mode.unwrap_or_else(|| "Filesystem".to_owned())]
    });
    let of = ("pv_collector_total_pv_count", "[ALPHA] Volumes, by what they are and how they are used.");
    metrics::gauge(out, of, ["plugin_name", "volume_mode"], metrics::tally(sorts));
    for (is_bound, name, help) in [
        (true, "pv_collector_bound_pv_count", "[ALPHA] Volumes of a class that claims have."),
        (false, "pv_collector_unbound_pv_count", "[ALPHA] Volumes of a class that no claim has."),
    ] {
        let status =
            |v: &&Arc<PersistentVolume>| v.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Bound"));
        let class = |v: &Arc<PersistentVolume>| v.spec.as_ref().and_then(|s| s.storage_class_name.clone());
        let sorts = volumes.iter().filter(|v| status(v) == is_bound).map(|v| [class(v).unwrap_or_default()]);
        metrics::gauge(out, (name, help), ["storage_class"], metrics::tally(sorts));
    }
    for (is_bound, name, help) in [
        (true, "pv_collector_bound_pvc_count", "[ALPHA] Claims that have a volume."),
        (false, "pv_collector_unbound_pvc_count", "[ALPHA] Claims that have none."),
    ] {
        let bound = |claim: &&Arc<PersistentVolumeClaim>| {
            claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
        };
        let sorts = claims.iter().filter(|claim| bound(claim) == is_bound).map(|claim| {
            let attributes = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
            let class = volumes::claim_class(claim).to_owned();
            [key::namespace(&claim.metadata).to_owned(), class, attributes.unwrap_or_default()]
        });
        let labels = ["namespace", "storage_class", "volume_attributes_class"];
        metrics::gauge(out, (name, help), labels, metrics::tally(sorts));
    }
}

/// What a volume is, as far as the controller has a plugin for it.
pub(super) fn plugin(volume: &PersistentVolume) -> String {
    let Some(spec) = &volume.spec else { return "N/A".to_owned() };
    match spec {
        _ if spec.csi.is_some() => {
            let driver = spec.csi.as_ref().map_or("", |csi| csi.driver.as_str());
            format!("kubernetes.io/csi:{driver}")
        }
        _ if spec.host_path.is_some() => "kubernetes.io/host-path".to_owned(),
        _ if spec.local.is_some() => "kubernetes.io/local-volume".to_owned(),
        _ if spec.nfs.is_some() => "kubernetes.io/nfs".to_owned(),
        _ => "N/A".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_and_claims_are_counted_by_their_sorts() {
        let volume = |class: &str, phase: &str| {
            let spec = json!({"hostPath": {"path": "/x"}, "storageClassName": class, "volumeMode": "Filesystem"});
            Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap())
        };
        let csi = json!({"csi": {"driver": "d.example.com", "volumeHandle": "h"}, "volumeMode": "Block"});
        let csi = Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": csi})).unwrap());
        let claim = json!({
            "metadata": {"namespace": "ns"}, "spec": {"storageClassName": "fast"}, "status": {"phase": "Bound"},
        });
        let mut out = Text::default();
        let volumes = [volume("fast", "Bound"), volume("fast", "Bound"), volume("", "Released"), csi];
        write(&mut out, &volumes, &[Arc::new(serde_json::from_value(claim).unwrap())]);
        let text = out.finish();
        for line in [
            "pv_collector_total_pv_count{plugin_name=\"kubernetes.io/host-path\",volume_mode=\"Filesystem\"} 3",
            "pv_collector_total_pv_count{plugin_name=\"kubernetes.io/csi:d.example.com\",volume_mode=\"Block\"} 1",
            "pv_collector_bound_pv_count{storage_class=\"fast\"} 2",
            "pv_collector_unbound_pv_count{storage_class=\"\"} 2",
            "pv_collector_bound_pvc_count{namespace=\"ns\",storage_class=\"fast\",volume_attributes_class=\"\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
