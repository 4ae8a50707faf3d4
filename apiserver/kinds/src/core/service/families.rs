//! IP families of a Service, worked out from what was asked and what the cluster has (`initIPFamilyFields`).

use std::net::IpAddr;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::status::StatusError;
use model::check::{Faults, same};
use serde_json::{Value, json};

use super::addresses::Ranges;
use super::{is_headless, refuse, validation};

/// `IPv4` or `IPv6`.
pub(super) fn family_of(ip: &str) -> &'static str {
    match machinery::names::parse_ip_sloppy(ip) {
        Some(IpAddr::V4(_)) => "IPv4",
        Some(IpAddr::V6(_)) => "IPv6",
        None => "unknown",
    }
}

/// Sets `ipFamilies` and `ipFamilyPolicy`.
pub(super) fn init(service: &mut Value, old: Option<&Value>, ranges: &Ranges) -> Result<(), StatusError> {
    let kind = service["spec"].text("type");
    if kind == "ExternalName" || unchanged_dual_stack(service, old) {
        return Ok(());
    }
    let headless_without_selector =
        service["spec"].text("clusterIP") == "None" && service["spec"].object("selector").is_none_or(|s| s.is_empty());
    if !service["spec"].has("ipFamilyPolicy") {
        let of_old = old.and_then(|o| o["spec"].sub("ipFamilyPolicy")).cloned();
        let default = if headless_without_selector { "RequireDualStack" } else { "SingleStack" };
        service["spec"]["ipFamilyPolicy"] = of_old.unwrap_or_else(|| default.into());
    }
    refuse(service, validation::cluster_ips(service, old))?;
    let single = service["spec"].text("ipFamilyPolicy") == "SingleStack";
    let mut errors = ErrorList::new();
    if let Some(old) = old {
        fewer(service, old, single, &mut errors);
    }
    let at = Path::new("spec");
    let policy = service["spec"].sub("ipFamilyPolicy").cloned();
    if single {
        for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if service["spec"].list(field).len() == 2 {
                let detail =
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.invalid(&at.child("ipFamilyPolicy"), policy.clone(), detail);
            }
        }
    }
    let mut families: Vec<String> = service["spec"].texts("ipFamilies").map(str::to_owned).collect();
    let ips = service["spec"].list("clusterIPs").to_vec();
    for (i, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
        if ip == "None" {
            break;
        }
        let family = family_of(ip);
        if i >= families.len() {
            if ranges.has(family) {
                families.push(family.to_owned());
            } else {
                let detail = format!("{family} is not configured on this cluster");
                errors.invalid(&at.child("clusterIPs").index(i), ips.clone(), detail);
            }
        }
    }
    refuse(service, std::mem::take(&mut errors))?;
    if families.is_empty() && headless_without_selector {
        families.push(ranges.default_family().to_owned());
    }
    let other = |family: &str| if family == "IPv4" { "IPv6" } else { "IPv4" }.to_owned();
    if headless_without_selector {
        if families.len() < 2 && !single {
            families.push(other(&families[0]));
        }
        service["spec"]["ipFamilies"] = json!(families);
        return Ok(());
    }
    if service["spec"].text("ipFamilyPolicy") == "RequireDualStack" && ranges.families() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.invalid(&at.child("ipFamilyPolicy"), policy, detail);
    }
    for (i, family) in families.iter().enumerate().filter(|(_, f)| !ranges.has(f)) {
        errors.invalid(&at.child("ipFamilies").index(i), family.as_str(), "not configured on this cluster");
    }
    refuse(service, errors)?;
    if families.is_empty() {
        families.push(ranges.default_family().to_owned());
    }
    if !single && families.len() == 1 && ranges.families() == 2 {
        families.push(other(&families[0]));
    }
    service["spec"]["ipFamilies"] = json!(families);
    Ok(())
}

// An update that gives up the second address says so by the policy alone.
fn fewer(service: &mut Value, old: &Value, single: bool, errors: &mut ErrorList) {
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, before) = (service["spec"].list(field).len(), old["spec"].list(field).len());
        if single {
            if new > 1 && same(service["spec"].sub(field), old["spec"].sub(field)) && !is_headless(service) {
                let first = service["spec"].list(field)[..1].to_vec();
                service["spec"][field] = first.into();
            }
        } else if new > 0 && new < before {
            let policy = service["spec"].sub("ipFamilyPolicy").cloned();
            let detail = format!("must be 'SingleStack' to release the secondary {what}");
            errors.invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, detail);
        }
    }
}

fn unchanged_dual_stack(service: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let (new, old) = (&service["spec"], &old["spec"]);
    new.text("type") == old.text("type")
        && new.text("ipFamilyPolicy") == "PreferDualStack"
        && matches!(old.text("ipFamilyPolicy"), "" | "PreferDualStack")
        && same(new.sub("clusterIPs"), old.sub("clusterIPs"))
        && same(new.sub("ipFamilies"), old.sub("ipFamilies"))
}
