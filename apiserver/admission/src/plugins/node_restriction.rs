//! NodeRestriction: a kubelet writes its own node and the pods on it, and nothing that would let it reach further.
//! Follows `plugin/pkg/admission/noderestriction`. The Node authorizer lets kubelets at the kinds; this looks at what
//! they write.

use std::sync::Arc;

use access::authz::{Attributes, Authorizer};
use access::pod_refs;
use async_trait::async_trait;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::{CSI_DRIVERS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use model::values::quoted;
use serde_json::Value;
use writes::admission::{Operation, Plugin, Request};

use super::{certificates, forbidden};

mod labels;

/// See the module.
pub struct NodeRestriction(pub Arc<dyn Authorizer>);

/// A refusal: our reason, or another error as it is.
enum No {
    Because(String),
    Error(StatusError),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        No::Because(why)
    }
}

impl From<&str> for No {
    fn from(why: &str) -> Self {
        No::Because(why.into())
    }
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.user.node().is_some() && request.operation != Operation::Connect
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        let node = request.user.node().unwrap_or_default();
        self.check(node, request, obj).map_err(|no| match no {
            No::Because(why) => forbidden(request, obj, why),
            No::Error(error) => error,
        })
    }
}

impl NodeRestriction {
    fn check(&self, node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
        if node.is_empty() {
            return Err(format!("could not determine node from user {}", quoted(&request.user.name)).into());
        }
        let part = request.subresource.unwrap_or_default();
        match (&*request.resource.group, &*request.resource.resource) {
            ("", "pods") => match part {
                "" => pod(node, request, obj),
                "status" => pod_status(node, request, obj),
                "eviction" => eviction(node, request, obj),
                other => Err(format!(
                    "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                    quoted(other)
                )
                .into()),
            },
            ("", "nodes") => own_node(node, request, obj),
            ("", "persistentvolumeclaims") if part == "status" => claim_status(node, request, obj),
            ("", "persistentvolumeclaims") => Err("may only update PVC status".into()),
            ("", "serviceaccounts") => self.token(node, request, obj),
            ("coordination.k8s.io", "leases") => lease(node, request, obj),
            ("storage.k8s.io", "csinodes") => {
                named_as_node(node, request, obj, "can only access CSINode with the same name as the requesting node")
            }
            ("resource.k8s.io", "resourceslices") => resource_slice(node, request, obj),
            ("certificates.k8s.io", "certificatesigningrequests") => signing_request(node, request, obj),
            _ => Ok(()),
        }
    }

    fn token(&self, node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
        if !request.creates() || request.subresource != Some("token") {
            return Ok(());
        }
        let bound = &obj["spec"]["boundObjectRef"];
        if bound.text("apiVersion") != "v1" || bound.text("kind") != "Pod" || bound.text("name").is_empty() {
            return Err("node requested token not bound to a pod".into());
        }
        let uid = bound.text("uid");
        if uid.is_empty() {
            return Err("node requested token with a pod binding without a uid".into());
        }
        let pod = existing_pod(request, bound.text("name"))?;
        if meta::uid(&pod) != uid {
            return Err(format!("the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated").into());
        }
        if pod.sub("spec").text("nodeName") != node {
            return Err("node requested token bound to a pod scheduled on a different node".into());
        }
        self.audience(request, obj, &pod)
    }

    /// A kubelet gets tokens for the audiences that the pod's volumes name, or that it was given by RBAC.
    fn audience(&self, request: &Request<'_>, obj: &Value, pod: &Value) -> Result<(), No> {
        let audiences: Vec<&str> = obj.sub("spec").texts("audiences").collect();
        let audience = match audiences.as_slice() {
            [] => "",
            [one] => one,
            _ => return Err("node may only request 0 or 1 audiences".into()),
        };
        if pod_names_audience(request, pod, audience) {
            return Ok(());
        }
        let attributes = Attributes {
            namespace: request.namespace.unwrap_or_default(),
            version: "v1",
            name: request.name,
            ..Attributes::resource(request.user, "request-serviceaccounts-token-audience", "", audience)
        };
        if self.0.authorize(&attributes).allowed() {
            return Ok(());
        }
        let (audience, user) = (quoted(audience), &request.user.name);
        Err(format!("audience {audience} not found in pod spec volume, {user} is not authorized to request tokens for this audience").into())
    }
}

fn existing_pod(request: &Request<'_>, name: &str) -> Result<Arc<Value>, No> {
    request.registry.get(&PODS, request.namespace, name).ok_or_else(|| No::Error(StatusError::not_found(&PODS, name)))
}

fn pod(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    match request.operation {
        Operation::Create => {
            let owner = request.registry.get(&NODES, None, node);
            mirror_pod(node, obj, owner.as_deref())
        }
        // Deleting a collection names none: each is checked on its own.
        Operation::Delete if request.name.is_empty() => Ok(()),
        Operation::Delete if existing_pod(request, request.name)?.sub("spec").text("nodeName") != node => {
            Err(format!("node {} can only delete pods with spec.nodeName set to itself", quoted(node)).into())
        }
        Operation::Delete => Ok(()),
        _ => Err(format!(
            "unexpected operation \"UPDATE\", node {} can only create and delete mirror pods",
            quoted(node)
        )
        .into()),
    }
}

/// What a kubelet may create: the image of a file on its disk, which refers to nothing.
fn mirror_pod(node: &str, pod: &Value, own: Option<&Value>) -> Result<(), No> {
    let n = quoted(node);
    if !pod_refs::is_mirror(pod) {
        return Err(format!(
            "pod does not have {} annotation, node {n} can only create mirror pods",
            quoted(pod_refs::MIRROR)
        )
        .into());
    }
    if pod.sub("spec").text("nodeName") != node {
        return Err(format!("node {n} can only create pods with spec.nodeName set to itself").into());
    }
    let owner = match pod.sub("metadata").list("ownerReferences") {
        [] => return Err(format!("node {n} can only create pods with an owner reference set to itself").into()),
        [owner] => owner,
        _ => return Err(format!("node {n} can only create pods with a single owner reference set to itself").into()),
    };
    if owner.text("apiVersion") != "v1" || owner.text("kind") != "Node" || owner.text("name") != node {
        return Err(format!("node {n} can only create pods with an owner reference set to itself").into());
    }
    if owner["controller"] != true {
        return Err(format!("node {n} can only create pods with a controller owner reference set to itself").into());
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {n} must not set blockOwnerDeletion on an owner reference").into());
    }
    let own = own.ok_or_else(|| No::Error(StatusError::not_found(&NODES, node)))?;
    let (said, is) = (owner.text("uid"), meta::uid(own));
    if said != is {
        return Err(format!("node {node} UID mismatch: expected {said} got {is}").into());
    }
    match pod_refs::api_reference(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(format!("node {n} can not create pods that reference {what}").into()),
        Err(why) => Err(format!("error checking mirror pod for API references: {why}").into()),
    }
}

fn pod_status(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    let n = quoted(node);
    let Some(old) = request.old.filter(|_| request.operation == Operation::Update) else {
        return Err("unexpected operation".into());
    };
    if old.sub("spec").text("nodeName") != node {
        return Err(format!("node {n} can only update pod status for pods with spec.nodeName set to itself").into());
    }
    let differs = |path: &str| {
        let empty = |v: Option<&Value>| {
            v.cloned().filter(|v| !v.is_null() && *v != serde_json::json!({}) && *v != serde_json::json!([]))
        };
        empty(old.pointer(path)) != empty(obj.pointer(path))
    };
    if differs("/metadata/labels") {
        return Err(format!("node {n} cannot update labels through pod status").into());
    }
    if differs("/status/resourceClaimStatuses") {
        return Err(format!("node {n} cannot update resource claim statues").into());
    }
    if differs("/status/extendedResourceClaimStatus") {
        return Err(format!("node {n} cannot update extended resource claim status").into());
    }
    Ok(())
}

fn eviction(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    if !request.creates() {
        return Err("unexpected operation".into());
    }
    let name = if request.name.is_empty() { meta::name(obj) } else { request.name };
    if name.is_empty() {
        return Err("could not determine pod from request data".into());
    }
    if existing_pod(request, name)?.sub("spec").text("nodeName") != node {
        return Err(format!("node {node} can only evict pods with spec.nodeName set to itself").into());
    }
    Ok(())
}

fn claim_status(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    let Some(old) = request.old.filter(|_| request.operation == Operation::Update) else {
        return Err("unexpected operation".into());
    };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"][..]),
        ] {
            if let Some(part) = claim.get_mut(part).and_then(Value::as_object_mut) {
                fields.iter().for_each(|field| drop(part.remove(*field)));
            }
        }
        claim
    };
    if rest(old) != rest(obj) {
        let n = quoted(node);
        return Err(format!(
            "node {n} is not allowed to update fields other than status.quantity and status.conditions"
        )
        .into());
    }
    Ok(())
}

fn own_node(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    let n = quoted(node);
    let name = if request.name.is_empty() { meta::name(obj) } else { request.name };
    if name != node {
        return Err(format!("node {n} is not allowed to modify node {}", quoted(name)).into());
    }
    let config = |node: &Value| node.pointer("/spec/configSource").filter(|c| !c.is_null()).cloned();
    match (request.operation, request.old) {
        (Operation::Create, _) => {
            if config(obj).is_some() {
                return Err(format!("node {n} is not allowed to create pods with a non-nil configSource").into());
            }
            let forbidden = labels::forbidden(&obj["metadata"]["labels"], &Value::Null);
            if !forbidden.is_empty() {
                return Err(
                    format!("node {n} is not allowed to set the following labels: {}", forbidden.join(", ")).into()
                );
            }
            Ok(())
        }
        (Operation::Update, Some(old)) => {
            if config(obj).is_some() && config(obj) != config(old) {
                return Err(
                    format!("node {n} is not allowed to update configSource to a new non-nil configSource").into()
                );
            }
            if obj.sub("spec").list("taints") != old.sub("spec").list("taints") {
                return Err(format!("node {n} is not allowed to modify taints").into());
            }
            if obj.sub("metadata").list("ownerReferences") != old.sub("metadata").list("ownerReferences") {
                return Err(format!("node {n} is not allowed to modify ownerReferences").into());
            }
            let forbidden = labels::forbidden(&obj["metadata"]["labels"], &old["metadata"]["labels"]);
            if !forbidden.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", forbidden.join(", ")).into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn lease(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    const NAMESPACE: &str = "kube-node-lease";
    if request.namespace != Some(NAMESPACE) {
        return Err(format!("can only access leases in the {} system namespace", quoted(NAMESPACE)).into());
    }
    named_as_node(node, request, obj, "can only access node lease with the same name as the requesting node")
}

fn named_as_node(node: &str, request: &Request<'_>, obj: &Value, why: &str) -> Result<(), No> {
    let name = if request.creates() { meta::name(obj) } else { request.name };
    if name == node { Ok(()) } else { Err(why.into()) }
}

fn resource_slice(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    let (object, verb) = match request.operation {
        Operation::Create => (Some(obj), "create"),
        Operation::Delete => (request.old, "delete"),
        _ => return Ok(()),
    };
    match object {
        Some(slice) if slice.sub("spec").text("nodeName") != node => {
            Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node").into())
        }
        _ => Ok(()),
    }
}

fn signing_request(node: &str, request: &Request<'_>, obj: &Value) -> Result<(), No> {
    let signer = obj.sub("spec").text("signerName");
    if !request.creates()
        || !matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet")
    {
        return Ok(());
    }
    let subject = certificates::subject(obj).map_err(|why| format!("unable to parse csr: {why}"))?;
    if subject.common_name != format!("system:node:{node}") {
        return Err(format!("can only create a node CSR with CN=system:node:{node}").into());
    }
    Ok(())
}

/// Whether a volume of the pod asks for tokens of that audience: a projection, or a CSI driver by its own list.
fn pod_names_audience(request: &Request<'_>, pod: &Value, audience: &str) -> bool {
    let registry = request.registry;
    let driver_of_claim = |claim: &str| {
        let claim = registry.get(&PERSISTENT_VOLUME_CLAIMS, request.namespace, claim)?;
        let volume = registry.get(&PERSISTENT_VOLUMES, None, claim.sub("spec").text("volumeName"))?;
        Some(volume.at("/spec/csi").text("driver").to_owned())
    };
    pod.sub("spec").list("volumes").iter().any(|volume| {
        let projects = |s: &Value| s.get("serviceAccountToken").is_some_and(|t| t.text("audience") == audience);
        if volume.sub("projected").list("sources").iter().any(projects) {
            return true;
        }
        let driver = if volume.get("ephemeral").is_some() {
            driver_of_claim(&format!("{}-{}", meta::name(pod), volume.text("name")))
        } else if volume.get("persistentVolumeClaim").is_some() {
            driver_of_claim(volume.sub("persistentVolumeClaim").text("claimName"))
        } else {
            Some(volume.sub("csi").text("driver").to_owned())
        };
        let driver = driver.filter(|d| !d.is_empty()).and_then(|d| registry.get(&CSI_DRIVERS, None, &d));
        driver.is_some_and(|d| d.sub("spec").list("tokenRequests").iter().any(|t| t.text("audience") == audience))
    })
}

#[cfg(test)]
mod tests;
