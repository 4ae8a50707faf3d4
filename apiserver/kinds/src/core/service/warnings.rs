//! Warnings about a Service that is nevertheless accepted (`pkg/api/service/warnings.go`).

use machinery::field::Path;
use machinery::json::Fields;
use machinery::{go, meta, names};
use serde_json::Value;

use super::is_headless;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// In upstream's order.
pub fn of(service: &Value) -> Vec<String> {
    let (at, spec, mut out) = (Path::new("spec"), &service["spec"], Vec::new());
    let (headless, external) = (is_headless(service), spec.text("type") == "ExternalName");
    if meta::annotation(service, HINTS).is_some() {
        out.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    if !headless && !external {
        for (i, ip) in spec.texts("clusterIPs").enumerate() {
            out.extend(names::ip_warnings(&at.child("clusterIPs").index(i), ip));
        }
    }
    // Before allocation `clusterIP` alone may say so.
    let headless = !external && (headless || spec.text("clusterIP") == "None");
    let externals = spec.list("externalIPs");
    if headless {
        for (there, field) in [
            (!spec.text("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (!externals.is_empty(), "externalIPs"),
            (spec.text("sessionAffinity") == "ClientIP", "SessionAffinity"),
        ] {
            out.extend(there.then(|| format!("spec.{field} is ignored for headless services")));
        }
    }
    for (i, ip) in spec.texts("externalIPs").enumerate() {
        out.extend(names::ip_warnings(&at.child("externalIPs").index(i), ip));
    }
    if !externals.is_empty() && !headless && !external {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !spec.text("loadBalancerIP").is_empty() {
        out.extend(names::ip_warnings(&at.child("loadBalancerIP"), spec.text("loadBalancerIP")));
    }
    for (i, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        out.extend(names::cidr_warnings(&at.child("loadBalancerSourceRanges").index(i), range));
    }
    let kind = go::quote("ExternalName");
    if external && !externals.is_empty() {
        out.push(format!("spec.externalIPs is ignored when spec.type is {kind}"));
    }
    if !external && !spec.text("externalName").is_empty() {
        out.push(format!("spec.externalName is ignored when spec.type is not {kind}"));
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        let (old, new) = (go::quote("PreferClose"), go::quote("PreferSameZone"));
        out.push(format!("spec.trafficDistribution: {old} is deprecated; use {new}"));
    }
    out
}
