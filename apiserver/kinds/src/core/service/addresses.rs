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

/// The server's own ranges are in the ServiceCIDR of this name; it says which families the cluster has.
const OWN: &str = "kubernetes";
/// The longest part of an IPv6 address that a range may leave free, in bits of its prefix.
const SHORTEST_IPV6_PREFIX: u8 = 64;

/// The ranges that cluster IPs come from: the ServiceCIDR objects.
pub(super) struct Ranges {
    /// All there are, each with whether addresses may be taken of it: neither deleted nor said to be not ready.
    all: Vec<(IpNet, bool)>,
    /// The families that the server was started with, the default one first.
    families: Vec<&'static str>,
}

impl Ranges {
    /// Those of now, the cluster's own first.
    pub(super) async fn of(registry: &Registry) -> Result<Self, StatusError> {
        let resource = GroupResource::new("networking.k8s.io", "servicecidrs");
        let mut objects = registry.list(&resource, None);
        if objects.is_empty() {
            registry.feed().caught_up().await?;
            objects = registry.list(&resource, None);
        }
        objects.sort_by_key(|o| (meta::name(o) != OWN, meta::name(o).to_owned()));
        Ok(Self::from(&objects))
    }

    fn from(objects: &[Arc<Value>]) -> Self {
        let usable = |range: &IpNet| matches!(range, IpNet::V4(_)) || range.prefix_len() >= SHORTEST_IPV6_PREFIX;
        let ranges = |object: &Value| {
            let parsed = object["spec"].texts("cidrs").filter_map(|cidr| cidr.parse().ok());
            parsed.filter(usable).collect::<Vec<IpNet>>()
        };
        let mut all = Vec::new();
        for object in objects {
            let ready = meta::deletion_timestamp(object).is_none() && is_ready(object);
            all.extend(ranges(object).into_iter().map(|range| (range, ready)));
        }
        // Where the server's own are not there yet, any will do.
        let own: Vec<IpNet> = objects.iter().filter(|o| meta::name(o) == OWN).flat_map(|o| ranges(o)).collect();
        let mut families: Vec<_> = if own.is_empty() {
            all.iter().map(|(range, _)| name(range)).collect()
        } else {
            own.iter().map(name).collect()
        };
        // Of two families, so that what is told twice is not told a third time.
        let first = families.first().copied();
        families.sort_by_key(|family| (Some(*family) != first, *family));
        families.dedup();
        Self { all, families }
    }

    #[cfg(test)]
    pub(super) fn fixed(ranges: &[&str]) -> Self {
        Self::from(&[Arc::new(json!({ "metadata": { "name": OWN }, "spec": { "cidrs": ranges } }))])
    }

    /// Those of a family that addresses may be taken of.
    fn open<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a IpNet> {
        self.all.iter().filter(move |(range, ready)| *ready && name(range) == family).map(|(range, _)| range)
    }

    /// Whether an address is of any range, also of one that is about to go.
    pub(super) fn contain(&self, ip: &IpAddr) -> bool {
        self.all.iter().any(|(range, _)| allocates(range, *ip))
    }

    /// Whether the cluster has addresses of that family.
    pub(super) fn has(&self, family: &str) -> bool {
        self.families.contains(&family)
    }

    /// How many families.
    pub(super) fn families(&self) -> usize {
        self.families.len()
    }

    /// The family of Services that ask for none.
    pub(super) fn default_family(&self) -> &'static str {
        self.families.first().copied().unwrap_or("IPv4")
    }
}

/// What says nothing is ready: there may be no controller manager.
fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"].list("conditions").iter();
    conditions.find(|c| c.text("type") == "Ready").is_none_or(|c| c.text("status") == "True")
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

/// Whether the range has that address, and gives it out.
fn allocates(range: &IpNet, ip: IpAddr) -> bool {
    let (first, last) = bounds(range);
    let number = match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    range.contains(&ip) && (first..=last).contains(&number)
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
    for range in ranges.open(family) {
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
    if !ranges.open(family_of(text)).any(|range| allocates(range, ip)) {
        return fail("the provided network does not match the current range");
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
        let ends = |at: usize| {
            let (range, _) = &ranges.all[at];
            let (first, last) = bounds(range);
            [address(range, first).to_string(), address(range, last).to_string()]
        };
        assert_eq!(
            (ends(0), ends(1)),
            (["10.0.0.1", "10.0.0.254"].map(Into::into), ["fd00::1", "fd00::ff"].map(Into::into))
        );
        assert_eq!((reserved(6), reserved(254), reserved(65534), reserved(1 << 40)), (0, 16, 256, 256));
    }
    #[test]
    fn addresses_come_from_what_is_ready_and_belong_to_all() {
        let object = |name: &str, cidr: &str, deleted: bool, ready: Option<&str>| {
            let mut object = json!({ "metadata": { "name": name }, "spec": { "cidrs": [cidr] } });
            if deleted {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            if let Some(status) = ready {
                object["status"] = json!({ "conditions": [{ "type": "Ready", "status": status }] });
            }
            Arc::new(object)
        };
        let objects = [
            object("kubernetes", "10.0.0.0/24", true, Some("True")),
            object("a", "10.0.1.0/24", false, None),
            object("b", "10.0.2.0/24", false, Some("True")),
            object("c", "10.0.3.0/24", false, Some("False")),
            object("d", "fd00::/120", false, None),
            object("e", "fd00::/48", false, None),
        ];
        let ranges = Ranges::from(&objects);
        let open = |family| ranges.open(family).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!((open("IPv4").as_str(), open("IPv6").as_str()), ("10.0.1.0/24 10.0.2.0/24", "fd00::/120"));
        // One that people add does not give the cluster another family.
        assert_eq!((ranges.families(), ranges.default_family(), ranges.has("IPv6")), (1, "IPv4", false));
        let contain = |ip: &str| ranges.contain(&ip.parse().expect("an address"));
        assert_eq!(
            ["10.0.0.7", "10.0.3.7", "10.0.4.7", "10.0.0.0", "10.0.0.255"].map(contain),
            [true, true, false, false, false]
        );
        assert_eq!(Ranges::from(&objects[4..]).default_family(), "IPv6");
    }
}
