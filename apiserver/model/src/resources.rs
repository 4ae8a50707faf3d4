//! The resources that access control reads, named once.

use std::sync::LazyLock;

use machinery::gvk::GroupResource;

macro_rules! resources {
    ($($name:ident = $group:literal, $resource:literal;)*) => {
        $(
            #[doc = concat!("`", $resource, "` of the group `", $group, "`.")]
            pub static $name: LazyLock<GroupResource> = LazyLock::new(|| GroupResource::new($group, $resource));
        )*
    };
}

resources! {
    CLUSTER_ROLES = "rbac.authorization.k8s.io", "clusterroles";
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io", "clusterrolebindings";
    CONFIG_MAPS = "", "configmaps";
    CSI_DRIVERS = "storage.k8s.io", "csidrivers";
    CSRS = "certificates.k8s.io", "certificatesigningrequests";
    DEVICE_CLASSES = "resource.k8s.io", "deviceclasses";
    FLOW_SCHEMAS = "flowcontrol.apiserver.k8s.io", "flowschemas";
    INGRESS_CLASSES = "networking.k8s.io", "ingressclasses";
    LIMIT_RANGES = "", "limitranges";
    NAMESPACES = "", "namespaces";
    NODES = "", "nodes";
    PERSISTENT_VOLUMES = "", "persistentvolumes";
    PERSISTENT_VOLUME_CLAIMS = "", "persistentvolumeclaims";
    PODS = "", "pods";
    PRIORITY_CLASSES = "scheduling.k8s.io", "priorityclasses";
    PRIORITY_LEVELS = "flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations";
    RESOURCE_CLAIMS = "resource.k8s.io", "resourceclaims";
    RESOURCE_QUOTAS = "", "resourcequotas";
    RESOURCE_SLICES = "resource.k8s.io", "resourceslices";
    ROLES = "rbac.authorization.k8s.io", "roles";
    ROLE_BINDINGS = "rbac.authorization.k8s.io", "rolebindings";
    RUNTIME_CLASSES = "node.k8s.io", "runtimeclasses";
    SECRETS = "", "secrets";
    SERVICE_ACCOUNTS = "", "serviceaccounts";
    STORAGE_CLASSES = "storage.k8s.io", "storageclasses";
    VOLUME_ATTACHMENTS = "storage.k8s.io", "volumeattachments";
}
