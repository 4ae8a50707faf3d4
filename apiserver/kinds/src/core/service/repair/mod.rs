//! Repair of what Services hold: after a crash between the steps of a write, an address or a port may be taken by nobody, or
//! held by a Service without being taken. Every three minutes, and before the server is ready, what is taken is compared
//! with what Services hold, and mended; what cannot be mended is told in Events. Follows
//! `ipallocator/controller/repairip.go` and `portallocator/controller/repair.go`.
//!
//! Upstream's address repair also runs at each change of a Service or an address; here only by the clock.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::status::StatusError;
use serde_json::{Value, json};
use writes::Registry;

mod addresses;
mod ports;

/// What a repair does, or tells.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Takes an address, for the Service that holds it.
    Create(Value),
    /// Gives an address back.
    Delete(String),
    /// Tells of it.
    Tell(Told),
}

/// What an Event says.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// Kind, namespace, name and uid of what it is about.
    about: Value,
    controller: &'static str,
    reason: &'static str,
    action: &'static str,
    note: String,
}

impl Told {
    fn of(object: &Value, kind: (&'static str, &'static str), reason: &'static str, note: String) -> Self {
        let ((api_version, kind), meta) = (kind, &object["metadata"]);
        let about = json!({
            "apiVersion": api_version, "kind": kind, "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"],
        });
        let (controller, action) = match reason {
            "PortNotAllocated" | "PortAlreadyAllocated" | "PortOutOfRange" => {
                ("portallocator-repair-controller", "PortAllocation")
            }
            "IPAddressNotAllocated" | "IPAddressWrongReference" => {
                ("ipallocator-repair-controller", "IPAddressAllocation")
            }
            "ClusterIPNotValid" => ("ipallocator-repair-controller", "ClusterIPValidation"),
            _ => ("ipallocator-repair-controller", "ClusterIPAllocation"),
        };
        Self { about, controller, reason, action, note }
    }
}

/// The repair, from one run to the next.
#[derive(Debug, Default)]
pub struct Repair {
    /// Ports that nobody held when they were last looked at, and how many more runs they stay taken: they may belong to a
    /// write that has not ended.
    leaks: HashMap<u16, u32>,
}

impl Repair {
    /// Compares and mends once.
    ///
    /// # Errors
    /// The store does not answer, or other writers were in the way: to be run again.
    pub async fn run(&mut self, registry: &Registry) -> Result<(), StatusError> {
        registry.feed().caught_up().await?;
        let services = registry.list(&GroupResource::new("", "services"), None);
        let ips = registry.list(&super::addresses::resource(), None);
        let ranges = super::addresses::Ranges::of(registry).await?;
        let now = jiff::Timestamp::now();
        for step in addresses::plan(&services, &ips, &ranges, now) {
            match step {
                Step::Create(object) => {
                    let created = registry.create(&super::addresses::resource(), None, object).await;
                    if let Err(error) = created
                        && !error.is_already_exists()
                    {
                        return Err(error);
                    }
                }
                Step::Delete(name) => {
                    let deleted = registry.delete(&super::addresses::resource(), None, &name).await;
                    if let Err(error) = deleted
                        && !error.is_not_found()
                    {
                        return Err(error);
                    }
                }
                Step::Tell(told) => tell(registry, told, now).await,
            }
        }
        for told in ports::repair(&services, registry.storage(), &mut self.leaks).await? {
            tell(registry, told, now).await;
        }
        Ok(())
    }
}

/// Writes an Event, or counts it where it was written before. What cannot be written is in the log.
async fn tell(registry: &Registry, told: Told, now: jiff::Timestamp) {
    let Told { about, controller, reason, action, note } = told;
    tracing::warn!(%about, reason, note, "a repair of what Services hold");
    let namespace =
        Some(about.text("namespace").to_owned()).filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
    let name = format!(
        "{}.{:08x}",
        about.text("name").to_owned(),
        fingerprint(&format!("{}{reason}{note}", about.text("uid").to_owned()))
    );
    let (time, events) = (machinery::time::rfc3339_micro(now), GroupResource::new("", "events"));
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": namespace },
        "involvedObject": about, "type": "Warning", "reason": reason, "action": action, "message": note,
        "eventTime": time, "reportingComponent": controller, "reportingInstance": controller,
    });
    let outcome = match registry.create(&events, Some(&namespace), event).await {
        Err(error) if error.is_already_exists() => {
            let again = &mut |old: &Value| {
                let mut event = old.clone();
                let count = event["series"]["count"].as_i64().unwrap_or(1) + 1;
                event["series"] = json!({ "count": count, "lastObservedTime": time });
                Ok(event)
            };
            registry.update(&events, Some(&namespace), &name, again).await
        }
        outcome => outcome,
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "an event of the repair of what Services hold could not be written");
    }
}

/// Tells events of one object apart (FNV-1a).
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The Services of a test.
#[cfg(test)]
fn service(name: &str, spec: Value) -> Arc<Value> {
    let meta = json!({ "name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z" });
    Arc::new(json!({ "metadata": meta, "spec": spec }))
}

/// All Services.
type Services = [Arc<Value>];
