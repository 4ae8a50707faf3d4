//! Cluster IPs: an address is taken by creating the IPAddress object of its name, which can succeed once only, on any
//! number of servers (`pkg/registry/core/service/ipallocator`, the MultiCIDRServiceAllocator).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use machinery::field::{ErrorList, Path};
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::check::Faults;
use rand::RngExt;
use serde_json::{Value, json};
use storage::Storage;
use writes::Registry;
use writes::allocation::{Allocation, Release};
use writes::strategy::WriteContext;

use super::families::family_of;
use super::{is_headless, refuse};

const PREFIX: &str = "/registry/ipaddresses/";

/// The label that says who made an IPAddress.
pub(super) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// What it says of those made here.
pub(super) const MANAGER: &str = "ipallocator.k8s.io";

/// IPAddress objects.
pub(super) fn resource() -> GroupResource {
    GroupResource::new("networking.k8s.io", "ipaddresses")
}

/// The ranges that cluster IPs come from: the ServiceCIDR objects.
pub(super) struct Ranges(Vec<IpNet>);

impl Ranges {
    /// Those of now, the cluster's own first.
    pub(super) async fn of(registry: &Registry) -> Result<Self, StatusError> {
        let resource = GroupResource::new("networking.k8s.io", "servicecidrs");
        let mut objects = registry.list(&resource, None);
        if objects.is_empty() {
            registry.feed().caught_up().await?;
            objects = registry.list(&resource, None);
        }
        objects.sort_by_key(|o| (meta::name(o) != "kubernetes", meta::name(o).to_owned()));
        let live = objects.iter().filter(|o| meta::deletion_timestamp(o).is_none());
        Ok(Ranges(live.flat_map(|o| o["spec"].texts("cidrs")).filter_map(|c| c.parse().ok()).collect()))
    }

    #[cfg(test)]
    pub(super) fn fixed(ranges: &[&str]) -> Self {
        Ranges(ranges.iter().map(|r| r.parse().expect("a range")).collect())
    }

    fn of_family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a IpNet> {
        self.0.iter().filter(move |r| name(r) == family)
    }

    /// Whether an address is of any range.
    pub(super) fn contain(&self, ip: &IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(ip))
    }

    /// Whether the cluster has addresses of that family.
    pub(super) fn has(&self, family: &str) -> bool {
        self.of_family(family).next().is_some()
    }

    /// How many families.
    pub(super) fn families(&self) -> usize {
        ["IPv4", "IPv6"].into_iter().filter(|f| self.has(f)).count()
    }

    /// The family of Services that ask for none.
    pub(super) fn default_family(&self) -> &'static str {
        self.0.first().map_or("IPv4", name)
    }
}

fn name(range: &IpNet) -> &'static str {
    if matches!(range, IpNet::V4(_)) { "IPv4" } else { "IPv6" }
}

// The range's usable addresses as numbers: without the network's own and, for IPv4, the broadcast.
fn bounds(range: &IpNet) -> (u128, u128) {
    match range {
        IpNet::V4(net) => {
            (u128::from(u32::from(net.network())) + 1, u128::from(u32::from(net.broadcast())).saturating_sub(1))
        }
        IpNet::V6(net) => (u128::from(net.network()) + 1, u128::from(net.broadcast())),
    }
}

fn address(range: &IpNet, number: u128) -> IpAddr {
    match range {
        IpNet::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or_default().into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

/// The part of a range that is left to those who ask for an address by name (`calculateRangeOffset`).
fn reserved(size: u128) -> u128 {
    if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) }
}

/// Takes what the Service's families still lack and sets `clusterIP` and `clusterIPs`.
pub(super) async fn allocate(
    cx: &WriteContext<'_>,
    service: &mut Value,
    before: &[String],
    ranges: &Ranges,
    allocation: &mut Allocation,
) -> Result<(), StatusError> {
    if service["spec"].text("type") == "ExternalName" || is_headless(service) {
        return Ok(());
    }
    let families: Vec<String> = service["spec"].texts("ipFamilies").map(str::to_owned).collect();
    let mut ips: Vec<String> = service["spec"].texts("clusterIPs").map(str::to_owned).collect();
    for (i, family) in families.iter().enumerate() {
        if ips.len() <= i {
            ips.push(String::new());
        }
        if before.contains(&ips[i]) {
            continue;
        }
        ips[i] = if ips[i].is_empty() {
            next(cx, service, family, ranges).await?
        } else {
            exactly(cx, service, &ips, i, ranges).await?
        };
        if !cx.dry_run {
            allocation.taken(releasing(cx.registry.storage(), vec![ips[i].clone()]));
        }
    }
    if let Some(first) = ips.first() {
        service["spec"]["clusterIP"] = first.as_str().into();
    }
    service["spec"]["clusterIPs"] = json!(ips);
    Ok(())
}

/// The IPAddress that takes an address for a Service.
pub(super) fn object(ip: IpAddr, namespace: &str, name: &str) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": { "name": ip.to_string(), "labels": {
            "ipaddress.kubernetes.io/ip-family": family,
            MANAGED_BY: MANAGER,
        } },
        "spec": { "parentRef": { "resource": "services", "namespace": namespace, "name": name } },
    })
}

// Says whether the address was free.
async fn take(cx: &WriteContext<'_>, service: &Value, ip: IpAddr) -> Result<bool, StatusError> {
    if cx.dry_run {
        return Ok(cx.registry.get(&resource(), None, &ip.to_string()).is_none());
    }
    let object = object(ip, cx.namespace.unwrap_or_default(), meta::name(service));
    match cx.registry.create(&resource(), None, object).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn next(cx: &WriteContext<'_>, service: &Value, family: &str, ranges: &Ranges) -> Result<String, StatusError> {
    for range in ranges.of_family(family) {
        let (first, last) = bounds(range);
        if last < first {
            continue;
        }
        let size = last - first + 1;
        let offset = reserved(size);
        // The upper part from a random place on, round it, then the reserved part.
        let upper = size - offset;
        let start =
            if upper == 0 { 0 } else { rand::rng().random_range(0..u64::try_from(upper).unwrap_or(u64::MAX)).into() };
        let places = (0..upper).map(|i| offset + (start + i) % upper).chain(0..offset);
        for place in places.take(1 << 20) {
            let ip = address(range, first + place);
            if cx.registry.get(&resource(), None, &ip.to_string()).is_none() && take(cx, service, ip).await? {
                return Ok(ip.to_string());
            }
        }
    }
    let name = meta::name(service);
    Err(StatusError::internal(format!("failed to allocate a serviceIP for Service \"{name}\": range is full")))
}

async fn exactly(
    cx: &WriteContext<'_>,
    service: &Value,
    ips: &[String],
    at: usize,
    ranges: &Ranges,
) -> Result<String, StatusError> {
    let text = &ips[at];
    let fail = |why: &str| -> Result<String, StatusError> {
        let mut errors = ErrorList::new();
        let detail = format!("failed to allocate IP {text}: {why}");
        errors.invalid(&Path::new("spec").child("clusterIPs"), json!(ips), detail);
        refuse(service, errors).map(|()| text.clone())
    };
    let Some(ip) = machinery::names::parse_ip_sloppy(text) else {
        return Err(StatusError::internal(format!("failed to parse service IP \"{text}\"")));
    };
    let Some(range) = ranges.of_family(family_of(text)).find(|r| r.contains(&ip)) else {
        return fail("the provided network does not match the current range");
    };
    let (first, last) = bounds(range);
    let usable = (first..=last).contains(&match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    });
    if !usable {
        let range = range.trunc();
        return fail(&format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"));
    }
    if take(cx, service, ip).await? { Ok(text.clone()) } else { fail("provided IP is already allocated") }
}

/// What gives addresses back, later.
pub(super) fn releasing(storage: &Arc<dyn Storage>, ips: Vec<String>) -> Release {
    let storage = storage.clone();
    Box::new(move || Box::pin(async move { release(&*storage, ips).await }))
}

/// Gives addresses back.
pub(super) async fn release(storage: &dyn Storage, ips: Vec<String>) {
    for ip in ips {
        let Some(ip) = machinery::names::canonical_ip(&ip) else { continue };
        let key = format!("{PREFIX}{ip}");
        // Nobody changes an IPAddress: one try is enough, and a loser leaves it to the repair.
        if let Ok((Some(kv), _)) = storage.get(&key).await
            && let Err(error) = storage.delete(&key, kv.mod_revision).await
        {
            tracing::warn!(%error, ip, "a cluster IP could not be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let ranges = Ranges::fixed(&["10.0.0.0/24", "fd00::/120"]);
        assert_eq!((ranges.families(), ranges.default_family(), ranges.has("IPv6")), (2, "IPv4", true));
        let (first, last) = bounds(&ranges.0[0]);
        assert_eq!(
            (address(&ranges.0[0], first).to_string(), address(&ranges.0[0], last).to_string()),
            ("10.0.0.1".into(), "10.0.0.254".into())
        );
        let (first, last) = bounds(&ranges.0[1]);
        assert_eq!(
            (address(&ranges.0[1], first).to_string(), address(&ranges.0[1], last).to_string()),
            ("fd00::1".into(), "fd00::ff".into())
        );
        assert_eq!((reserved(6), reserved(254), reserved(65534), reserved(1 << 40)), (0, 16, 256, 256));
    }
}
