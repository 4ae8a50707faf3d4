//! The annotations, finalizers and special names by which binder, scheduler and provisioners talk to each other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// On a claim that was bound once, by whomever.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim or a volume whose half of the binding the controller (or the scheduler) wrote: without it a user did.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a claim: the node on which the scheduler wants its volume to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a volume: the provisioner that made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a claim or a volume: the CSI driver that has taken over from the plugin that is named elsewhere.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// On a claim: the provisioner that shall make a volume for it.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same under its old name.
pub const BETA_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// On a claim or a volume: its class, from before there was a field for it.
pub const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// On a volume that was enlarged while its file system was not: how much that has.
pub const PRE_RESIZE_CAPACITY: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";
/// On the storage class that claims get that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// The same under its old name.
pub const BETA_DEFAULT_CLASS: &str = "storageclass.beta.kubernetes.io/is-default-class";

/// The finalizer of an external provisioner on a volume that it has to delete.
pub const EXTERNAL_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// The finalizer on a volume that the binding controller itself has to delete.
pub const IN_TREE_FINALIZER: &str = "kubernetes.io/pv-controller";
/// As the provisioner of a class: nobody makes its volumes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The value of an annotation.
pub fn get<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether there is such an annotation, with whatever value.
pub fn has(meta: &ObjectMeta, name: &str) -> bool {
    get(meta, name).is_some()
}

/// Sets an annotation.
pub fn set(meta: &mut ObjectMeta, name: &str, value: &str) {
    meta.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}
