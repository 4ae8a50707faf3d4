//! What the kernel must be told besides: to forward packets. Where it can't be told (in a container), it may have been told
//! by somebody else, and otherwise it is said.

use std::fs;
use std::path::Path;

use ipnet::IpNet;

const IPV4: &str = "/proc/sys/net/ipv4";
const IPV6: &str = "/proc/sys/net/ipv6";

/// Has packets of the families of those ranges forwarded; what could not be done.
pub fn forward(ranges: &[IpNet]) -> Vec<String> {
    let mut faults = Vec::new();
    if ranges.iter().any(|range| range.addr().is_ipv4()) {
        faults.extend(set(&format!("{IPV4}/ip_forward"), "1"));
    }
    if ranges.iter().any(|range| range.addr().is_ipv6()) {
        keep_advertised_routes();
        faults.extend(set(&format!("{IPV6}/conf/all/forwarding"), "1"));
    }
    faults
}

/// A machine that forwards takes no more routers' advertisements, and would lose its default route, unless its links say that
/// it takes them nevertheless.
fn keep_advertised_routes() {
    for link in fs::read_dir(format!("{IPV6}/conf")).into_iter().flatten().flatten() {
        let file = link.path().join("accept_ra");
        if fs::read_to_string(&file).is_ok_and(|text| text.trim() == "1") {
            let _ = fs::write(file, "2");
        }
    }
}

/// The tunnel's device takes packets whose answers would go another way: a node that is on a link for one side may not be on
/// one for the other.
pub fn loose(device: &str) {
    let _ = fs::write(format!("{IPV4}/conf/{device}/rp_filter"), "2");
}

fn set(file: &str, value: &str) -> Option<String> {
    let is = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let path = Path::new(file);
    if is(path) || fs::write(path, value).is_ok() || is(path) {
        return None;
    }
    Some(format!("cannot write {value} to {file}: pods may not reach other hosts"))
}
