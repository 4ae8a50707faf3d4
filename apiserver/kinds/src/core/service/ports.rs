//! Node ports: one bitmap under `/registry/ranges/servicenodeports`, changed by compare-and-swap, so that two writers
//! cannot take one port (`pkg/registry/core/service/portallocator`).

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use api::stored::{self, Form};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use machinery::field::{ErrorList, Path};
use machinery::gvk::GroupVersionKind;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::check::Faults;
use model::store::unavailable;
use rand::RngExt;
use serde_json::{Value, json};
use storage::{Expect, Outcome, Storage};
use writes::allocation::{Allocation, Release};
use writes::strategy::WriteContext;

use super::{needs_health_check_port, refuse};

const KEY: &str = "/registry/ranges/servicenodeports";
const TRIES: usize = 100;

static RANGE: OnceLock<RangeInclusive<u16>> = OnceLock::new();

/// Sets the range of node ports of this process (`--service-node-port-range`), before the first Service is written.
/// Says whether it was not set before.
pub fn set_node_port_range(range: RangeInclusive<u16>) -> bool {
    RANGE.set(range).is_ok()
}

/// The range of node ports.
pub(super) fn range() -> RangeInclusive<u16> {
    RANGE.get().cloned().unwrap_or(30000..=32767)
}

/// A set of ports as upstream writes it: the bytes of a big-endian number whose bits count from the range's first port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bitmap(Vec<u8>);

impl Bitmap {
    pub(super) fn has(&self, bit: usize) -> bool {
        self.0.len().checked_sub(bit / 8 + 1).is_some_and(|i| self.0[i] & (1 << (bit % 8)) != 0)
    }

    pub(super) fn set(&mut self, bit: usize, on: bool) {
        let byte = bit / 8;
        while self.0.len() <= byte {
            self.0.insert(0, 0);
        }
        let at = self.0.len() - 1 - byte;
        if on {
            self.0[at] |= 1 << (bit % 8)
        } else {
            self.0[at] &= !(1 << (bit % 8))
        }
        let leading = self.0.iter().take_while(|b| **b == 0).count();
        self.0.drain(..leading);
    }
}

/// Why a port cannot be had.
enum Refusal {
    Taken,
    OutOfRange,
}

impl Refusal {
    fn words(&self) -> String {
        match self {
            Refusal::Taken => "provided port is already allocated".to_owned(),
            Refusal::OutOfRange => {
                let (first, last) = (range().start().to_owned(), range().end().to_owned());
                format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
            }
        }
    }
}

/// All ports that a Service holds. (One of a type without node ports may still carry numbers, until they are dropped.)
pub(super) fn held(service: &Value) -> Vec<u16> {
    let spec = &service["spec"];
    if !matches!(spec.text("type"), "NodePort" | "LoadBalancer") {
        return Vec::new();
    }
    let health = spec.int("healthCheckNodePort").filter(|_| needs_health_check_port(service));
    let ports = spec.list("ports").iter().filter_map(|p| p.int("nodePort")).chain(health);
    let mut out: Vec<u16> = ports.filter(|p| *p != 0).filter_map(|p| p.try_into().ok()).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Takes the ports that the Service asks for or needs, and writes them into it.
pub(super) async fn allocate(
    cx: &WriteContext<'_>,
    service: &mut Value,
    old: Option<&Value>,
    allocation: &mut Allocation,
) -> Result<(), StatusError> {
    let kind = service["spec"].text("type").to_owned();
    let wants = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if !wants {
        return Ok(());
    }
    let own = old.map(held).unwrap_or_default();
    let storage = cx.registry.storage();
    for _ in 0..TRIES {
        let (found, _) = storage.get(KEY).await.map_err(unavailable)?;
        let mut bitmap = found.as_ref().map(|kv| parse(&kv.value)).transpose()?.unwrap_or_default();
        let mut planned = service.clone();
        let taken = plan(&mut planned, &own, &mut bitmap)?;
        if taken.is_empty() || cx.dry_run {
            *service = planned;
            return Ok(());
        }
        let expect = found.map_or(Expect::Absent, |kv| Expect::ModRevision(kv.mod_revision));
        if let Outcome::Done { .. } =
            storage.put(KEY, render(&bitmap, storage.is_shared()), expect, None).await.map_err(unavailable)?
        {
            *service = planned;
            allocation.taken(releasing(storage, taken));
            return Ok(());
        }
    }
    Err(StatusError::internal("failed to allocate a nodePort: too many writers"))
}

// Which ports the Service gets, given those that are taken (but for its own).
fn plan(service: &mut Value, own: &[u16], bitmap: &mut Bitmap) -> Result<Vec<u16>, StatusError> {
    let mut taken: Vec<u16> = Vec::new();
    let allocates = service["spec"].text("type") == "NodePort"
        || service["spec"].flag("allocateLoadBalancerNodePorts") != Some(false);
    let count = service["spec"].list("ports").len();
    for i in 0..count {
        let port = &service["spec"]["ports"][i];
        let (number, asked) = (port.int("port"), port.int("nodePort").unwrap_or(0));
        if asked == 0 && !allocates {
            continue;
        }
        // Ports of one number and several protocols share a node port.
        let shared = service["spec"].list("ports").iter().enumerate().find_map(|(j, p)| {
            let node = p.int("nodePort").unwrap_or(0);
            let fits = j != i && p.int("port") == number && node != 0 && p.text("protocol") != port.text("protocol");
            fits.then_some(node)
        });
        let wanted = if asked != 0 { Some(asked) } else { shared };
        let node = match wanted {
            Some(wanted) => {
                let node = u16::try_from(wanted).unwrap_or(0);
                if !own.contains(&node) && !taken.contains(&node) {
                    if let Err(refusal) = claim(bitmap, node) {
                        let mut errors = ErrorList::new();
                        let at = Path::new("spec").child("ports").index(i).child("nodePort");
                        errors.invalid(&at, wanted, refusal.words());
                        refuse(service, errors)?;
                    }
                    taken.push(node);
                }
                node
            }
            None => {
                let node =
                    any(bitmap).ok_or_else(|| StatusError::internal("failed to allocate a nodePort: range is full"))?;
                taken.push(node);
                node
            }
        };
        service["spec"]["ports"][i]["nodePort"] = node.into();
    }
    if needs_health_check_port(service) {
        let asked = service["spec"].int("healthCheckNodePort").unwrap_or(0);
        let node = u16::try_from(asked).unwrap_or(0);
        if asked == 0 {
            let node = any(bitmap)
                .ok_or_else(|| StatusError::internal("failed to allocate a HealthCheck NodePort 0: range is full"))?;
            taken.push(node);
            service["spec"]["healthCheckNodePort"] = node.into();
        } else if !own.contains(&node) && !taken.contains(&node) {
            claim(bitmap, node).map_err(|refusal| {
                let why = refusal.words();
                StatusError::internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
            })?;
            taken.push(node);
        }
    }
    Ok(taken)
}

fn claim(bitmap: &mut Bitmap, port: u16) -> Result<(), Refusal> {
    let range = range();
    if !range.contains(&port) {
        return Err(Refusal::OutOfRange);
    }
    let bit = usize::from(port - range.start());
    if bitmap.has(bit) {
        return Err(Refusal::Taken);
    }
    bitmap.set(bit, true);
    Ok(())
}

// A free port: of the upper part at random, of the part left to those who ask by number only then.
fn any(bitmap: &mut Bitmap) -> Option<u16> {
    let range = range();
    let size = usize::from(range.end() - range.start()) + 1;
    let offset = if size < 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
    let upper = size - offset;
    let start = if upper == 0 { 0 } else { rand::rng().random_range(0..upper) };
    let bit = (0..upper).map(|i| offset + (start + i) % upper).chain(0..offset).find(|bit| !bitmap.has(*bit))?;
    bitmap.set(bit, true);
    u16::try_from(bit).ok().map(|bit| range.start() + bit)
}

fn parse(bytes: &[u8]) -> Result<Bitmap, StatusError> {
    let value = stored::read(bytes, &kind()).map_err(|e| {
        tracing::error!(error = %e, "the node port allocation in the store cannot be read");
        StatusError::internal("the node port allocation in the store cannot be read")
    })?;
    Ok(Bitmap(STANDARD.decode(value.text("data")).unwrap_or_default()))
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "RangeAllocation")
}

/// As upstream's servers keep it, where they may come to the same store.
fn render(bitmap: &Bitmap, shared: bool) -> Bytes {
    let range = range();
    let value = json!({
        "kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
        "range": format!("{}-{}", range.start(), range.end()),
        "data": STANDARD.encode(&bitmap.0),
    });
    let protobuf = shared.then(|| stored::write(&value, &kind(), &kind(), Form::Protobuf)).flatten();
    protobuf.map_or_else(|| value.to_string().into(), Bytes::from)
}

/// All node ports that are taken.
///
/// # Errors
/// The store does not answer, or has what cannot be read.
pub async fn taken(storage: &dyn Storage) -> Result<Vec<u16>, StatusError> {
    let (found, _) = storage.get(KEY).await.map_err(unavailable)?;
    let bitmap = found.as_ref().map(|kv| parse(&kv.value)).transpose()?.unwrap_or_default();
    let range = range();
    Ok(range.clone().filter(|port| bitmap.has(usize::from(port - range.start()))).collect())
}

/// Changes the bitmap in the store to what `make` makes of it, which may be called several times; unchanged, nothing is
/// written.
pub(super) async fn change(storage: &dyn Storage, mut make: impl FnMut(&Bitmap) -> Bitmap) -> Result<(), StatusError> {
    for _ in 0..TRIES {
        let (found, _) = storage.get(KEY).await.map_err(unavailable)?;
        let bitmap = found.as_ref().map(|kv| parse(&kv.value)).transpose()?.unwrap_or_default();
        let made = make(&bitmap);
        if made == bitmap {
            return Ok(());
        }
        let expect = found.map_or(Expect::Absent, |kv| Expect::ModRevision(kv.mod_revision));
        let put = storage.put(KEY, render(&made, storage.is_shared()), expect, None);
        if let Outcome::Done { .. } = put.await.map_err(unavailable)? {
            return Ok(());
        }
    }
    Err(StatusError::internal("unable to persist the updated port allocations: too many writers"))
}

/// What gives ports back, later.
pub(super) fn releasing(storage: &Arc<dyn Storage>, ports: Vec<u16>) -> Release {
    let storage = storage.clone();
    Box::new(move || Box::pin(async move { release(&*storage, ports).await }))
}

/// Gives ports back.
pub(super) async fn release(storage: &dyn Storage, ports: Vec<u16>) {
    if ports.is_empty() {
        return;
    }
    let range = range();
    let without = |bitmap: &Bitmap| {
        let mut bitmap = bitmap.clone();
        for port in ports.iter().filter(|port| range.contains(port)) {
            bitmap.set(usize::from(port - range.start()), false);
        }
        bitmap
    };
    if let Err(error) = change(storage, without).await {
        tracing::warn!(%error, "node ports could not be given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_big_numbers() {
        let mut bitmap = Bitmap::default();
        bitmap.set(0, true);
        bitmap.set(9, true);
        assert_eq!(bitmap.0, [0b10, 0b1]);
        assert!(bitmap.has(0) && bitmap.has(9) && !bitmap.has(1) && !bitmap.has(100));
        for shared in [false, true] {
            assert_eq!(parse(&render(&bitmap, shared)).expect("own writing"), bitmap);
        }
        bitmap.set(9, false);
        assert_eq!(bitmap.0, [1]);
    }

    #[test]
    fn plans() {
        let mut bitmap = Bitmap::default();
        let mut service = json!({"spec": {"type": "NodePort", "ports": [
            {"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 53, "protocol": "UDP"}, {"port": 80, "protocol": "TCP"}]}});
        let taken = plan(&mut service, &[], &mut bitmap).expect("free");
        assert_eq!(taken.len(), 2);
        assert_eq!(service["spec"]["ports"][1]["nodePort"], 30053);
        assert!(range().contains(&taken[1]) && taken[1] >= 30086);
        let error = plan(&mut service.clone(), &[], &mut bitmap).unwrap_err();
        assert!(
            error.message.ends_with("spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated"),
            "{error}"
        );
        assert!(plan(&mut service.clone(), &held(&service), &mut bitmap).expect("its own").is_empty());
        service["spec"]["ports"][0]["nodePort"] = json!(80);
        let error = plan(&mut service, &[], &mut bitmap).unwrap_err();
        assert!(error.message.contains("The range of valid ports is 30000-32767"), "{error}");
        for _ in 0..2766 {
            any(&mut bitmap).expect("one is left");
        }
        assert_eq!(any(&mut bitmap), None);
    }
}
