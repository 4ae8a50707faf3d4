//! Objects as upstream's servers keep them in etcd: protobuf in an envelope, or JSON, in a version of their choice.
//!
//! A store that was another server's has values in versions that are not served here. Of most kinds those have the very
//! fields of today's version, under another name of the version ([`ALIKE`], checked against the golden files); a few are
//! converted. What is neither is an error with a reason, and never an object that lacks something.

use machinery::gvk::{GroupVersion, GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;

use crate::convert;
use crate::decode::{self, Error};
use crate::protobuf::{self, MAGIC};
use crate::schema;

mod definition;

/// Versions that are not served and have the fields of v1: all of them, of the same types, numbers and meaning. (The
/// PodDisruptionBudget of policy/v1beta1 is not here: an empty selector means the opposite in it.)
#[rustfmt::skip]
pub const ALIKE: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io/v1alpha1", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1alpha1", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1alpha1", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1alpha1", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1beta1", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1beta1", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1beta1", "ValidatingWebhookConfiguration"),
    ("apps/v1beta1", "ControllerRevision"),
    ("apps/v1beta1", "StatefulSet"),
    ("apps/v1beta2", "ControllerRevision"),
    ("apps/v1beta2", "DaemonSet"),
    ("apps/v1beta2", "Deployment"),
    ("apps/v1beta2", "ReplicaSet"),
    ("apps/v1beta2", "StatefulSet"),
    ("batch/v1beta1", "CronJob"),
    ("certificates.k8s.io/v1beta1", "CertificateSigningRequest"),
    ("coordination.k8s.io/v1beta1", "Lease"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "PriorityLevelConfiguration"),
    ("networking.k8s.io/v1beta1", "IPAddress"),
    ("networking.k8s.io/v1beta1", "IngressClass"),
    ("networking.k8s.io/v1beta1", "ServiceCIDR"),
    ("node.k8s.io/v1beta1", "RuntimeClass"),
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1beta1", "Role"),
    ("rbac.authorization.k8s.io/v1beta1", "RoleBinding"),
    ("resource.k8s.io/v1beta1", "DeviceClass"),
    ("resource.k8s.io/v1beta2", "DeviceClass"),
    ("resource.k8s.io/v1beta2", "ResourceClaim"),
    ("resource.k8s.io/v1beta2", "ResourceClaimTemplate"),
    ("resource.k8s.io/v1beta2", "ResourceSlice"),
    ("scheduling.k8s.io/v1beta1", "PriorityClass"),
    ("storage.k8s.io/v1alpha1", "CSIStorageCapacity"),
    ("storage.k8s.io/v1alpha1", "VolumeAttachment"),
    ("storage.k8s.io/v1alpha1", "VolumeAttributesClass"),
    ("storage.k8s.io/v1beta1", "CSIDriver"),
    ("storage.k8s.io/v1beta1", "CSINode"),
    ("storage.k8s.io/v1beta1", "CSIStorageCapacity"),
    ("storage.k8s.io/v1beta1", "StorageClass"),
    ("storage.k8s.io/v1beta1", "VolumeAttachment"),
    ("storage.k8s.io/v1beta1", "VolumeAttributesClass"),
];

/// How a kind is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In protobuf.
    Protobuf,
    /// In JSON, as upstream does where kinds are served by its extension servers.
    Json,
}

/// The object in a stored value, as one of the kind `as_kind`: known fields, not defaulted.
pub fn read(bytes: &[u8], as_kind: &GroupVersionKind) -> Result<Value, Error> {
    let (found, envelope) = if bytes.starts_with(MAGIC) {
        let envelope = protobuf::open(bytes).map_err(|e| Error(e.0))?;
        (kind(envelope.api_version, envelope.kind)?, Some(envelope))
    } else {
        let head: Head<'_> = serde_json::from_slice(bytes).map_err(|e| Error(e.to_string()))?;
        (kind(&head.api_version, &head.kind)?, None)
    };
    // Nothing is said in values from before envelopes: they are what their place says.
    let found = if found.kind.is_empty() { as_kind.clone() } else { found };
    let alike = found == *as_kind || is_alike(&found, as_kind);
    let own = if alike { as_kind } else { &found };
    let Some(ty) = schema::of(own) else {
        let value = match envelope {
            None if convert::needed(&found, as_kind) => {
                serde_json::from_slice(bytes).map_err(|e| Error(e.to_string()))?
            }
            _ => return Err(unknown(&found, as_kind)),
        };
        let ty = schema::of(as_kind).ok_or_else(|| unknown(&found, as_kind))?;
        return Ok(decode::value(convert::convert(&value, &found, as_kind), ty)?.value);
    };
    let mut value: Value = match envelope {
        Some(envelope) => protobuf::decode(envelope.raw, ty).map_err(|e| Error(e.0))?.into(),
        None => decode::json(bytes, ty)?.value,
    };
    name(&mut value, own);
    if own == as_kind {
        return Ok(value);
    }
    if !convert::needed(own, as_kind) {
        return Err(unknown(&found, as_kind));
    }
    crate::defaults::apply(own, &mut value);
    Ok(convert::convert(&value, own, as_kind))
}

/// The bytes under which an object of the kind `of` is stored as `as_kind`. `None` where there is no such form of it.
pub fn write(object: &Value, of: &GroupVersionKind, as_kind: &GroupVersionKind, form: Form) -> Option<Vec<u8>> {
    let mut converted = convert::convert(object, of, as_kind);
    if !convert::needed(of, as_kind) && of != as_kind && !is_alike(as_kind, of) {
        return None;
    }
    name(&mut converted, as_kind);
    let mut out = Vec::with_capacity(1024);
    match form {
        Form::Json => {
            match schema::of(as_kind) {
                Some(ty) => crate::encode::json(&converted, ty, &mut out),
                None if definition::is_stored_as(as_kind) => definition::write(&converted, &mut out),
                None => crate::encode::write_untyped(&converted, &mut out),
            }
            // As Go's encoder ends a document.
            out.push(b'\n');
        }
        Form::Protobuf => protobuf::encode(&converted, schema::of(as_kind).or_else(|| schema::of(of))?, &mut out),
    }
    Some(out)
}

fn is_alike(older: &GroupVersionKind, newer: &GroupVersionKind) -> bool {
    let version = GroupVersion::new(older.group.as_str(), older.version.as_str()).to_string();
    older.kind == newer.kind
        && older.group == newer.group
        && newer.version == "v1"
        && ALIKE.contains(&(version.as_str(), older.kind.as_str()))
}

fn name(object: &mut Value, kind: &GroupVersionKind) {
    object["apiVersion"] = GroupVersion::new(kind.group.as_str(), kind.version.as_str()).to_string().into();
    object["kind"] = kind.kind.as_str().into();
}

fn unknown(found: &GroupVersionKind, wanted: &GroupVersionKind) -> Error {
    let version = GroupVersion::new(found.group.as_str(), found.version.as_str());
    Error(format!("no kind \"{}\" of version \"{version}\" is known that could be a {}", found.kind, wanted.kind))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'b> {
    #[serde(default, borrow)]
    api_version: std::borrow::Cow<'b, str>,
    #[serde(default, borrow)]
    kind: std::borrow::Cow<'b, str>,
}

fn kind(api_version: &str, kind: &str) -> Result<GroupVersionKind, Error> {
    let version = GroupVersion::parse(api_version).map_err(Error)?;
    Ok(GroupVersionKind::new(version.group, version.version, kind))
}

#[cfg(test)]
mod tests;
