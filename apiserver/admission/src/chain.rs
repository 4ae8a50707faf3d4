//! The table of admission plugins: a row has a plugin's name, whether it is on where no flag says otherwise, and its
//! constructor. The order of the rows is upstream's (`kubeapiserver/options/plugins.go`), and it matters: quota counts what the
//! others made of an object, webhooks see what the built-in plugins did.

use std::sync::Arc;

use access::authz::Authorizer;
use access::authz::rbac::Rbac;
use model::values::quoted;
use writes::admission::{Chain, Plugin};

use super::plugins::always_admit::AlwaysAdmit;
use super::plugins::certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
use super::plugins::claim_status::ClaimStatus;
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

/// What plugins need.
pub struct Parts {
    /// Who may.
    pub authorizer: Arc<dyn Authorizer>,
    /// The rights that users hold.
    pub rbac: Arc<Rbac>,
    /// `--default-*-toleration-seconds`.
    pub tolerations: DefaultTolerationSeconds,
}

type Make = fn(&Parts) -> Box<dyn Plugin>;

/// Whether a plugin runs.
enum Standing {
    /// Unless a flag disables it.
    On(Make),
    /// Where a flag enables it.
    Off(Make),
    /// It is part of what upstream's registries do: flags do not know it.
    Always(Make),
    /// It is not built yet. Upstream runs it unless a flag disables it.
    LaterOn,
    /// It is not built yet, and nobody misses it who does not enable it.
    LaterOff,
}

use Standing::{Always, LaterOff, LaterOn, Off, On};

/// Upstream's `AllOrderedPlugins`, then what its registries check themselves.
const TABLE: &[(&str, Standing)] = &[
    ("AlwaysAdmit", Off(|_| Box::new(AlwaysAdmit))),
    ("NamespaceAutoProvision", LaterOff),
    ("NamespaceLifecycle", On(|_| Box::new(NamespaceLifecycle))),
    ("NamespaceExists", LaterOff),
    ("LimitPodHardAntiAffinityTopology", LaterOff),
    ("LimitRanger", On(|_| Box::new(LimitRanger))),
    ("ServiceAccount", On(|_| Box::new(ServiceAccount))),
    ("NodeRestriction", Off(|parts| Box::new(NodeRestriction(parts.authorizer.clone())))),
    ("TaintNodesByCondition", On(|_| Box::new(TaintNodesByCondition))),
    ("AlwaysPullImages", LaterOff),
    ("ImagePolicyWebhook", LaterOff),
    ("PodSecurity", LaterOn),
    ("PodNodeSelector", LaterOff),
    ("Priority", On(|_| Box::new(Priority))),
    ("DefaultTolerationSeconds", On(|parts| Box::new(parts.tolerations.clone()))),
    ("PodTolerationRestriction", LaterOff),
    ("EventRateLimit", LaterOff),
    ("ExtendedResourceToleration", LaterOff),
    ("DefaultStorageClass", On(|_| Box::new(DefaultStorageClass))),
    ("StorageObjectInUseProtection", On(|_| Box::new(StorageObjectInUseProtection))),
    ("PodGroupProtection", LaterOn),
    ("OwnerReferencesPermissionEnforcement", LaterOff),
    ("PersistentVolumeClaimResize", On(|_| Box::new(PersistentVolumeClaimResize))),
    ("RuntimeClass", On(|_| Box::new(RuntimeClass))),
    ("CertificateApproval", On(|parts| Box::new(CertificateApproval(parts.authorizer.clone())))),
    ("CertificateSigning", On(|parts| Box::new(CertificateSigning(parts.authorizer.clone())))),
    ("ClusterTrustBundleAttest", LaterOn),
    ("CertificateSubjectRestriction", On(|_| Box::new(CertificateSubjectRestriction))),
    ("DefaultIngressClass", On(|_| Box::new(DefaultIngressClass))),
    ("DenyServiceExternalIPs", LaterOff),
    ("PodTopologyLabels", On(|_| Box::new(PodTopologyLabels))),
    ("PodGroupWorkloadExists", LaterOn),
    ("NodeDeclaredFeatureValidator", LaterOn),
    ("JobValidation", LaterOn),
    ("PodResizeValidator", LaterOn),
    ("MutatingAdmissionPolicy", LaterOn),
    ("MutatingAdmissionWebhook", LaterOn),
    ("ValidatingAdmissionPolicy", LaterOn),
    ("ValidatingAdmissionWebhook", LaterOn),
    ("ResourceQuota", On(|_| Box::new(ResourceQuota))),
    ("AlwaysDeny", LaterOff),
    (
        "RBACEscalation",
        Always(|parts| Box::new(RbacEscalation { rbac: parts.rbac.clone(), authorizer: parts.authorizer.clone() })),
    ),
    ("PolicyParams", Always(|parts| Box::new(PolicyParams(parts.authorizer.clone())))),
    ("ClaimStatus", Always(|parts| Box::new(ClaimStatus(parts.authorizer.clone())))),
];

/// The chain of the plugins that are on by default, with `--enable-admission-plugins` and `--disable-admission-plugins`.
///
/// # Errors
/// All that is wrong with the flags: a plugin that does not exist, is in both, or is enabled and not built.
pub fn build(enable: &[String], disable: &[String], parts: &Parts) -> Result<Chain, String> {
    let plugins = chosen(enable, disable)?;
    Ok(Chain::new(plugins.into_iter().map(|(_, make)| make(parts)).collect()))
}

/// The rows in force.
fn chosen(enable: &[String], disable: &[String]) -> Result<Vec<(&'static str, Make)>, String> {
    let faults = faults(enable, disable);
    match faults.as_slice() {
        [] => {}
        [fault] => return Err(fault.clone()),
        faults => return Err(format!("[{}]", faults.join(", "))),
    }
    let has = |names: &[String], name: &str| names.iter().any(|given| given == name);
    let mut plugins = Vec::new();
    for (name, standing) in TABLE {
        let (asked, unasked) = (has(enable, name), has(disable, name));
        match standing {
            Always(make) => plugins.push((*name, *make)),
            On(make) if !unasked => plugins.push((*name, *make)),
            Off(make) if asked => plugins.push((*name, *make)),
            LaterOn if asked => tracing::warn!(plugin = name, "an admission plugin that is enabled is not built yet"),
            On(_) | Off(_) | LaterOn | LaterOff => {}
        }
    }
    Ok(plugins)
}

/// Follows `apiserver/pkg/server/options/admission.go` (Validate).
fn faults(enable: &[String], disable: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for (flag, names) in [("enable-admission-plugins", enable), ("disable-admission-plugins", disable)] {
        for name in names {
            match TABLE.iter().find(|(known, _)| known == name) {
                None | Some((_, Always(_))) => faults.push(format!("{flag} plugin {} is unknown", quoted(name))),
                Some((_, LaterOff)) if flag == "enable-admission-plugins" => {
                    faults.push(format!("{flag} plugin {} is not supported yet", quoted(name)));
                }
                Some(_) => {}
            }
        }
    }
    let mut both: Vec<&str> = enable.iter().filter(|name| disable.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        both.sort_unstable();
        both.dedup();
        let both = both.join(" ");
        faults.push(format!("[{both}] in enable-admission-plugins and disable-admission-plugins overlapped"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn names(enable: &[&str], disable: &[&str]) -> Result<Vec<&'static str>, String> {
        let plugins = chosen(&list(enable), &list(disable))?;
        Ok(plugins.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn flags_turn_plugins_on_and_off_in_order() {
        let default = names(&[], &[]).unwrap();
        assert_eq!(default[..3], ["NamespaceLifecycle", "LimitRanger", "ServiceAccount"]);
        assert_eq!(default[default.len() - 4..], ["ResourceQuota", "RBACEscalation", "PolicyParams", "ClaimStatus"]);
        assert!(!default.contains(&"NodeRestriction"));
        let changed = names(&["NodeRestriction", "ResourceQuota"], &["LimitRanger"]).unwrap();
        assert_eq!(changed[..3], ["NamespaceLifecycle", "ServiceAccount", "NodeRestriction"]);
        assert_eq!(names(&["AlwaysAdmit"], &[]).unwrap()[0], "AlwaysAdmit");
        assert_eq!(names(&["PodSecurity"], &["AlwaysDeny"]).unwrap(), default);
    }

    #[test]
    fn flags_that_name_no_plugin_are_refused_in_upstreams_words() {
        for (enable, disable, message) in [
            (&["Nonsense"][..], &[][..], r#"enable-admission-plugins plugin "Nonsense" is unknown"#),
            (&[], &["Nonsense"], r#"disable-admission-plugins plugin "Nonsense" is unknown"#),
            (&[], &["PolicyParams"], r#"disable-admission-plugins plugin "PolicyParams" is unknown"#),
            (&["AlwaysPullImages"], &[], r#"enable-admission-plugins plugin "AlwaysPullImages" is not supported yet"#),
            (
                &["Priority", "LimitRanger"],
                &["LimitRanger", "Priority"],
                "[LimitRanger Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (
                &["A"],
                &["B"],
                r#"[enable-admission-plugins plugin "A" is unknown, disable-admission-plugins plugin "B" is unknown]"#,
            ),
        ] {
            assert_eq!(names(enable, disable).unwrap_err(), message);
        }
    }

    #[test]
    fn a_plugin_is_in_the_table_once() {
        let mut names: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
