//! Upstream's default roles and bindings, brought into the cluster at every start.

use access::authz::rbac::bootstrap::objects;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use writes::Registry;

use super::{ensure, reconcile};

/// Reconciles all of them, and the rights of `kubelet_client` on kubelets.
pub async fn run(registry: &Registry, kubelet_client: Option<&str>) -> Result<(), StatusError> {
    let all = objects(kubelet_client);
    for (resource, objects) in
        [(&*CLUSTER_ROLE_BINDINGS, &all.cluster_role_bindings), (&*ROLE_BINDINGS, &all.role_bindings)]
    {
        for expected in objects {
            let (namespace, name) = (meta::namespace(expected), meta::name(expected));
            let namespace = Some(namespace).filter(|n| !n.is_empty());
            let existing = registry.get(resource, namespace, name);
            if existing.is_some_and(|existing| reconcile::other_role(&existing, expected)) {
                registry.delete(resource, namespace, name).await?;
                registry.create(resource, namespace, expected.clone()).await?;
            }
        }
    }
    futures::try_join!(
        ensure(registry, &CLUSTER_ROLES, all.cluster_roles, reconcile::role),
        ensure(registry, &ROLES, all.roles, reconcile::role),
        ensure(registry, &CLUSTER_ROLE_BINDINGS, all.cluster_role_bindings, reconcile::binding),
        ensure(registry, &ROLE_BINDINGS, all.role_bindings, reconcile::binding),
    )?;
    Ok(())
}
