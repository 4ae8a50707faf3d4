//! Which columns each resource has, and which function fills them.

use machinery::gvk::GroupVersionKind;
use serde_json::{Value, json};

use super::{Cells, cluster, core, pod, workloads};
use crate::registry::catalogue::Resource;

/// Group, resource, columns, cells. Before a column's name: `+` only in wide output, `#` integer, `?` boolean, `@` date,
/// `=` the object's name; all others are text.
type Row = (&'static str, &'static str, &'static str, Cells);

const BINDING: &str = "=Name|Role|Age|+Users|+Groups|+ServiceAccounts";
const EVENT: &str = "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count|+=Name";
const REPLICAS: &str = "=Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector";
const WEBHOOKS: &str = "=Name|#Webhooks|Age";
const NAME_AND_AGE: &str = "=Name|Age";
const POLICY_BINDING: &str = "=Name|PolicyName|ParamRef|Age";

/// Built-in resources without a printer of their own upstream.
const DEFAULT: &str = "=Name|@Created At";

const TABLES: &[Row] = &[
    ("", "componentstatuses", "=Name|Status|Message|Error", core::component_status),
    ("", "configmaps", "=Name|Data|Age", core::config_map),
    ("", "endpoints", "=Name|Endpoints|Age", core::endpoints),
    ("", "events", EVENT, core::event),
    ("", "namespaces", "=Name|Status|Age", core::namespace),
    (
        "",
        "nodes",
        "=Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime",
        core::node,
    ),
    (
        "",
        "persistentvolumeclaims",
        "=Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode",
        core::persistent_volume_claim,
    ),
    (
        "",
        "persistentvolumes",
        "=Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|+VolumeMode",
        core::persistent_volume,
    ),
    ("", "pods", "=Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates", pod::cells),
    ("", "podtemplates", "=Name|Containers|Images|Pod Labels", workloads::pod_template),
    ("", "replicationcontrollers", REPLICAS, workloads::replication_controller),
    ("", "resourcequotas", "=Name|Request|Limit|Age", core::resource_quota),
    ("", "secrets", "=Name|Type|Data|Age", core::secret),
    ("", "serviceaccounts", NAME_AND_AGE, core::name_and_age),
    ("", "services", "=Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector", core::service),
    ("apiregistration.k8s.io", "apiservices", "=Name|Service|Available|Age", cluster::api_service),
    ("apps", "controllerrevisions", "=Name|Controller|Revision|Age", workloads::controller_revision),
    (
        "apps",
        "daemonsets",
        "=Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|+Containers|+Images|+Selector",
        workloads::daemon_set,
    ),
    (
        "apps",
        "deployments",
        "=Name|Ready|Up-to-date|Available|Age|+Containers|+Images|+Selector",
        workloads::deployment,
    ),
    ("apps", "replicasets", REPLICAS, workloads::replica_set),
    ("apps", "statefulsets", "=Name|Ready|Age|+Containers|+Images", workloads::stateful_set),
    ("events.k8s.io", "events", EVENT, core::event),
    (
        "autoscaling",
        "horizontalpodautoscalers",
        "=Name|Reference|Targets|MinPods|MaxPods|Replicas|Age",
        workloads::horizontal_pod_autoscaler,
    ),
    (
        "batch",
        "cronjobs",
        "=Name|Schedule|Timezone|?Suspend|#Active|Last Schedule|Age|+Containers|+Images|+Selector",
        workloads::cron_job,
    ),
    ("batch", "jobs", "=Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector", workloads::job),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        "=Name|Age|SignerName|Requestor|RequestedDuration|Condition",
        cluster::certificate_signing_request,
    ),
    ("networking.k8s.io", "ingressclasses", "=Name|Controller|Parameters|Age", cluster::ingress_class),
    ("networking.k8s.io", "ingresses", "=Name|Class|Hosts|Address|Ports|Age", cluster::ingress),
    ("networking.k8s.io", "ipaddresses", "=Name|ParentRef", cluster::ip_address),
    ("networking.k8s.io", "networkpolicies", "=Name|Pod-Selector|Age", cluster::network_policy),
    ("networking.k8s.io", "servicecidrs", "=Name|CIDRs|Age", cluster::service_cidr),
    (
        "policy",
        "poddisruptionbudgets",
        "=Name|Min Available|Max Unavailable|#Allowed Disruptions|Age",
        workloads::pod_disruption_budget,
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings", BINDING, cluster::role_binding),
    ("rbac.authorization.k8s.io", "rolebindings", BINDING, cluster::role_binding),
    (
        "storage.k8s.io",
        "csidrivers",
        "=Name|?AttachRequired|?PodInfoOnMount|?StorageCapacity|TokenRequests|?RequiresRepublish|Modes|Age",
        cluster::csi_driver,
    ),
    ("storage.k8s.io", "csinodes", "=Name|#Drivers|Age", cluster::csi_node),
    (
        "storage.k8s.io",
        "storageclasses",
        "=Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
        cluster::storage_class,
    ),
    ("storage.k8s.io", "volumeattachments", "=Name|=Attacher|PV|Node|?Attached|Age", cluster::volume_attachment),
    ("storage.k8s.io", "volumeattributesclasses", "=Name|DriverName|Age", cluster::volume_attributes_class),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies",
        "=Name|#Mutations|ParamKind|Age",
        cluster::mutating_admission_policy,
    ),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", POLICY_BINDING, cluster::policy_binding),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", WEBHOOKS, cluster::webhooks),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "=Name|#Validations|ParamKind|Age",
        cluster::validating_admission_policy,
    ),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", POLICY_BINDING, cluster::policy_binding),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", WEBHOOKS, cluster::webhooks),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        "=Name|#Value|?Global-Default|Age|PreemptionPolicy",
        cluster::priority_class,
    ),
    ("coordination.k8s.io", "leases", "=Name|Holder|Age", cluster::lease),
    ("node.k8s.io", "runtimeclasses", "=Name|Handler|Age", cluster::runtime_class),
    ("discovery.k8s.io", "endpointslices", "=Name|AddressType|Ports|Endpoints|Age", cluster::endpoint_slice),
    ("resource.k8s.io", "deviceclasses", NAME_AND_AGE, core::name_and_age),
    ("resource.k8s.io", "resourceclaims", "=Name|State|Age", cluster::resource_claim),
    ("resource.k8s.io", "resourceclaimtemplates", NAME_AND_AGE, core::name_and_age),
    ("resource.k8s.io", "resourceslices", "=Name|Node|Driver|Pool|Age", cluster::resource_slice),
    (
        "flowcontrol.apiserver.k8s.io",
        "flowschemas",
        "=Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
        cluster::flow_schema,
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        "=Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
        cluster::priority_level,
    ),
];

/// The columns of a resource and what fills them.
pub(super) fn of(row: &Resource) -> (&'static str, Cells) {
    let found = TABLES.iter().find(|(group, resource, ..)| row.group == *group && row.resource == *resource);
    found.map_or((DEFAULT, core::created_at as Cells), |(_, _, columns, cells)| (columns, *cells))
}

/// The kind whose fields the cell functions read, where a resource has several.
pub(super) fn shown_kind(row: &Resource) -> GroupVersionKind {
    row.storage_version.clone()
}

/// Columns as a Table carries them. All are sent; clients hide those of higher priority.
pub(super) fn definitions(columns: &str) -> Value {
    let definition = |column: &str| {
        let name = column.trim_start_matches(['+', '#', '?', '@', '=']);
        let marks = &column[..column.len() - name.len()];
        let ty = match () {
            () if marks.contains('#') => "integer",
            () if marks.contains('?') => "boolean",
            () if marks.contains('@') => "date",
            () => "string",
        };
        let format = if marks.contains('=') { "name" } else { "" };
        json!({"name": name, "type": ty, "format": format, "description": "", "priority": i32::from(marks.contains('+'))})
    };
    columns.split('|').map(definition).collect()
}
