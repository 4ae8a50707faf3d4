//! Devices: what drivers offer in slices, what classes and claims ask for, and what a claim was given. Follows
//! `pkg/apis/resource/validation` and `pkg/registry/resource`.

use api::rules::Fact::{
    Check, Distinct, Each, Form, Immutable, Keys, MaxBytes, MaxItems, OneOf, Optional, Parsed, Positive,
};
use api::rules::Step::{Code, Field, Only, When};
use api::rules::{Fact, REQUIRED, Row, Step, of};
use machinery::{meta, names};

mod admin;
mod capacity;
mod cel;
mod claim;
mod device;
mod forms;
mod slice;
mod status;
pub mod strategies;
#[cfg(test)]
mod tests;

use super::storage_k8s::DRIVER;

const LABEL: Fact = Form(names::dns1123_label);
const LABEL_KEY: Fact = Parsed(|at, key| meta::validate_label_name(key, at));
const CLASS: &[Fact] = &[REQUIRED, Form(names::dns1123_subdomain)];
const DRIVER_NAME: &[Fact] = &[REQUIRED, DRIVER];
const POOL: &[Fact] = &[REQUIRED, Parsed(forms::pool_name)];
const SELECTORS: &[Fact] = &[MaxItems(32)];
/// Requests of the claim that are named elsewhere in it.
const REQUESTS: &[Fact] = &[MaxItems(32), Each(&[Check(claim::request_reference)]), Distinct("")];
const EFFECTS: Fact = OneOf(&["NoExecute", "NoSchedule", "None"]);
/// Counters by their names.
const COUNTERS: &[Fact] = &[REQUIRED, MaxItems(32), Keys(&[LABEL])];

/// What a request asks for, in whichever of its two forms.
const ASKED: [Step; 4] = [
    Field("deviceClassName", CLASS),
    Field("selectors", SELECTORS),
    Code(claim::allocation_mode),
    Field("tolerations", &[]),
];

pub(super) const ROWS: &[Row] = &[
    of("resource.v1", "ResourceClaim", &[Field("spec", &[])]).change(&[Field("spec", &[Immutable])]),
    of("resource.v1", "ResourceClaimTemplate", &[Field("spec", &[])]).change(&[Field("spec", &[Immutable])]),
    of(
        "resource.v1",
        "ResourceClaimTemplateSpec",
        &[Field("metadata", &[Check(crate::rules::template_metadata)]), Field("spec", &[])],
    ),
    of(
        "resource.v1",
        "DeviceClaim",
        &[
            Field("requests", &[MaxItems(32), Distinct("name")]),
            Field("constraints", &[MaxItems(32)]),
            Field("config", &[MaxItems(32)]),
        ],
    ),
    of(
        "resource.v1",
        "DeviceRequest",
        &[
            Only,
            Field("name", &[LABEL]),
            Code(claim::one_form),
            When(claim::is_list, &[Field("firstAvailable", &[MaxItems(8), Distinct("name")])]),
            When(claim::is_exact, &[Field("exactly", &[])]),
        ],
    ),
    of(
        "resource.v1",
        "DeviceSubRequest",
        &[
            Field("name", &[LABEL]),
            Field("deviceClassName", CLASS),
            Field("selectors", SELECTORS),
            Code(claim::allocation_mode),
            Field("tolerations", &[]),
        ],
    ),
    of("resource.v1", "ExactDeviceRequest", &ASKED),
    of("resource.v1", "DeviceSelector", &[Field("cel", &[REQUIRED])]),
    of("resource.v1", "CELDeviceSelector", &[Field("expression", &[Check(cel::selector)])]),
    of(
        "resource.v1",
        "DeviceToleration",
        &[Field("key", &[Optional, LABEL_KEY]), Code(device::toleration), Field("effect", &[Optional, EFFECTS])],
    ),
    of("resource.v1", "DeviceConstraint", &[Field("requests", REQUESTS), Code(claim::constraint)]),
    of("resource.v1", "DeviceClaimConfiguration", &[Field("requests", REQUESTS), Field("opaque", &[REQUIRED])]),
    of(
        "resource.v1",
        "OpaqueDeviceConfiguration",
        &[Field("driver", DRIVER_NAME), Field("parameters", &[Check(claim::parameters)])],
    ),
    of(
        "resource.v1",
        "DeviceClassSpec",
        &[
            Field("selectors", SELECTORS),
            Field("config", &[MaxItems(32)]),
            Field("extendedResourceName", &[Form(forms::extended_resource)]),
        ],
    ),
    of("resource.v1", "DeviceClassConfiguration", &[Field("opaque", &[REQUIRED])]),
    of(
        "resource.v1",
        "ResourceSliceSpec",
        &[
            Only,
            Field("driver", DRIVER_NAME),
            Field("pool", &[]),
            Code(slice::stays),
            Code(slice::nodes),
            Code(slice::counters_or_devices),
            When(slice::is_advanced, &[Field("devices", &[MaxItems(64), Distinct("name")])]),
            When(|here| !slice::is_advanced(here), &[Field("devices", &[MaxItems(128), Distinct("name")])]),
            Field("sharedCounters", &[MaxItems(8), Distinct("name")]),
        ],
    ),
    of(
        "resource.v1",
        "ResourcePool",
        &[
            Field("name", POOL),
            Field("resourceSliceCount", &[Positive]),
            Field("generation", &[Check(slice::generation)]),
        ],
    ),
    of("resource.v1", "CounterSet", &[Field("name", &[REQUIRED, LABEL]), Field("counters", COUNTERS)]),
    of(
        "resource.v1",
        "Device",
        &[
            Only,
            Field("name", &[LABEL]),
            Code(device::size),
            Field("attributes", &[Check(device::names)]),
            Field("capacity", &[Check(device::names)]),
            When(device::taints_changed, &[Field("taints", &[MaxItems(16)])]),
            Field("consumesCounters", &[MaxItems(2), Distinct("counterSet")]),
            Code(device::nodes),
            Code(device::binding_conditions),
        ],
    ),
    of("resource.v1", "DeviceAttribute", &[Code(device::attribute)]),
    of("resource.v1", "DeviceCapacity", &[Code(capacity::policy)]),
    of(
        "resource.v1",
        "DeviceTaint",
        &[
            Field("key", &[LABEL_KEY]),
            Field("value", &[Optional, Form(names::label_value)]),
            Field("effect", &[REQUIRED, EFFECTS]),
        ],
    ),
    of(
        "resource.v1",
        "DeviceCounterConsumption",
        &[Field("counterSet", &[REQUIRED, LABEL]), Field("counters", COUNTERS)],
    ),
    of(
        "resource.v1",
        "ResourceClaimStatus",
        &[
            Only,
            Field("reservedFor", &[MaxItems(256), Distinct("uid")]),
            Field("devices", &[]),
            Code(status::devices_once),
            Code(status::reservations),
            Code(status::allocation_stays),
            When(status::is_allocated_now, &[Field("allocation", &[])]),
        ],
    ),
    of(
        "resource.v1",
        "ResourceClaimConsumerReference",
        &[Field("resource", &[REQUIRED]), Field("name", &[REQUIRED]), Field("uid", &[REQUIRED])],
    ),
    of(
        "resource.v1",
        "AllocatedDeviceStatus",
        &[
            Field("driver", DRIVER_NAME),
            Field("pool", POOL),
            Field("device", &[LABEL]),
            Field("shareID", &[Parsed(forms::uid)]),
            Code(status::is_allocated_device),
            Field("conditions", &[Check(status::conditions)]),
            Field("data", &[Check(status::data)]),
            Field("networkData", &[]),
        ],
    ),
    of(
        "resource.v1",
        "NetworkDeviceData",
        &[
            Field("interfaceName", &[MaxBytes(256)]),
            Field("hardwareAddress", &[MaxBytes(128)]),
            Field("ips", &[MaxItems(16), Each(&[Parsed(names::interface_address)]), Distinct("")]),
        ],
    ),
    of(
        "resource.v1",
        "AllocationResult",
        &[Field("devices", &[]), Field("nodeSelector", &[Check(slice::node_selector)])],
    ),
    of("resource.v1", "DeviceAllocationResult", &[Field("results", &[MaxItems(32)]), Field("config", &[MaxItems(64)])]),
    of(
        "resource.v1",
        "DeviceRequestAllocationResult",
        &[
            Only,
            Field("request", &[Check(claim::request_reference)]),
            Field("driver", DRIVER_NAME),
            Field("pool", POOL),
            Field("device", &[LABEL]),
            Code(device::binding_conditions),
            Field("shareID", &[Parsed(forms::uid)]),
        ],
    ),
    of(
        "resource.v1",
        "DeviceAllocationConfiguration",
        &[
            Field("source", &[REQUIRED, OneOf(&["FromClaim", "FromClass"])]),
            Field("requests", REQUESTS),
            Field("opaque", &[REQUIRED]),
        ],
    ),
];
