//! Everything around the workloads: access, network, storage, devices, extension, flow control.

use machinery::managed_fields::Resets;
use machinery::names;

use super::super::Resource;
use super::{CREATE, READ_WRITE, SPEC_AND_METADATA, any_name, ip_address, stored};
use crate::extensions::strategy::Definitions;
use crate::registry::{network, rbac as roles};

pub(super) fn rows() -> Vec<Resource> {
    [access(), networking(), storage(), extension()].concat()
}

fn access() -> Vec<Resource> {
    let review = |group, resource, kind| Resource::virtual_(group, "v1", resource, kind, CREATE);
    let rbac = |resource, kind| {
        let row = stored("rbac.authorization.k8s.io", "v1", resource, kind);
        row.name_rule(names::name_is_path_segment).create_on_update()
    };
    let requests = stored("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest");
    let request = requests.kind();
    vec![
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
            .name_rule(any_name),
        rbac("clusterrolebindings", "ClusterRoleBinding").cluster().rules(roles::cluster_role_bindings()),
        rbac("clusterroles", "ClusterRole").cluster().rules(roles::cluster_roles()),
        rbac("rolebindings", "RoleBinding").rules(roles::role_bindings()),
        rbac("roles", "Role").rules(roles::roles()),
    ]
}

fn networking() -> Vec<Resource> {
    let networking = |resource, kind| stored("networking.k8s.io", "v1", resource, kind);
    vec![
        networking("ingressclasses", "IngressClass").cluster().generation(),
        Resource::stored("networking.k8s.io", "v1", "ingresses", "Ingress", "ingress")
            .short(&["ing"])
            .generation()
            .part("status"),
        networking("ipaddresses", "IPAddress").cluster().short(&["ip"]).name_rule(ip_address),
        networking("networkpolicies", "NetworkPolicy").short(&["netpol"]).generation(),
        networking("servicecidrs", "ServiceCIDR").cluster().part("status").resetting("status", SPEC_AND_METADATA),
        stored("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
            .generation()
            .rules(network::endpoint_slices()),
    ]
}

fn storage() -> Vec<Resource> {
    let storage = |resource, kind| stored("storage.k8s.io", "v1", resource, kind);
    let device = |resource, kind| stored("resource.k8s.io", "v1", resource, kind);
    vec![
        storage("csidrivers", "CSIDriver").cluster().generation().conditional_update().returns_deleted(),
        storage("csinodes", "CSINode").cluster().conditional_update().returns_deleted(),
        storage("csistoragecapacities", "CSIStorageCapacity").conditional_update(),
        storage("storageclasses", "StorageClass").cluster().short(&["sc"]).returns_deleted(),
        storage("volumeattachments", "VolumeAttachment")
            .cluster()
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .conditional_update()
            .returns_deleted(),
        storage("volumeattributesclasses", "VolumeAttributesClass").cluster().short(&["vac"]).returns_deleted(),
        device("deviceclasses", "DeviceClass").cluster().generation().returns_deleted(),
        device("resourceclaims", "ResourceClaim")
            .part("status")
            .resetting("status", SPEC_AND_METADATA)
            .returns_deleted(),
        device("resourceclaimtemplates", "ResourceClaimTemplate").returns_deleted(),
        device("resourceslices", "ResourceSlice")
            .cluster()
            .generation()
            .select("spec.nodeName")
            .select("spec.driver")
            .returns_deleted(),
    ]
}

fn extension() -> Vec<Resource> {
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
    vec![
        admission("mutatingadmissionpolicies", "MutatingAdmissionPolicy").stored_as("v1beta1"),
        admission("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding").stored_as("v1beta1"),
        admission("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
            .part("status")
            .resetting("status", SPEC_AND_METADATA),
        admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        admission("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
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
        .stored_json()
        .name_rule(names::name_is_path_segment)
        .cluster()
        .categories(extension)
        .part("status")
        .resetting("status", SPEC_AND_METADATA),
        stored("coordination.k8s.io", "v1", "leases", "Lease")
            .create_on_update()
            .conditional_update()
            .rules(network::leases()),
        flow("flowschemas", "FlowSchema"),
        flow("prioritylevelconfigurations", "PriorityLevelConfiguration"),
        stored("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass").cluster().create_on_update().conditional_update(),
    ]
}
