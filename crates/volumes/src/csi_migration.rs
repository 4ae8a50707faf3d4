//! Volume plugins that were in Kubernetes once, and the CSI drivers that do their work.
//!
//! Upstream: `csi-translation-lib` and `pkg/volume/csimigration`: all of them have been taken over.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume};

use crate::Reach;

const MIGRATED: &[(&str, &str)] = &[
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
];

/// Plugins whose volumes lie in zones, and the label by which their drivers say in which zone a node is.
const ZONE_LABELS: &[(&str, &str)] = &[
    ("kubernetes.io/aws-ebs", "topology.ebs.csi.aws.com/zone"),
    ("kubernetes.io/gce-pd", "topology.gke.io/zone"),
    ("kubernetes.io/cinder", "topology.cinder.csi.openstack.org/zone"),
];
/// The labels of Kubernetes, new and old: of a zone, and of a region.
const LABELS: [(&str, &str); 2] = [
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"),
];
/// Between zones in one label.
const BETWEEN_ZONES: &str = "__";

/// The driver that does the work of a plugin.
pub fn driver_of(plugin: &str) -> Option<&'static str> {
    MIGRATED.iter().find(|(name, _)| *name == plugin).map(|(_, driver)| *driver)
}

/// The plugin of the past that the volume is of, and its driver.
pub fn of_volume(volume: &PersistentVolume) -> Option<(&'static str, &'static str)> {
    let spec = volume.spec.as_ref()?;
    let sources = [
        spec.aws_elastic_block_store.is_some(),
        spec.gce_persistent_disk.is_some(),
        spec.cinder.is_some(),
        spec.azure_disk.is_some(),
        spec.azure_file.is_some(),
        spec.vsphere_volume.is_some(),
        spec.portworx_volume.is_some(),
    ];
    MIGRATED.iter().zip(sources).find(|(_, is)| *is).map(|(plugin, _)| *plugin)
}

/// The plugin of a volume that lies in zones, and the nodes that reach it by the labels of the plugin's driver. They are
/// asked where the driver does the plugin's work on the node.
///
/// Upstream: `translateTopologyFromInTreeToCSI`.
pub fn reach_by_driver(volume: &PersistentVolume) -> Option<(&'static str, Reach)> {
    let (plugin, _) = of_volume(volume)?;
    let (_, label) = ZONE_LABELS.iter().find(|(name, _)| *name == plugin)?;
    let mut volume = volume.clone();
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let named = |key: &str| terms(&volume).iter().flat_map(expressions).any(|expression| expression.key == key);
    let by_affinity = LABELS.iter().find(|(zone, _)| named(zone));
    let by_label = || LABELS.iter().find(|(zone, _)| labels.contains_key(*zone));
    let (zone, region) = *by_affinity.or_else(by_label).unwrap_or(&LABELS[0]);
    let has_values = |expression: &NodeSelectorRequirement| expression.values.as_ref().is_some_and(|v| !v.is_empty());
    let named = terms(&volume).iter().flat_map(expressions).any(|e| e.key == zone && has_values(e));
    if named {
        rename(&mut volume, zone, label);
    } else if let Some(zones) = labels.get(zone) {
        let zones: BTreeSet<&str> = zones.split(BETWEEN_ZONES).map(str::trim).filter(|zone| !zone.is_empty()).collect();
        require(&mut volume, label, zones.into_iter().map(str::to_owned).collect());
    }
    if region == LABELS[1].1 {
        rename(&mut volume, region, LABELS[0].1);
    }
    Some((plugin, Reach::of(&volume)))
}

fn terms(volume: &PersistentVolume) -> &[NodeSelectorTerm] {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.map(|required| required.node_selector_terms.as_slice()).unwrap_or_default()
}

fn terms_mut(volume: &mut PersistentVolume) -> &mut Vec<NodeSelectorTerm> {
    let affinity = volume.spec.get_or_insert_default().node_affinity.get_or_insert_default();
    &mut affinity.required.get_or_insert_default().node_selector_terms
}

fn expressions(term: &NodeSelectorTerm) -> &[NodeSelectorRequirement] {
    term.match_expressions.as_deref().unwrap_or_default()
}

fn rename(volume: &mut PersistentVolume, from: &str, to: &str) {
    if terms(volume).is_empty() {
        return;
    }
    let expressions = terms_mut(volume).iter_mut().flat_map(|term| term.match_expressions.iter_mut().flatten());
    expressions.filter(|expression| expression.key == from).for_each(|expression| to.clone_into(&mut expression.key));
}

/// Every way to reach the volume requires one of these values, too.
fn require(volume: &mut PersistentVolume, key: &str, values: Vec<String>) {
    if values.is_empty() {
        return;
    }
    let terms = terms_mut(volume);
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in terms {
        let operator = "In".to_owned();
        let one = NodeSelectorRequirement { key: key.to_owned(), operator, values: Some(values.clone()) };
        term.match_expressions.get_or_insert_default().push(one);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_plugin_of_the_past_has_a_driver() {
        let check = |source: Value, plugin: &str, driver: &str| {
            let volume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": source})).unwrap();
            assert_eq!(of_volume(&volume), Some((plugin, driver)));
            assert_eq!(driver_of(plugin), Some(driver));
        };
        check(json!({"awsElasticBlockStore": {"volumeID": "x"}}), "kubernetes.io/aws-ebs", "ebs.csi.aws.com");
        check(json!({"gcePersistentDisk": {"pdName": "x"}}), "kubernetes.io/gce-pd", "pd.csi.storage.gke.io");
        check(json!({"cinder": {"volumeID": "x"}}), "kubernetes.io/cinder", "cinder.csi.openstack.org");
        let disk = json!({"azureDisk": {"diskName": "x", "diskURI": "y"}});
        check(disk, "kubernetes.io/azure-disk", "disk.csi.azure.com");
        let file = json!({"azureFile": {"secretName": "x", "shareName": "y"}});
        check(file, "kubernetes.io/azure-file", "file.csi.azure.com");
        let vsphere = json!({"vsphereVolume": {"volumePath": "x"}});
        check(vsphere, "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com");
        check(json!({"portworxVolume": {"volumeID": "x"}}), "kubernetes.io/portworx-volume", "pxd.portworx.com");
        let volume =
            json!({"metadata": {"name": "v"}, "spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "h"}}});
        assert_eq!(of_volume(&serde_json::from_value(volume).unwrap()), None);
        assert_eq!(driver_of("kubernetes.io/host-path"), None);
    }

    #[test]
    fn zones_and_regions_are_asked_for_by_the_labels_of_the_driver() {
        let check = |labels: Value, affinity: Value, on_node: Value, want: bool| {
            let spec = json!({"awsElasticBlockStore": {"volumeID": "x"}, "nodeAffinity": affinity});
            let volume = json!({"metadata": {"name": "v", "labels": labels}, "spec": spec});
            let (plugin, reach) = reach_by_driver(&serde_json::from_value(volume).unwrap()).unwrap();
            assert_eq!(plugin, "kubernetes.io/aws-ebs");
            let node: BTreeMap<String, String> = serde_json::from_value(on_node).unwrap();
            assert_eq!(reach.includes(&node), want, "{labels} {affinity} {node:?}");
        };
        let affinity = |key: &str, values: &[&str]| {
            let expression = json!({"key": key, "operator": "In", "values": values});
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}})
        };
        let (driver, zone) = ("topology.ebs.csi.aws.com/zone", "topology.kubernetes.io/zone");
        let (old_zone, old_region) =
            ("failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region");
        for key in [zone, old_zone, driver] {
            check(json!({}), affinity(key, &["a", "b"]), json!({driver: "b"}), true);
            check(json!({}), affinity(key, &["a", "b"]), json!({driver: "c"}), false);
        }
        check(json!({}), affinity(zone, &["a"]), json!({zone: "a"}), false);
        // The volume's own labels, where its affinity says nothing of zones.
        check(json!({zone: "a__b"}), Value::Null, json!({driver: "b"}), true);
        check(json!({zone: "a__b"}), Value::Null, json!({driver: "c"}), false);
        check(json!({zone: "a"}), affinity("disk", &["x"]), json!({driver: "a", "disk": "x"}), true);
        check(json!({zone: "a"}), affinity("disk", &["x"]), json!({driver: "a"}), false);
        check(json!({zone: " "}), Value::Null, json!({}), true);
        check(json!({}), Value::Null, json!({}), true);
        let region = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": old_zone, "operator": "In", "values": ["a"]}, {"key": old_region, "operator": "In", "values": ["r"]},
        ]}]}});
        check(json!({}), region, json!({driver: "a", "topology.kubernetes.io/region": "r"}), true);
        let none = |source: Value| {
            let volume = serde_json::from_value(json!({"metadata": {}, "spec": source})).unwrap();
            assert!(reach_by_driver(&volume).is_none(), "{source}");
        };
        none(json!({"hostPath": {"path": "/x"}}));
        none(json!({"azureDisk": {"diskName": "x", "diskURI": "y"}}));
    }
}
