//! Readers and writers of an object's metadata on JSON values, and the rules that every kind's metadata obeys.

mod options;
mod read;
mod validation;
mod write;

pub use options::{
    validate_create_options, validate_delete_options, validate_dry_run, validate_field_manager,
    validate_field_validation, validate_patch_options, validate_update_options,
};
pub use read::{
    OwnerReference, annotation, annotations, api_version, controller_of, creation_timestamp,
    deletion_grace_period_seconds, deletion_timestamp, finalizers, generate_name, generation, gvk, has_finalizer, kind,
    label, labels, metadata, name, namespace, owner_references, resource_version, uid,
};
pub use validation::{
    validate_annotations, validate_finalizer_name, validate_finalizers, validate_immutable, validate_label_name,
    validate_label_selector, validate_labels, validate_managed_fields, validate_object_meta,
    validate_object_meta_update, validate_owner_references,
};
pub use write::{
    add_finalizer, metadata_mut, remove, remove_finalizer, set, set_annotation, set_creation_timestamp, set_finalizers,
    set_generation, set_gvk, set_label, set_name, set_namespace, set_resource_version, set_uid,
};

/// `FinalizerOrphanDependents`.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// `FinalizerDeleteDependents`.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

#[cfg(test)]
mod tests;
