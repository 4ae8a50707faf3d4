//! Services: cluster IPs and node ports are allocated before the object is stored and given back when it is not, or when
//! it goes (`pkg/registry/core/service`).

mod addresses;
mod families;
mod linked;
mod ports;
mod repair;
mod validation;
mod warnings;

use async_trait::async_trait;
use machinery::field::ErrorList;
use machinery::gvk::GroupKind;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::check::keep;
pub use ports::{set_node_port_range, taken as node_ports_taken};
pub use repair::Repair;
use serde_json::Value;
pub use validation::endpoint_ip;
use writes::allocation::Allocation;
use writes::strategy::{Strategy, WriteContext};

/// Services.
pub struct Services;

#[async_trait]
impl Strategy for Services {
    fn prepare_for_create(&self, _: &WriteContext<'_>, service: &mut Value) {
        service["status"] = serde_json::json!({ "loadBalancer": {} });
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, service: &mut Value, old: &Value) {
        match cx.subresource {
            Some("status") => keep(service, old, "spec"),
            _ => {
                keep(service, old, "status");
                linked::drop_type_dependent(service, old);
            }
        }
    }

    fn validate(&self, _: &WriteContext<'_>, service: &Value) -> ErrorList {
        validation::create(service)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, service: &Value, old: &Value) -> ErrorList {
        match cx.subresource {
            Some("status") => validation::status_update(service, old),
            _ => validation::update(service, old),
        }
    }

    fn warnings(&self, _: &WriteContext<'_>, service: &Value, _: Option<&Value>) -> Vec<String> {
        warnings::of(service)
    }

    async fn begin_create(
        &self,
        cx: &WriteContext<'_>,
        service: &mut Value,
        allocation: &mut Allocation,
    ) -> Result<(), StatusError> {
        linked::sync_cluster_ips(service, None);
        allocate(cx, service, None, allocation).await
    }

    async fn begin_update(
        &self,
        cx: &WriteContext<'_>,
        service: &mut Value,
        old: &Value,
        allocation: &mut Allocation,
    ) -> Result<(), StatusError> {
        if cx.subresource.is_some() {
            return Ok(());
        }
        linked::carry_allocated(service, old);
        linked::sync_cluster_ips(service, Some(old));
        allocate(cx, service, Some(old), allocation).await
    }

    async fn after_delete(&self, cx: &WriteContext<'_>, service: &Value) {
        addresses::release(&**cx.registry.storage(), held_addresses(service)).await;
        ports::release(&**cx.registry.storage(), ports::held(service)).await;
    }
}

/// 422 of a Service.
fn refuse(service: &Value, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(StatusError::invalid(&GroupKind::new("", "Service"), meta::name(service), errors))
}

fn is_headless(service: &Value) -> bool {
    service["spec"].texts("clusterIPs").eq(["None"])
}

fn needs_cluster_ip(service: &Value) -> bool {
    matches!(service["spec"].text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.flag("allocateLoadBalancerNodePorts") != Some(false),
        _ => false,
    }
}

fn needs_health_check_port(service: &Value) -> bool {
    let spec = &service["spec"];
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn held_addresses(service: &Value) -> Vec<String> {
    if service["spec"].text("type") == "ExternalName" || is_headless(service) {
        return Vec::new();
    }
    service["spec"].texts("clusterIPs").map(str::to_owned).collect()
}

/// Takes what the Service lacks, and notes what it does not need any more.
async fn allocate(
    cx: &WriteContext<'_>,
    service: &mut Value,
    old: Option<&Value>,
    allocation: &mut Allocation,
) -> Result<(), StatusError> {
    let ranges = addresses::Ranges::of(cx.registry).await?;
    families::init(service, old, &ranges)?;
    let before = old.map(held_addresses).unwrap_or_default();
    addresses::allocate(cx, service, &before, &ranges, allocation).await?;
    ports::allocate(cx, service, old, allocation).await?;
    if cx.dry_run {
        return Ok(());
    }
    let storage = cx.registry.storage();
    let (now, held) = (held_addresses(service), ports::held(service));
    let surplus: Vec<String> = before.into_iter().filter(|ip| !now.contains(ip)).collect();
    let ports: Vec<u16> = old.map(ports::held).unwrap_or_default().into_iter().filter(|p| !held.contains(p)).collect();
    allocation.surplus(addresses::releasing(storage, surplus));
    allocation.surplus(ports::releasing(storage, ports));
    Ok(())
}

#[cfg(test)]
mod tests;
