//! What a new cluster of `ferry up` has beyond the API server's own bootstrap: the right of the DNS to keep its Service and
//! the endpoints of that. It is asked for as the administrator who brings the cluster up, by server-side apply, so that each
//! start brings it to what this version needs.

use anyhow::Context;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};

const GROUP: &str = "rbac.authorization.k8s.io";
const NAMESPACE: &str = "kube-system";
/// The DNS's user, its role and the binding between them.
pub const DNS: &str = "ferry:dns";

/// Applies them.
pub async fn apply(administrator: kube::Client) -> anyhow::Result<()> {
    let metadata = ObjectMeta { name: Some(DNS.into()), ..ObjectMeta::default() };
    let verbs = || ["create", "delete", "get", "list", "patch", "update", "watch"].map(String::from).to_vec();
    let rule = |group: &str, resource: &str| PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(vec![resource.into()]),
        verbs: verbs(),
        ..PolicyRule::default()
    };
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(vec![rule("", "services"), rule("discovery.k8s.io", "endpointslices")]),
    };
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef { api_group: Some(GROUP.into()), kind: "Role".into(), name: DNS.into() },
        subjects: Some(vec![Subject {
            api_group: Some(GROUP.into()),
            kind: "User".into(),
            name: DNS.into(),
            ..Subject::default()
        }]),
    };
    let how = PatchParams::apply("ferry-up").force();
    let roles: Api<Role> = Api::namespaced(administrator.clone(), NAMESPACE);
    roles.patch(DNS, &how, &Patch::Apply(&role)).await.context("making the DNS's role")?;
    let bindings: Api<RoleBinding> = Api::namespaced(administrator, NAMESPACE);
    bindings.patch(DNS, &how, &Patch::Apply(&binding)).await.context("making the DNS's role binding")?;
    Ok(())
}
