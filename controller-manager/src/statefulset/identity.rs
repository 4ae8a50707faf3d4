//! What makes a pod the member of a StatefulSet that it is: its name with an ordinal, its labels, its claims' volumes.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume},
};

use crate::util::{history::REVISION_LABEL, key, pod_control::pod_from_template};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The set's name and the ordinal that a pod's name is made of; nothing if it is not made so.
fn parts(pod: &Pod) -> Option<(&str, &str)> {
    let (set, digits) = key::name(&pod.metadata).rsplit_once('-')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some((set, digits))
}

/// Nothing also if it is too large.
pub(crate) fn ordinal(pod: &Pod) -> Option<i32> {
    parts(pod)?.1.parse().ok()
}

pub(crate) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parts(pod).is_some_and(|(name, _)| name == key::name(&set.metadata))
}

pub(crate) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(crate) fn first_ordinal(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.ordinals.as_ref()?.start).unwrap_or(0)
}

pub(crate) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let first = first_ordinal(set);
    ordinal >= first && i64::from(ordinal) < i64::from(first) + i64::from(replicas(set))
}

/// Whether it has been scaled away: its ordinal is none of the set's.
pub(crate) fn is_condemned(set: &StatefulSet, pod: &Pod) -> bool {
    !ordinal(pod).is_some_and(|n| in_range(set, n))
}

pub(crate) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", key::name(&set.metadata))
}

pub(crate) fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default()
}

pub(crate) fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}", key::name(&template.metadata), pod_name(set, ordinal))
}

fn label<'a>(pod: &'a Pod, name: &str) -> &'a str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(name)).map(String::as_str).unwrap_or_default()
}

/// The revision that the pod was made of; empty if it does not say.
pub(crate) fn revision(pod: &Pod) -> &str {
    label(pod, REVISION_LABEL)
}

/// Whether its name and labels are a member's.
pub(crate) fn identity_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let name = key::name(&pod.metadata);
    ordinal(pod).is_some_and(|n| name == pod_name(set, n))
        && pod.metadata.namespace == set.metadata.namespace
        && label(pod, NAME_LABEL) == name
}

/// Whether its volumes are the set's claims of its ordinal.
pub(crate) fn storage_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else { return false };
    let volumes = || pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    claim_templates(set).iter().all(|template| {
        let volume = volumes().rfind(|v| v.name == key::name(&template.metadata));
        let claim = volume.and_then(|v| v.persistent_volume_claim.as_ref());
        claim.is_some_and(|c| c.claim_name == claim_name(set, template, ordinal))
    })
}

/// Gives a pod the name and labels of its ordinal.
pub(crate) fn update_identity(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let name = pod_name(set, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.into(), name.clone());
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
    pod.metadata.name = Some(name);
    pod.metadata.namespace = set.metadata.namespace.clone();
}

/// Gives a pod the volumes of the set's claims, in the place of its own of those names.
pub(crate) fn update_storage(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let templates = claim_templates(set);
    let of_claim = |template: &PersistentVolumeClaim| Volume {
        name: key::name(&template.metadata).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, template, ordinal),
            read_only: None,
        }),
        ..Default::default()
    };
    let mut volumes: Vec<Volume> = templates.iter().map(of_claim).collect();
    let spec = pod.spec.get_or_insert_default();
    let claimed = |v: &Volume| templates.iter().any(|t| key::name(&t.metadata) == v.name);
    volumes.extend(spec.volumes.take().into_iter().flatten().filter(|v| !claimed(v)));
    spec.volumes = Some(volumes).filter(|v| !v.is_empty());
}

/// The set's pod of an ordinal. `template_of` is the set as its template's revision has it.
pub(crate) fn new_pod(template_of: &StatefulSet, revision: &str, ordinal: i32) -> Pod {
    let spec = template_of.spec.clone().unwrap_or_default();
    let reference = controller::controller_ref(template_of);
    let mut pod = pod_from_template(&spec.template, key::name(&template_of.metadata), reference);
    update_identity(template_of, &mut pod, ordinal);
    // What can't be changed later is set here only.
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = pod.metadata.name.clone();
    pod_spec.subdomain = spec.service_name.filter(|s| !s.is_empty());
    update_storage(template_of, &mut pod, ordinal);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), revision.to_owned());
    pod
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(spec: Value) -> StatefulSet {
        let mut set = json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u"},
            "spec": {
                "replicas": 3, "selector": {}, "serviceName": "svc",
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "own", "emptyDir": {}}]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "logs"}}],
            },
        });
        for (name, value) in spec.as_object().unwrap() {
            set["spec"][name] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn named(name: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}})).unwrap()
    }

    #[test]
    fn names_tell_ordinals() {
        let web = set(json!({}));
        for (name, wanted, member) in [
            ("web-0", Some(0), true),
            ("web-12", Some(12), true),
            ("web-01", Some(1), true),
            ("web", None, false),
            ("web-", None, false),
            ("web-x", None, false),
            ("web--1", Some(1), false),
            ("web-1-2", Some(2), false),
            ("web-99999999999", None, true),
        ] {
            assert_eq!((ordinal(&named(name)), is_member(&web, &named(name))), (wanted, member), "{name}");
        }
    }

    #[test]
    fn the_range_begins_at_the_first_ordinal() {
        for (start, n, want) in
            [(0, 0, true), (0, 2, true), (0, 3, false), (2, 1, false), (2, 2, true), (2, 4, true), (2, 5, false)]
        {
            assert_eq!(in_range(&set(json!({"ordinals": {"start": start}})), n), want, "{start} {n}");
        }
        assert!(is_condemned(&set(json!({"replicas": 0})), &named("web-0")));
    }

    #[test]
    fn a_new_pod_is_a_member_with_its_claims_first() {
        let pod = new_pod(&set(json!({})), "web-h", 1);
        assert_eq!(
            serde_json::to_value(&pod).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": "web-1", "generateName": "web-", "namespace": "ns",
                    "labels": {
                        "app": "web", "statefulset.kubernetes.io/pod-name": "web-1", "apps.kubernetes.io/pod-index": "1",
                        "controller-revision-hash": "web-h",
                    },
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": true,
                        "blockOwnerDeletion": true,
                    }],
                },
                "spec": {
                    "containers": [], "hostname": "web-1", "subdomain": "svc",
                    "volumes": [
                        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}},
                        {"name": "logs", "persistentVolumeClaim": {"claimName": "logs-web-1"}},
                        {"name": "own", "emptyDir": {}},
                    ],
                },
            })
        );
        let web = set(json!({}));
        assert!(identity_matches(&web, &pod) && storage_matches(&web, &pod));
    }

    #[test]
    fn what_is_no_member_any_more_is_seen() {
        let web = set(json!({}));
        let mut other = new_pod(&web, "h", 1);
        other.metadata.labels.as_mut().unwrap().remove(NAME_LABEL);
        assert!(!identity_matches(&web, &other));
        update_identity(&web, &mut other, 1);
        assert!(identity_matches(&web, &other));
        let mut leading_zero = new_pod(&web, "h", 1);
        leading_zero.metadata.name = Some("web-01".into());
        assert!(!identity_matches(&web, &leading_zero));
        other.spec.as_mut().unwrap().volumes.as_mut().unwrap().remove(1);
        assert!(!storage_matches(&web, &other));
        update_storage(&web, &mut other, 1);
        assert!(storage_matches(&web, &other));
        assert!(!storage_matches(&web, &{
            let mut pod = other.clone();
            pod.metadata.name = Some("web-2".into());
            pod
        }));
    }
}
