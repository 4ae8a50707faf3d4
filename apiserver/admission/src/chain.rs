//! The plugins in upstream's order, as data: what is on by default, what is off, what is not built yet.
//!
//! Order matters: quota counts what the others made of an object, webhooks see what the built-in ones did
//! (`kubeapiserver/options/plugins.go`).

use std::sync::Arc;

use access::authz::Authorizer;
use access::authz::rbac::Rbac;
use writes::admission::{Chain, Plugin};

use super::plugins::certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
use super::plugins::default_classes::{DefaultIngressClass, DefaultStorageClass};
use super::plugins::default_toleration_seconds::DefaultTolerationSeconds;
use super::plugins::limit_ranger::LimitRanger;
use super::plugins::namespace_lifecycle::NamespaceLifecycle;
use super::plugins::node_restriction::NodeRestriction;
use super::plugins::policy_params::PolicyParams;
use super::plugins::priority::Priority;
use super::plugins::rbac_escalation::RbacEscalation;
use super::plugins::resource_quota::ResourceQuota;
use super::plugins::runtime_class::RuntimeClass;
use super::plugins::service_account::ServiceAccount;
use super::plugins::storage_protection::StorageObjectInUseProtection;
use super::plugins::taint_nodes_by_condition::TaintNodesByCondition;
use super::plugins::topology_labels::PodTopologyLabels;
use super::plugins::volume_resize::PersistentVolumeClaimResize;

/// Whether a plugin runs where no flag says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    On,
    Off,
    /// Upstream runs it; here it is a later issue. Naming it in a flag is no error.
    Later,
}

use Standing::{Later, Off, On};

/// Upstream's `AllOrderedPlugins`.
const ORDER: &[(&str, Standing)] = &[
    ("AlwaysAdmit", Off),
    ("NamespaceAutoProvision", Off),
    ("NamespaceLifecycle", On),
    ("NamespaceExists", Off),
    ("LimitPodHardAntiAffinityTopology", Off),
    ("LimitRanger", On),
    ("ServiceAccount", On),
    ("NodeRestriction", Off),
    ("TaintNodesByCondition", On),
    ("AlwaysPullImages", Off),
    ("ImagePolicyWebhook", Off),
    ("PodSecurity", Later),
    ("PodNodeSelector", Off),
    ("Priority", On),
    ("DefaultTolerationSeconds", On),
    ("PodTolerationRestriction", Off),
    ("EventRateLimit", Off),
    ("ExtendedResourceToleration", Off),
    ("DefaultStorageClass", On),
    ("StorageObjectInUseProtection", On),
    ("PodGroupProtection", Later),
    ("OwnerReferencesPermissionEnforcement", Off),
    ("PersistentVolumeClaimResize", On),
    ("RuntimeClass", On),
    ("CertificateApproval", On),
    ("CertificateSigning", On),
    ("ClusterTrustBundleAttest", Later),
    ("CertificateSubjectRestriction", On),
    ("DefaultIngressClass", On),
    ("DenyServiceExternalIPs", Off),
    ("PodTopologyLabels", On),
    ("PodGroupWorkloadExists", Later),
    ("NodeDeclaredFeatureValidator", Later),
    ("JobValidation", Later),
    ("PodResizeValidator", Later),
    ("MutatingAdmissionPolicy", Later),
    ("MutatingAdmissionWebhook", Later),
    ("ValidatingAdmissionPolicy", Later),
    ("ValidatingAdmissionWebhook", Later),
    ("ResourceQuota", On),
    ("AlwaysDeny", Off),
];

/// What plugins need.
pub struct Parts {
    /// Who may.
    pub authorizer: Arc<dyn Authorizer>,
    /// The rights that users hold.
    pub rbac: Arc<Rbac>,
    /// `--default-*-toleration-seconds`.
    pub tolerations: DefaultTolerationSeconds,
}

/// The names of the plugins in force, with `--enable-admission-plugins` and `--disable-admission-plugins`. The error
/// names a plugin that does not exist or is not built.
pub fn names(enable: &[String], disable: &[String]) -> Result<Vec<&'static str>, String> {
    for name in enable.iter().chain(disable) {
        if !ORDER.iter().any(|(known, _)| known == name) {
            return Err(format!("admission-control plugin {} is unknown", model::values::quoted(name)));
        }
    }
    if let Some(both) = enable.iter().find(|name| disable.contains(name)) {
        return Err(format!("[{both}] in enable-admission-plugins and disable-admission-plugins overlapped"));
    }
    let mut names = Vec::new();
    for (name, default) in ORDER {
        let asked = enable.iter().any(|e| e == name);
        if disable.iter().any(|d| d == name) || !(asked || *default == On) || *default == Later {
            continue;
        }
        if asked && *default == Off && !matches!(*name, "NodeRestriction" | "AlwaysAdmit") {
            return Err(format!("admission-control plugin {} is not supported yet", model::values::quoted(name)));
        }
        names.push(*name);
    }
    Ok(names)
}

/// The chain of those plugins.
pub fn build(names: &[&str], parts: Parts) -> Chain {
    let Parts { authorizer, rbac, tolerations } = parts;
    let mut tolerations = Some(tolerations);
    let mut plugins: Vec<Box<dyn Plugin>> = Vec::new();
    for name in names {
        plugins.push(match *name {
            "NamespaceLifecycle" => Box::new(NamespaceLifecycle),
            "LimitRanger" => Box::new(LimitRanger),
            "ServiceAccount" => Box::new(ServiceAccount),
            "NodeRestriction" => Box::new(NodeRestriction(authorizer.clone())),
            "TaintNodesByCondition" => Box::new(TaintNodesByCondition),
            "Priority" => Box::new(Priority),
            "DefaultTolerationSeconds" => Box::new(tolerations.take().unwrap_or_default()),
            "DefaultStorageClass" => Box::new(DefaultStorageClass),
            "StorageObjectInUseProtection" => Box::new(StorageObjectInUseProtection),
            "PersistentVolumeClaimResize" => Box::new(PersistentVolumeClaimResize),
            "RuntimeClass" => Box::new(RuntimeClass),
            "CertificateApproval" => Box::new(CertificateApproval(authorizer.clone())),
            "CertificateSigning" => Box::new(CertificateSigning(authorizer.clone())),
            "CertificateSubjectRestriction" => Box::new(CertificateSubjectRestriction),
            "DefaultIngressClass" => Box::new(DefaultIngressClass),
            "PodTopologyLabels" => Box::new(PodTopologyLabels),
            "ResourceQuota" => Box::new(ResourceQuota),
            _ => continue,
        });
    }
    plugins.push(Box::new(RbacEscalation { rbac, authorizer: authorizer.clone() }));
    plugins.push(Box::new(PolicyParams(authorizer)));
    Chain::new(plugins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn flags_turn_plugins_on_and_off_in_order() {
        let default = names(&[], &[]).unwrap();
        assert_eq!(default[..3], ["NamespaceLifecycle", "LimitRanger", "ServiceAccount"]);
        assert!(!default.contains(&"NodeRestriction"));
        let changed = names(&list(&["NodeRestriction", "ResourceQuota"]), &list(&["LimitRanger"])).unwrap();
        assert_eq!(changed[..3], ["NamespaceLifecycle", "ServiceAccount", "NodeRestriction"]);
        assert!(names(&list(&["Nonsense"]), &[]).is_err());
        assert!(names(&list(&["AlwaysPullImages"]), &[]).is_err());
        assert!(names(&list(&["Priority"]), &list(&["Priority"])).is_err());
    }
}
