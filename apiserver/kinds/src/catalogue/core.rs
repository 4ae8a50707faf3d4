//! The core group, and the events of events.k8s.io, which live in its store.

use machinery::gvk::{GroupResource, GroupVersionKind};
use machinery::managed_fields::Resets;
use machinery::names;
use model::resource::{Resource, Sort, Verb};
use writes::strategy::{Kind, Rules};

use super::{CREATE, PROXY, READ_WRITE, STREAM, any_name, core_kind, scaled};
use crate::core::{
    configmap, event, limitrange, namespace, node, pod, replicationcontroller, resourcequota, secret, service,
    serviceaccount, volume,
};
use crate::rules::RULED;
use crate::{cells, network};

/// Events are kept for an hour, where `--event-ttl` says nothing else.
const EVENT_TTL_SECONDS: u64 = 3600;

const POD_STATUS_RESETS: Resets =
    Resets(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]);

const EVENT: &str = "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count|+=Name";
const REPLICAS: &str = "=Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector";

pub(super) fn rows() -> Vec<Kind> {
    let stored = |resource, kind| super::stored("", "v1", resource, kind);
    let at = |resource, kind, prefix| Resource::stored("", "v1", resource, kind, prefix);
    kinds![
        Resource::virtual_("", "v1", "bindings", "Binding", CREATE),
        Resource::virtual_("", "v1", "componentstatuses", "ComponentStatus", &[Verb::Get, Verb::List]).columns("=Name|Status|Message|Error", cells::core::component_status)
            .cluster()
            .short(&["cs"])
            .deprecated("v1 ComponentStatus is deprecated in v1.19+"),
        stored("configmaps", "ConfigMap").columns("=Name|Data|Age", cells::core::config_map).short(&["cm"]).rules(configmap::ConfigMaps),
        Resource {
            singular: "endpoints".into(),
            ..at("endpoints", "Endpoints", "services/endpoints").columns("=Name|Endpoints|Age", cells::core::endpoints)
                .short(&["ep"])
                .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
                .create_on_update()
        }
        .rules(network::endpoints()),
        events(),
        stored("limitranges", "LimitRange").short(&["limits"]).create_on_update().rules(limitrange::limit_ranges()),
        namespaces(),
        at("nodes", "Node", "minions").columns("=Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime", cells::core::node)
            .cluster()
            .short(&["no"])
            .sub("proxy", core_kind("NodeProxyOptions"), PROXY)
            .part("status")
            .select_as("spec.unschedulable", "spec.unschedulable", "false")
            .rules(node::Nodes),
        stored("persistentvolumeclaims", "PersistentVolumeClaim").columns("=Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode", cells::core::persistent_volume_claim)
            .short(&["pvc"])
            .part("status")
            .returns_deleted()
            .rules(volume::PersistentVolumeClaims),
        stored("persistentvolumes", "PersistentVolume").columns("=Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|+VolumeMode", cells::core::persistent_volume)
            .cluster()
            .short(&["pv"])
            .part("status")
            .returns_deleted()
            .rules(volume::PersistentVolumes),
        pods(),
        stored("podtemplates", "PodTemplate").columns("=Name|Containers|Images|Pod Labels", cells::workloads::pod_template).generation().returns_deleted().rules(RULED.warn(pod::template_warnings)),
        scaled(at("replicationcontrollers", "ReplicationController", "controllers").columns(REPLICAS, cells::workloads::replication_controller))
            .short(&["rc"])
            .categories(&["all"])
            .generation()
            .part("status")
            .select_as("status.replicas", "status.replicas", "0")
            .rules(replicationcontroller::ReplicationControllers),
        stored("resourcequotas", "ResourceQuota").columns("=Name|Request|Limit|Age", cells::core::resource_quota).short(&["quota"]).part("status").returns_deleted().rules(resourcequota::ResourceQuotas),
        stored("secrets", "Secret").columns("=Name|Type|Data|Age", cells::core::secret).select("type").rules(secret::Secrets),
        stored("serviceaccounts", "ServiceAccount").columns("=Name|Age", cells::core::name_and_age)
            .short(&["sa"])
            .sub("token", GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest"), CREATE)
            .returns_deleted()
            .rules(serviceaccount::ServiceAccounts),
        at("services", "Service", "services/specs").columns("=Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector", cells::core::service)
            .short(&["svc"])
            .categories(&["all"])
            .sub("proxy", core_kind("ServiceProxyOptions"), PROXY)
            .part("status")
            .select("spec.clusterIP")
            .select("spec.type")
            .name_rule(names::name_is_dns_label)
            .create_on_update()
            .returns_deleted()
            .rules(service::Services),
        cohabiting_events(),
    ]
}

fn namespaces() -> Kind {
    let verbs = &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
    let row = super::stored("", "v1", "namespaces", "Namespace")
        .columns("=Name|Status|Age", cells::core::namespace)
        .cluster()
        .name_rule(names::name_is_dns_label)
        .short(&["ns"]);
    Resource { verbs, ..row }
        .sub("finalize", core_kind("Namespace"), &[Verb::Update])
        .part("status")
        .resetting("finalize", Resets(&[&["status"]]))
        .select("status.phase")
        .rules(namespace::Namespaces)
}

fn pods() -> Kind {
    super::stored("", "v1", "pods", "Pod")
        .columns("=Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates", cells::pod::cells)
        .table_condition(cells::pod::completed)
        .short(&["po"])
        .categories(&["all"])
        .generation()
        .sub("attach", core_kind("PodAttachOptions"), STREAM)
        .sub("binding", core_kind("Binding"), CREATE)
        .sub("ephemeralcontainers", core_kind("Pod"), READ_WRITE)
        .sub("eviction", GroupVersionKind::new("policy", "v1", "Eviction"), CREATE)
        .sub("exec", core_kind("PodExecOptions"), STREAM)
        .sub("log", core_kind("Pod"), &[Verb::Get])
        .sub("portforward", core_kind("PodPortForwardOptions"), STREAM)
        .sub("proxy", core_kind("PodProxyOptions"), PROXY)
        .sub("resize", core_kind("Pod"), READ_WRITE)
        .part("status")
        .resetting("status", POD_STATUS_RESETS)
        .select("spec.nodeName")
        .select_as("spec.host", "spec.nodeName", "")
        .select("spec.restartPolicy")
        .select("spec.schedulerName")
        .select("spec.serviceAccountName")
        .select_as("spec.hostNetwork", "spec.hostNetwork", "false")
        .select("status.phase")
        .select("status.podIP")
        .select("status.nominatedNodeName")
        .returns_deleted()
        .rules(pod::strategy::Pods)
}

fn events() -> Kind {
    let row = super::stored("", "v1", "events", "Event")
        .columns(EVENT, cells::core::event)
        .short(&["ev"])
        .select("involvedObject.kind")
        .select("involvedObject.namespace")
        .select("involvedObject.name")
        .select("involvedObject.uid")
        .select("involvedObject.apiVersion")
        .select("involvedObject.resourceVersion")
        .select("involvedObject.fieldPath")
        .select("reason")
        .select("reportingComponent")
        .select_as("source", "source.component", "")
        .or("reportingComponent")
        .select("type");
    // The old group never checked names.
    row.name_rule(any_name).create_on_update().ttl_seconds(EVENT_TTL_SECONDS).rules(event::Events::Core)
}

/// The same objects under the newer group's field names. Paths are those of the stored kind, core/v1 Event.
fn cohabiting_events() -> Kind {
    let row = super::stored("events.k8s.io", "v1", "events", "Event")
        .columns(EVENT, cells::core::event)
        .short(&["ev"])
        .select_as("regarding.kind", "involvedObject.kind", "")
        .select_as("regarding.namespace", "involvedObject.namespace", "")
        .select_as("regarding.name", "involvedObject.name", "")
        .select_as("regarding.uid", "involvedObject.uid", "")
        .select_as("regarding.apiVersion", "involvedObject.apiVersion", "")
        .select_as("regarding.resourceVersion", "involvedObject.resourceVersion", "")
        .select_as("regarding.fieldPath", "involvedObject.fieldPath", "")
        .select("reason")
        .select_as("reportingController", "reportingComponent", "")
        .select("type");
    Resource {
        sort: Sort::Cohabiting { with: GroupResource::new("", "events") },
        storage_version: core_kind("Event"),
        ..row
    }
    .create_on_update()
    .ttl_seconds(EVENT_TTL_SECONDS)
    .rules(event::Events::Newer)
}
