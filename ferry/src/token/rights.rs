//! Who has a token for servers may read that token's Secret, where the cluster's keys lie sealed, and no other. The right goes
//! with the Secret.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;

use super::secret::{NAMESPACE, PREFIX};
use crate::join::token::Token;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Gives it, for as long as there is the token's Secret.
///
/// # Errors
/// The API server refuses it.
pub async fn grant(client: &kube::Client, token: &Token, secret: &Secret) -> kube::Result<()> {
    let name = format!("ferry:token:{}", token.id);
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Secret".into(),
        name: secret.metadata.name.clone().unwrap_or_default(),
        uid: secret.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let metadata =
        ObjectMeta { name: Some(name.clone()), owner_references: Some(vec![owner]), ..ObjectMeta::default() };
    let rule = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["secrets".into()]),
        resource_names: Some(vec![format!("{PREFIX}{}", token.id)]),
        verbs: vec!["get".into()],
        ..PolicyRule::default()
    };
    let user = Subject {
        api_group: Some(GROUP.into()),
        kind: "User".into(),
        name: format!("system:bootstrap:{}", token.id),
        ..Subject::default()
    };
    let role = Role { metadata: metadata.clone(), rules: Some(vec![rule]) };
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef { api_group: Some(GROUP.into()), kind: "Role".into(), name },
        subjects: Some(vec![user]),
    };
    let how = PostParams::default();
    Api::<Role>::namespaced(client.clone(), NAMESPACE).create(&how, &role).await?;
    Api::<RoleBinding>::namespaced(client.clone(), NAMESPACE).create(&how, &binding).await?;
    Ok(())
}
