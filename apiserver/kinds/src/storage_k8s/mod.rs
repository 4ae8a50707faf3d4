//! Classes of storage, drivers, what they have left and what is attached. Follows `pkg/apis/storage/validation`.

use api::rules::Fact::{Check, Fixed, Form, Immutable, Missing, OneOf, Optional, Parsed, QuantityAtLeastZero, Unique};
use api::rules::Step::{Code, Field, Only};
use api::rules::{Fact, NOT_NEGATIVE, REQUIRED, Row, of};
use machinery::field::{Error, ErrorList, Path};
use machinery::names;

mod code;
#[cfg(test)]
mod tests;

pub use code::{capacity_warnings, class_warnings, driver_warnings, prepare_driver};

/// A driver's name: a subdomain in either case, as some drivers have used capitals.
pub const DRIVER: Fact = Parsed(driver_name);

/// What is wrong with the name of a driver.
pub fn driver_name(at: &Path, name: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.len() > 63 {
        errors.push(Error::too_long(at, 63));
    }
    errors.extend(names::dns1123_subdomain(&name.to_lowercase()).into_iter().map(|m| Error::invalid(at, name, m)));
    errors
}

const PROVISIONER: &[Fact] = &[REQUIRED, Form(|name| names::qualified_name(&name.to_lowercase()))];

pub(super) const ROWS: &[Row] = &[
    of(
        "storage.v1",
        "StorageClass",
        &[
            Field("provisioner", PROVISIONER),
            Field("parameters", &[Check(code::parameters)]),
            Field("reclaimPolicy", &[Optional, OneOf(&["Delete", "Retain"])]),
            Field("volumeBindingMode", &[REQUIRED, OneOf(&["Immediate", "WaitForFirstConsumer"])]),
            Field("allowedTopologies", &[Check(code::topologies)]),
        ],
    )
    .change(&[
        Field("parameters", &[Immutable]),
        Field("provisioner", &[Immutable]),
        Field("reclaimPolicy", &[Immutable]),
        Field("volumeBindingMode", &[Immutable]),
    ]),
    of(
        "storage.v1",
        "VolumeAttributesClass",
        &[
            Field("driverName", PROVISIONER),
            Field("parameters", &[Check(code::parameters), Missing("must contain at least one key/value pair")]),
        ],
    )
    .change(&[
        Field("driverName", &[Fixed("updates to driverName are forbidden.")]),
        Field("parameters", &[Fixed("updates to parameters are forbidden.")]),
    ]),
    of(
        "storage.v1",
        "CSIStorageCapacity",
        &[
            Field("nodeTopology", &[Check(code::node_topology)]),
            Field("storageClassName", &[Form(names::dns1123_subdomain)]),
            Field("capacity", &[QuantityAtLeastZero]),
        ],
    )
    .change(&[Field("nodeTopology", &[Immutable]), Field("storageClassName", &[Immutable])]),
    of(
        "storage.v1",
        "CSINodeDriver",
        &[
            Field("name", &[REQUIRED, DRIVER]),
            Field("nodeID", &[Missing(""), Form(node_id)]),
            Field("allocatable", &[]),
            Field("name", &[Unique]),
            Field("topologyKeys", &[Check(code::topology_keys)]),
        ],
    ),
    of("storage.v1", "VolumeNodeResources", &[Field("count", &[NOT_NEGATIVE])]),
    of("storage.v1", "CSINodeSpec", &[]).change(&[Field("drivers", &[Check(code::drivers_stay)])]),
    of(
        "storage.v1",
        "CSIDriverSpec",
        &[
            // The path is upstream's.
            Code(code::attach_required),
            Field("podInfoOnMount", &[REQUIRED]),
            Field("storageCapacity", &[REQUIRED]),
            Field("fsGroupPolicy", &[OneOf(&["File", "None", "ReadWriteOnceWithFSType"])]),
            Field("tokenRequests", &[Check(code::token_requests)]),
            Field("volumeLifecycleModes", &[Check(code::lifecycle_modes)]),
            Field("seLinuxMount", &[REQUIRED]),
            Field("nodeAllocatableUpdatePeriodSeconds", &[Check(code::update_period)]),
            Code(code::tokens_in_secrets),
        ],
    )
    .change(&[Code(code::attach_required_stays), Field("volumeLifecycleModes", &[Immutable])]),
    of("storage.v1", "VolumeAttachment", &[Field("spec", &[]), Field("status", &[]), Code(code::attached_volume_name)])
        .change(&[Field("spec", &[Immutable])]),
    of(
        "storage.v1",
        "VolumeAttachmentSpec",
        &[
            Field("attacher", &[REQUIRED, DRIVER]),
            Field("source", &[]),
            Field("nodeName", &[Form(names::dns1123_subdomain)]),
        ],
    ),
    of("storage.v1", "VolumeAttachmentSource", &[Only, Code(code::attachment_source)]),
    of(
        "storage.v1",
        "VolumeAttachmentStatus",
        &[
            Field("attachmentMetadata", &[Check(code::attachment_metadata)]),
            Field("attachError", &[]),
            Field("detachError", &[]),
        ],
    ),
    of(
        "storage.v1",
        "VolumeError",
        &[Field("message", &[Check(code::error_message)]), Field("errorCode", &[Fact::Between(0, i32::MAX as i64)])],
    ),
];

fn node_id(id: &str) -> Vec<String> {
    const MOST: usize = 256;
    if id.len() > MOST { vec![format!("must be {MOST} characters or less")] } else { Vec::new() }
}
