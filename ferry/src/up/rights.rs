//! What a new cluster of `ferry up` has beyond the API server's own bootstrap: the rights of the DNS to keep its Service and
//! the endpoints of that, and to see namespaces; and a class of volumes with the right of its provisioner. It is asked for
//! as the administrator who brings the cluster up, by server-side apply, so that each start brings it to what this version
//! needs.

use anyhow::{Context, bail};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use machinery::yaml;

const GROUP: &str = "rbac.authorization.k8s.io";
const NAMESPACE: &str = "kube-system";
/// The DNS's user, its role and the binding between them.
pub const DNS: &str = "ferry:dns";

/// The controller that provisions volumes on nodes.
pub const PROVISIONER: &str = "local-volume-provisioner-controller";
/// Its class and its role.
const VOLUMES: &str = include_str!("../../../deploy/local-volumes.yaml");

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
    let names = ClusterRole {
        metadata: metadata.clone(),
        rules: Some(vec![PolicyRule { verbs: ["list", "watch"].map(String::from).to_vec(), ..rule("", "namespaces") }]),
        ..ClusterRole::default()
    };
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(vec![rule("", "services"), rule("discovery.k8s.io", "endpointslices")]),
    };
    let to = |kind: &str| RoleRef { api_group: Some(GROUP.into()), kind: kind.into(), name: DNS.into() };
    let dns = Subject { api_group: Some(GROUP.into()), kind: "User".into(), name: DNS.into(), ..Subject::default() };
    let subjects = Some(vec![dns]);
    let binding = RoleBinding { metadata: metadata.clone(), role_ref: to("Role"), subjects: subjects.clone() };
    let names_binding = ClusterRoleBinding { metadata, role_ref: to("ClusterRole"), subjects };
    let how = PatchParams::apply("ferry-up").force();
    let roles: Api<Role> = Api::namespaced(administrator.clone(), NAMESPACE);
    roles.patch(DNS, &how, &Patch::Apply(&role)).await.context("making the DNS's role")?;
    let bindings: Api<RoleBinding> = Api::namespaced(administrator.clone(), NAMESPACE);
    bindings.patch(DNS, &how, &Patch::Apply(&binding)).await.context("making the DNS's role binding")?;
    let roles: Api<ClusterRole> = Api::all(administrator.clone());
    roles.patch(DNS, &how, &Patch::Apply(&names)).await.context("making the DNS's cluster role")?;
    let bindings: Api<ClusterRoleBinding> = Api::all(administrator.clone());
    bindings.patch(DNS, &how, &Patch::Apply(&names_binding)).await.context("making the DNS's cluster role binding")?;
    volumes(administrator).await.context("making the class of local volumes")
}

async fn volumes(administrator: kube::Client) -> anyhow::Result<()> {
    let how = PatchParams::apply("ferry-up").force();
    for document in yaml::documents(VOLUMES) {
        let object = yaml::to_json(document.as_bytes()).map_err(anyhow::Error::msg)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match object["kind"].as_str() {
            Some("ClusterRole") => {
                let roles: Api<ClusterRole> = Api::all(administrator.clone());
                roles.patch(&name, &how, &Patch::Apply(&object)).await?;
            }
            Some("ClusterRoleBinding") => {
                let bindings: Api<ClusterRoleBinding> = Api::all(administrator.clone());
                bindings.patch(&name, &how, &Patch::Apply(&object)).await?;
            }
            // Whoever has changed it, to have another default, has it so.
            Some("StorageClass") => {
                let classes: Api<StorageClass> = Api::all(administrator.clone());
                let class = serde_json::from_value(object)?;
                match classes.create(&PostParams::default(), &class).await {
                    Err(error) if !client::is_already_exists(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            other => bail!("{other:?} is not expected here"),
        }
    }
    Ok(())
}
