//! In which order objects are brought back: what others need first, and owners before what they own.

use std::collections::{HashMap, HashSet};

use machinery::meta;

use super::wanted::Object;

/// Kinds in the order in which they are brought back. Others come after them, before the last.
const FIRST: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "NetworkPolicy",
    "LimitRange",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "ResourceClaimTemplate",
    "ResourceClaim",
    "PodTemplate",
    "PodDisruptionBudget",
    "Service",
    "Endpoints",
    "EndpointSlice",
    "StatefulSet",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "Pod",
    "CronJob",
    "Job",
    "HorizontalPodAutoscaler",
    "Ingress",
];
/// A quota would refuse what comes before it has counted.
const LAST: &str = "ResourceQuota";

fn rank(kind: &str) -> usize {
    match FIRST.iter().position(|first| *first == kind) {
        Some(rank) => rank,
        None if kind == LAST => FIRST.len() + 1,
        None => FIRST.len(),
    }
}

/// Puts objects in their order.
pub fn sort(objects: &mut Vec<Object>) {
    objects.sort_by(|a, b| {
        let key = |object: &Object| rank(meta::kind(&object.value));
        key(a).cmp(&key(b)).then_with(|| a.key.cmp(&b.key))
    });
    let by_uid: HashMap<String, usize> =
        objects.iter().enumerate().map(|(at, object)| (meta::uid(&object.value).to_owned(), at)).collect();
    let (mut order, mut seen) = (Vec::with_capacity(objects.len()), HashSet::new());
    for at in 0..objects.len() {
        // Depth first without recursion: owners of owners may be many.
        let mut stack = vec![(at, false)];
        while let Some((at, owners_done)) = stack.pop() {
            if owners_done {
                order.push(at);
                continue;
            }
            if !seen.insert(at) {
                continue;
            }
            stack.push((at, true));
            let owners = meta::owner_references(&objects[at].value).filter_map(|owner| by_uid.get(owner.uid));
            stack.extend(owners.map(|owner| (*owner, false)));
        }
    }
    let mut taken: Vec<Option<Object>> = std::mem::take(objects).into_iter().map(Some).collect();
    objects.extend(order.into_iter().filter_map(|at| taken[at].take()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_need_comes_first_and_owners_before_what_is_theirs() {
        let object = |kind: &str, name: &str, owner: Option<&str>| {
            let owners: Vec<_> = owner.iter().map(|uid| json!({"kind": "X", "name": uid, "uid": uid})).collect();
            let metadata = json!({"name": name, "uid": name, "ownerReferences": owners});
            Object { key: format!("/registry/{name}"), value: json!({"kind": kind, "metadata": metadata}) }
        };
        let mut objects = vec![
            object("ResourceQuota", "quota", None),
            object("Database", "db", None),
            object("Secret", "password", Some("db")),
            object("Deployment", "web", None),
            object("Service", "web-service", None),
            object("Namespace", "shop", None),
            object("ConfigMap", "loop-a", Some("loop-b")),
            object("ConfigMap", "loop-b", Some("loop-a")),
        ];
        sort(&mut objects);
        let names: Vec<_> = objects.iter().map(|object| meta::name(&object.value)).collect();
        assert_eq!(names, ["shop", "db", "password", "loop-b", "loop-a", "web-service", "web", "quota"]);
    }
}
