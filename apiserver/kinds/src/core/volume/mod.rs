//! PersistentVolumes and claims: their rules, first phases, and what of a claim may change. Follows
//! `pkg/apis/core/validation` and `pkg/registry/core/{persistentvolume,persistentvolumeclaim}`.

use api::rules::Fact::{Check, Form, Missing, OneOf, Optional, Required};
use api::rules::Step::{Code, Field, Only};
use api::rules::{Fact, Here, REQUIRED, Row, of};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use model::check::Faults;

mod claim;
mod persistent;
mod sources;
#[cfg(test)]
mod tests;

pub use claim::{PersistentVolumeClaims, claim_warnings};
pub use persistent::{PersistentVolumes, inline};
pub use sources::ROWS as SOURCES;

const VOLUME_MODE: &[Fact] = &[OneOf(&["Block", "Filesystem"])];
const CLASS_NAME: &[Fact] = &[Optional, Form(names::dns1123_subdomain)];

/// Volumes and claims; the sources of volumes have rows of their own.
pub const ROWS: &[Row] = &[
    of(
        "core.v1",
        "PersistentVolumeSpec",
        &[
            Field("accessModes", &[Missing(""), Check(access_modes)]),
            Field("capacity", &[Missing(""), Check(persistent::capacity)]),
            Field("persistentVolumeReclaimPolicy", &[Optional, OneOf(&["Delete", "Recycle", "Retain"])]),
            Field("nodeAffinity", &[]),
            Code(persistent::one_source),
            Code(persistent::no_recycling_of_the_host),
            Field("storageClassName", CLASS_NAME),
            Field("volumeMode", VOLUME_MODE),
            Code(persistent::attributes_class),
            Only,
        ],
    ),
    of(
        "core.v1",
        "VolumeNodeAffinity",
        &[Field("required", &[Required("must specify required node constraints"), Check(persistent::required_nodes)])],
    ),
    of("core.v1", "PersistentVolume", &[Field("spec", &[]), Only]).change(&[Code(persistent::change)]),
    of(
        "core.v1",
        "PersistentVolumeClaimSpec",
        &[
            Field("accessModes", &[Missing("at least 1 access mode is required")]),
            Field("selector", &[Check(claim::selector)]),
            Field("accessModes", &[Check(access_modes)]),
            Code(claim::request),
            Field("storageClassName", CLASS_NAME),
            Field("volumeMode", VOLUME_MODE),
            Code(claim::data_source),
            Field("volumeAttributesClassName", CLASS_NAME),
            Only,
        ],
    ),
    of("core.v1", "EphemeralVolumeSource", &[Field("volumeClaimTemplate", &[REQUIRED])]),
    of(
        "core.v1",
        "PersistentVolumeClaimTemplate",
        &[Field("metadata", &[Check(crate::rules::template_metadata)]), Field("spec", &[])],
    ),
    of("core.v1", "PersistentVolumeClaim", &[Field("spec", &[]), Only]).change(&[Code(claim::change)]),
    of(
        "core.v1",
        "PersistentVolumeClaimStatus",
        &[
            Field("capacity", &[Check(claim::status_capacity)]),
            Field("allocatedResourceStatuses", &[Check(claim::resize_statuses)]),
            Field("allocatedResources", &[Check(claim::allocated)]),
            Only,
        ],
    ),
];

/// How a volume is mounted, or is asked to be.
fn access_modes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let modes: Vec<&str> = here.value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        errors.unsupported(&here.path(), *mode, &MODES);
    }
    let alone = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.iter().any(alone) && modes.iter().any(|mode| MODES.contains(mode) && !alone(mode)) {
        errors.forbidden(&here.path(), "may not use ReadWriteOncePod with other access modes");
    }
}

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const BETA_CLASS_WORDS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

fn annotation_warnings(object: &Value, known: &[(&str, &str)]) -> Vec<String> {
    let at = Path::new("metadata").child("annotations");
    let given = known.iter().filter(|(key, _)| object["metadata"].sub("annotations").has(key));
    given.map(|(key, words)| format!("{}: {words}", at.key(key))).collect()
}
