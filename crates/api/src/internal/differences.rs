//! Where upstream's internal types are not v1's: names of fields that are no plain capitalization of their JSON names, orders,
//! and fields that stand in another struct. Types that no message shows whole (a Service's spec, say) are left out.

use std::borrow::Cow;

use serde_json::Value;

use crate::schema::{self, Field, Type};

/// What v1 has in the pod's spec, and the internal types at the head of its security context.
const IN_SECURITY_CONTEXT: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// Fields with another place: type, field, and the field that it follows.
const AFTER: [(&str, &str, &str); 7] = [
    ("PodSecurityContext", "fsGroupChangePolicy", "fsGroup"),
    ("PodSpec", "setHostnameAsFQDN", "subdomain"),
    ("PodSpec", "preemptionPolicy", "priority"),
    ("PodSpec", "overhead", "runtimeClassName"),
    ("Volume", "quobyte", "rbd"),
    ("PersistentVolumeSpec", "quobyte", "rbd"),
    ("PersistentVolumeSpec", "flexVolume", "iscsi"),
];

/// The first words of JSON names that Go writes in capitals.
const INITIALISMS: [(&str, &str); 37] = [
    ("api", "API"),
    ("aws", "AWS"),
    ("ca", "CA"),
    ("cel", "CEL"),
    ("cephfs", "CephFS"),
    ("cidr", "CIDR"),
    ("cidrs", "CIDRs"),
    ("csi", "CSI"),
    ("dns", "DNS"),
    ("fc", "FC"),
    ("fs", "FS"),
    ("gce", "GCE"),
    ("gid", "GID"),
    ("gmsa", "GMSA"),
    ("grpc", "GRPC"),
    ("http", "HTTP"),
    ("id", "ID"),
    ("ip", "IP"),
    ("ips", "IPs"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("json", "JSON"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("qos", "QOS"),
    ("rbd", "RBD"),
    ("se", "SE"),
    ("ssl", "SSL"),
    ("storageos", "StorageOS"),
    ("tcp", "TCP"),
    ("tls", "TLS"),
    ("ttl", "TTL"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("uri", "URI"),
    ("url", "URL"),
    ("wwids", "WWIDs"),
];

/// Fields with another name in Go: how the type's name begins, the JSON name, Go's.
const NAMES: [(&str, &str, &str); 20] = [
    ("AzureDisk", "diskURI", "DataDiskURI"),
    ("ContainerStatus", "lastState", "LastTerminationState"),
    ("DeviceAttribute", "bool", "BoolValue"),
    ("DeviceAttribute", "bools", "BoolValues"),
    ("DeviceAttribute", "int", "IntValue"),
    ("DeviceAttribute", "ints", "IntValues"),
    ("DeviceAttribute", "string", "StringValue"),
    ("DeviceAttribute", "strings", "StringValues"),
    ("DeviceAttribute", "version", "VersionValue"),
    ("DeviceAttribute", "versions", "VersionValues"),
    ("Event", "reportingComponent", "ReportingController"),
    ("GCEPersistentDisk", "pdName", "PDName"),
    ("Glusterfs", "endpoints", "EndpointsName"),
    ("ISCSI", "chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("ISCSI", "chapAuthSession", "SessionCHAPAuth"),
    ("NodeSpec", "externalID", "DoNotUseExternalID"),
    ("RBD", "image", "RBDImage"),
    ("RBD", "monitors", "CephMonitors"),
    ("RBD", "pool", "RBDPool"),
    ("RBD", "user", "RadosUser"),
];

/// An object of a v1 type with its fields where the internal type has them.
pub(super) fn placed<'v>(value: &'v Value, ty: &Type) -> Cow<'v, Value> {
    if ty.package.alias != "core.v1" || ty.name != "PodSpec" {
        return Cow::Borrowed(value);
    }
    let mut spec = value.clone();
    // Upstream's conversion makes a security context where there is none.
    let mut context = spec["securityContext"].take();
    for field in IN_SECURITY_CONTEXT {
        context[field] = spec[field].take();
    }
    spec["securityContext"] = context;
    Cow::Owned(spec)
}

/// The fields of the internal type in its order.
pub(super) fn fields(ty: &'static Type) -> Vec<&'static Field> {
    if ty.package.alias != "core.v1" {
        return ty.fields.iter().collect();
    }
    let mut fields: Vec<&Field> = match ty.name {
        "PodSpec" => ty
            .fields
            .iter()
            .filter(|field| field.name != "serviceAccount" && !IN_SECURITY_CONTEXT.contains(&field.name))
            .collect(),
        "PodSecurityContext" => {
            let spec = schema::named("core.v1", "PodSpec").expect("the table has pods");
            let moved = IN_SECURITY_CONTEXT.iter().filter_map(|name| spec.field(name));
            moved.chain(ty.fields).collect()
        }
        _ => ty.fields.iter().collect(),
    };
    let at = |fields: &[&Field], name: &str| fields.iter().position(|field| field.name == name);
    for (_, name, before) in AFTER.iter().filter(|(of, ..)| *of == ty.name) {
        if let Some(from) = at(&fields, name) {
            let field = fields.remove(from);
            let to = at(&fields, before).map_or(fields.len(), |before| before + 1);
            fields.insert(to, field);
        }
    }
    fields
}

/// The Go name of a type's field: `apiGroups` is `APIGroups`.
pub(super) fn go_name(ty: &Type, json: &str) -> String {
    if let Some((.., name)) = NAMES.iter().find(|(of, name, _)| *name == json && ty.name.starts_with(of)) {
        return (*name).to_owned();
    }
    let first = json.find(|c: char| c.is_ascii_uppercase()).unwrap_or(json.len());
    let (word, rest) = json.split_at(first);
    if let Some((_, capitals)) = INITIALISMS.iter().find(|(initialism, _)| *initialism == word) {
        return format!("{capitals}{rest}");
    }
    let mut letters = json.chars();
    letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}
