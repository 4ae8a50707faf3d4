//! Everything around the workloads: access, network, storage, devices, extension, flow control.

use extensions::strategy::Definitions;
use machinery::managed_fields::Resets;
use machinery::names;
use model::resource::{Generation, Resource};
use writes::strategy::{Kind, Rules};

use super::{CREATE, READ_WRITE, SPEC_AND_METADATA, any_name, stored};
use crate::admissionregistration::Kind as Registered;
use crate::apiregistration::ApiServices;
use crate::certificates::CertificateSigningRequests;
use crate::flowcontrol::{flow_schema, priority_level};
use crate::networking::{ingress, ingress_class, ip_address, network_policy, service_cidr};
use crate::resource::strategies as devices;
use crate::rules::RULED;
use crate::{cells, network, node, rbac as roles, storage_k8s as volumes};

const BINDING: &str = "=Name|Role|Age|+Users|+Groups|+ServiceAccounts";
const WEBHOOKS: &str = "=Name|#Webhooks|Age";
const POLICY_BINDING: &str = "=Name|PolicyName|ParamRef|Age";

pub(super) fn rows() -> Vec<Kind> {
    [access(), networking(), storage(), extension()].concat()
}

fn access() -> Vec<Kind> {
    let review = |group, resource, kind| Resource::virtual_(group, "v1", resource, kind, CREATE);
    let rbac = |resource, kind| {
        let row = stored("rbac.authorization.k8s.io", "v1", resource, kind);
        row.name_rule(names::name_is_path_segment).create_on_update()
    };
    let requests = stored("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest")
        .columns(
            "=Name|Age|SignerName|Requestor|RequestedDuration|Condition",
            cells::cluster::certificate_signing_request,
        );
    let request = requests.kind();
    kinds![
        review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview").cluster(),
        review("authentication.k8s.io", "tokenreviews", "TokenReview").cluster(),
        review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
        review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview").cluster(),
        review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview").cluster(),
        review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview").cluster(),
        requests
            .cluster()
            .short(&["csr"])
            .sub("approval", request, READ_WRITE)
            .part("status")
            .resetting("", Resets(&[&["spec"], &["status"]]))
            .resetting("status", Resets(&[&["spec"], &["status", "conditions"]]))
            .resetting("approval", Resets(&[&["spec"], &["status", "certificate"]]))
            .select("spec.signerName")
            .name_rule(any_name)
            .rules(CertificateSigningRequests),
        rbac("clusterrolebindings", "ClusterRoleBinding")
            .columns(BINDING, cells::cluster::role_binding)
            .cluster()
            .rules(roles::cluster_role_bindings()),
        rbac("clusterroles", "ClusterRole").cluster().rules(roles::cluster_roles()),
        rbac("rolebindings", "RoleBinding")
            .columns(BINDING, cells::cluster::role_binding)
            .rules(roles::role_bindings()),
        rbac("roles", "Role").rules(roles::roles()),
    ]
}

fn networking() -> Vec<Kind> {
    let networking = |resource, kind| stored("networking.k8s.io", "v1", resource, kind);
    kinds![
        networking("ingressclasses", "IngressClass")
            .columns("=Name|Controller|Parameters|Age", cells::cluster::ingress_class)
            .cluster()
            .generation()
            .rules(ingress_class::ingress_classes()),
        Resource::stored("networking.k8s.io", "v1", "ingresses", "Ingress", "ingress")
            .columns("=Name|Class|Hosts|Address|Ports|Age", cells::cluster::ingress)
            .short(&["ing"])
            .generation()
            .part("status")
            .rules(ingress::Ingresses),
        networking("ipaddresses", "IPAddress")
            .columns("=Name|ParentRef", cells::cluster::ip_address)
            .cluster()
            .short(&["ip"])
            .name_rule(ip_address::name)
            .rules(ip_address::ip_addresses()),
        networking("networkpolicies", "NetworkPolicy")
            .columns("=Name|Pod-Selector|Age", cells::cluster::network_policy)
            .short(&["netpol"])
            .generation()
            .rules(network_policy::NetworkPolicies),
        networking("servicecidrs", "ServiceCIDR")
            .columns("=Name|CIDRs|Age", cells::cluster::service_cidr)
            .cluster()
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .rules(service_cidr::ServiceCidrs),
        stored("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
            .columns("=Name|AddressType|Ports|Endpoints|Age", cells::cluster::endpoint_slice)
            .counts(Generation { metadata: &["labels"], ..Generation::USUAL })
            .rules(network::endpoint_slices()),
    ]
}

fn storage() -> Vec<Kind> {
    let storage = |resource, kind| stored("storage.k8s.io", "v1", resource, kind);
    let device = |resource, kind| stored("resource.k8s.io", "v1", resource, kind);
    kinds![
        storage("csidrivers", "CSIDriver")
            .columns(
                "=Name|?AttachRequired|?PodInfoOnMount|?StorageCapacity|TokenRequests|?RequiresRepublish|Modes|Age",
                cells::cluster::csi_driver,
            )
            .cluster()
            .counts(Generation { from_create: false, ..Generation::USUAL })
            .conditional_update()
            .returns_deleted()
            .rules(RULED.prepare(volumes::prepare_driver).warn(volumes::driver_warnings)),
        storage("csinodes", "CSINode")
            .columns("=Name|#Drivers|Age", cells::cluster::csi_node)
            .cluster()
            .conditional_update()
            .returns_deleted()
            .rules(RULED),
        storage("csistoragecapacities", "CSIStorageCapacity")
            .conditional_update()
            .rules(RULED.warn(volumes::capacity_warnings)),
        storage("storageclasses", "StorageClass")
            .columns(
                "=Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
                cells::cluster::storage_class,
            )
            .cluster()
            .short(&["sc"])
            .returns_deleted()
            .rules(RULED.warn(volumes::class_warnings)),
        storage("volumeattachments", "VolumeAttachment")
            .columns("=Name|=Attacher|PV|Node|?Attached|Age", cells::cluster::volume_attachment)
            .cluster()
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .conditional_update()
            .returns_deleted()
            .rules(RULED.parts_too()),
        storage("volumeattributesclasses", "VolumeAttributesClass")
            .columns("=Name|DriverName|Age", cells::cluster::volume_attributes_class)
            .cluster()
            .short(&["vac"])
            .returns_deleted()
            .rules(RULED.change_first()),
        device("deviceclasses", "DeviceClass")
            .columns("=Name|Age", cells::core::name_and_age)
            .cluster()
            .generation()
            .returns_deleted()
            .rules(RULED),
        device("resourceclaims", "ResourceClaim")
            .columns("=Name|State|Age", cells::cluster::resource_claim)
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .returns_deleted()
            .rules(devices::Claims),
        device("resourceclaimtemplates", "ResourceClaimTemplate")
            .columns("=Name|Age", cells::core::name_and_age)
            .returns_deleted()
            .rules(devices::Templates),
        device("resourceslices", "ResourceSlice")
            .columns("=Name|Node|Driver|Pool|Age", cells::cluster::resource_slice)
            .cluster()
            .generation()
            .select("spec.nodeName")
            .select("spec.driver")
            .returns_deleted()
            .rules(RULED.prepare(devices::prepare_slice).warn(devices::slice_warnings)),
    ]
}

fn extension() -> Vec<Kind> {
    let extension = &["api-extensions"];
    let admission = |resource, kind| {
        stored("admissionregistration.k8s.io", "v1", resource, kind)
            .cluster()
            .categories(extension)
            .generation()
            .conditional_update()
    };
    let flow = |resource, kind| {
        let row = stored("flowcontrol.apiserver.k8s.io", "v1", resource, kind);
        row.cluster().generation().part("status").resetting("status", SPEC_AND_METADATA)
    };
    kinds![
        admission("mutatingadmissionpolicies", "MutatingAdmissionPolicy")
            .columns("=Name|#Mutations|ParamKind|Age", cells::cluster::mutating_admission_policy)
            .stored_as("v1beta1")
            .rules(Registered::MutatingPolicy),
        admission("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")
            .columns(POLICY_BINDING, cells::cluster::policy_binding)
            .stored_as("v1beta1")
            .rules(Registered::MutatingBinding),
        admission("mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
            .columns(WEBHOOKS, cells::cluster::webhooks)
            .rules(Registered::MutatingWebhooks),
        admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
            .columns("=Name|#Validations|ParamKind|Age", cells::cluster::validating_admission_policy)
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .rules(Registered::ValidatingPolicy),
        admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
            .columns(POLICY_BINDING, cells::cluster::policy_binding)
            .rules(Registered::ValidatingBinding),
        admission("validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
            .columns(WEBHOOKS, cells::cluster::webhooks)
            .rules(Registered::ValidatingWebhooks),
        Resource::stored(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            "apiextensions.k8s.io/customresourcedefinitions",
        )
        .stored_json()
        .stored_as("v1beta1")
        .cluster()
        .short(&["crd", "crds"])
        .categories(extension)
        .generation()
        .conditional_update()
        .part("status")
        .rules(Definitions),
        Resource::stored(
            "apiregistration.k8s.io",
            "v1",
            "apiservices",
            "APIService",
            "apiregistration.k8s.io/apiservices",
        )
        .columns("=Name|Service|Available|Age", cells::cluster::api_service)
        .stored_json()
        .name_rule(names::name_is_path_segment)
        .cluster()
        .categories(extension)
        .part("status")
        .resetting("status", SPEC_AND_METADATA)
        .conditional_update()
        .rules(ApiServices),
        stored("coordination.k8s.io", "v1", "leases", "Lease")
            .columns("=Name|Holder|Age", cells::cluster::lease)
            .create_on_update()
            .conditional_update()
            .rules(network::leases()),
        flow("flowschemas", "FlowSchema")
            .columns(
                "=Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
                cells::cluster::flow_schema,
            )
            .rules(flow_schema::FlowSchemas),
        flow("prioritylevelconfigurations", "PriorityLevelConfiguration")
            .columns(
                "=Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
                cells::cluster::priority_level,
            )
            .rules(priority_level::PriorityLevels),
        stored("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass")
            .columns("=Name|Handler|Age", cells::cluster::runtime_class)
            .cluster()
            .create_on_update()
            .conditional_update()
            .rules(RULED.warn(node::warnings)),
    ]
}
