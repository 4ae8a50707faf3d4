//! Which other objects a pod names: what its kubelet may therefore read, and what a mirror pod may not name at all.
//! Follows `pkg/api/v1/pod/util.go`.

use std::collections::BTreeSet;

use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

/// The annotation of a pod that a kubelet made from a file.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether the pod mirrors a file on its node.
pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// All containers of a pod, of every sort.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = pod.sub("spec");
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |sort| spec.list(sort))
}

/// Where a volume names a Secret.
const SECRETS: [&str; 10] = [
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/csi/nodePublishSecretRef/name",
    "/flexVolume/secretRef/name",
    "/iscsi/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/secret/secretName",
    "/storageos/secretRef/name",
];

fn add<'p>(set: &mut BTreeSet<&'p str>, name: &'p str) {
    if !name.is_empty() {
        set.insert(name);
    }
}

/// The Secrets that a pod names.
pub fn secrets(pod: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    pod.sub("spec").list("imagePullSecrets").iter().for_each(|s| add(&mut names, s.text("name")));
    for container in containers(pod) {
        container.list("envFrom").iter().for_each(|e| add(&mut names, e.sub("secretRef").text("name")));
        container.list("env").iter().for_each(|e| add(&mut names, e.at("/valueFrom/secretKeyRef").text("name")));
    }
    for volume in pod.sub("spec").list("volumes") {
        SECRETS.iter().for_each(|path| add(&mut names, volume.at(path).and_then(Value::as_str).unwrap_or_default()));
        volume.sub("projected").list("sources").iter().for_each(|s| add(&mut names, s.sub("secret").text("name")));
    }
    names
}

/// The ConfigMaps that a pod names.
pub fn config_maps(pod: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for container in containers(pod) {
        container.list("envFrom").iter().for_each(|e| add(&mut names, e.sub("configMapRef").text("name")));
        container.list("env").iter().for_each(|e| add(&mut names, e.at("/valueFrom/configMapKeyRef").text("name")));
    }
    for volume in pod.sub("spec").list("volumes") {
        add(&mut names, volume.sub("configMap").text("name"));
        volume.sub("projected").list("sources").iter().for_each(|s| add(&mut names, s.sub("configMap").text("name")));
    }
    names
}

/// The PersistentVolumeClaims of a pod, those made for it included.
pub fn claims(pod: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for volume in pod.sub("spec").list("volumes") {
        if volume.get("ephemeral").is_some() {
            names.insert(format!("{}-{}", meta::name(pod), volume.text("name")));
            continue;
        }
        let claim = volume.sub("persistentVolumeClaim").text("claimName");
        if !claim.is_empty() {
            names.insert(claim.to_owned());
        }
    }
    names
}

/// The ResourceClaims of a pod: named, or made for it as its status says.
pub fn resource_claims(pod: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for claim in pod.sub("spec").list("resourceClaims") {
        add(&mut names, claim.text("resourceClaimName"));
        let made =
            pod.sub("status").list("resourceClaimStatuses").iter().filter(|s| s.text("name") == claim.text("name"));
        made.for_each(|s| add(&mut names, s.text("resourceClaimName")));
    }
    add(&mut names, pod.at("/status/extendedResourceClaimStatus").text("resourceClaimName"));
    names
}

/// What sort of API object a pod refers to, if to any: a mirror pod may refer to none, since its node would thereby
/// get at whatever it likes. The error names a volume of unknown type.
pub fn api_reference(pod: &Value) -> Result<Option<&'static str>, String> {
    const HARMLESS: [&str; 21] = [
        "awsElasticBlockStore",
        "azureDisk",
        "cephfs",
        "cinder",
        "downwardAPI",
        "emptyDir",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "gitRepo",
        "hostPath",
        "image",
        "iscsi",
        "nfs",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
    ];
    if !pod.sub("spec").text("serviceAccountName").is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    if !secrets(pod).is_empty() {
        return Ok(Some("secrets"));
    }
    if !config_maps(pod).is_empty() {
        return Ok(Some("configmaps"));
    }
    if !pod.sub("spec").list("resourceClaims").is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in pod.sub("spec").list("volumes") {
        let has = |source: &str| volume.get(source).is_some();
        if HARMLESS.iter().any(|source| has(source)) || has("vsphereVolume") {
            continue;
        }
        let named = [
            ("configMap", "configmaps (via configmap volumes)"),
            ("secret", "secrets (via secret volumes)"),
            ("csi", "csidrivers (via CSI volumes)"),
            ("glusterfs", "endpoints (via glusterFS volumes)"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
            ("azureFile", "secrets (via azureFile volumes)"),
        ];
        if let Some((_, what)) = named.iter().find(|(source, _)| has(source)) {
            return Ok(Some(what));
        }
        if !has("projected") {
            return Err(format!("unknown volume type for volume  {}", model::values::quoted(volume.text("name"))));
        }
        for source in volume.sub("projected").list("sources") {
            let named = [
                ("configMap", "configmaps (via projected volumes)"),
                ("secret", "secrets (via projected volumes)"),
                ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
                ("clusterTrustBundle", "clustertrustbundles"),
                ("podCertificate", "podcertificates"),
            ];
            if let Some((_, what)) = named.iter().find(|(key, _)| source.get(key).is_some()) {
                return Ok(Some(what));
            }
            if source.get("downwardAPI").is_none() {
                return Err(format!(
                    "unknown source for projected volume {}",
                    model::values::quoted(volume.text("name"))
                ));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_names_objects_in_many_places() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}]}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}, {"valueFrom": {"configMapKeyRef": {"name": "c2"}}}]}],
                "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}]}],
                "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "x", "resourceClaimName": "rc"}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "s4"}},
                    {"name": "b", "projected": {"sources": [{"secret": {"name": "s5"}}, {"configMap": {"name": "c3"}}]}},
                    {"name": "c", "configMap": {"name": "c4"}},
                    {"name": "d", "csi": {"nodePublishSecretRef": {"name": "s6"}}},
                    {"name": "e", "persistentVolumeClaim": {"claimName": "pvc"}},
                    {"name": "f", "ephemeral": {}},
                ],
            },
            "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu-1"}]},
        });
        let list = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(list(secrets(&pod)), "pull s1 s2 s3 s4 s5 s6");
        assert_eq!(list(config_maps(&pod)), "c1 c2 c3 c4");
        assert_eq!(claims(&pod).into_iter().collect::<Vec<_>>(), ["p-f", "pvc"]);
        assert_eq!(list(resource_claims(&pod)), "p-gpu-1 rc");
    }

    #[test]
    fn what_a_mirror_pod_may_not_name() {
        let pod = |spec: Value| json!({"spec": spec});
        for (spec, expect) in [
            (
                json!({"volumes": [{"name": "h", "hostPath": {}}, {"name": "p", "projected": {"sources": [{"downwardAPI": {}}]}}]}),
                Ok(None),
            ),
            (json!({"serviceAccountName": "x"}), Ok(Some("serviceaccounts"))),
            (json!({"imagePullSecrets": [{"name": "x"}]}), Ok(Some("secrets"))),
            (json!({"volumes": [{"name": "c", "csi": {}}]}), Ok(Some("csidrivers (via CSI volumes)"))),
            (
                json!({"volumes": [{"name": "p", "projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
                Ok(Some("serviceaccounts (via projected volumes)")),
            ),
            (json!({"volumes": [{"name": "n", "new": {}}]}), Err("unknown volume type for volume  \"n\"".to_owned())),
        ] {
            assert_eq!(api_reference(&pod(spec.clone())), expect, "{spec}");
        }
    }
}
