//! Where the bytes of a volume are: what each storage system must be told, by a PersistentVolume and (where the types
//! differ) by a pod.

use api::rules::Fact::{Between, Check, Form, Is, Missing, Needed, NotEmpty, Number, OneOf, Optional, Parsed};
use api::rules::Step::{Code, Field};
use api::rules::{Fact, Here, REQUIRED, Row, Step, of};
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use crate::core::pod::validation::volumes::no_backsteps;
use crate::storage_k8s::DRIVER;
use model::check::Faults;

const LABEL: Fact = Form(names::dns1123_label);
const SUBDOMAIN: Fact = Form(names::dns1123_subdomain);
const PARTITION: Fact = Number(partition);
const LUN: Fact = Between(0, 255);
const NO_BACKSTEPS: Fact = Parsed(|at, path| {
    let mut errors = ErrorList::new();
    no_backsteps(path, at, &mut errors);
    errors
});
/// A secret that must say where it is.
const SECRET: &[Step] = &[Field("name", &[REQUIRED]), Field("namespace", &[REQUIRED])];
const SECRET_NAME: &[Step] = &[Field("name", &[REQUIRED])];
/// The same, and its name is looked at.
const CHECKED_SECRET: &[Fact] = &[Is(&[Field("name", &[REQUIRED, SUBDOMAIN]), Field("namespace", &[REQUIRED, LABEL])])];

const GLUSTERFS: [Step; 2] = [Field("endpoints", &[REQUIRED]), Field("path", &[REQUIRED])];
const RBD: &[Step] = &[Field("monitors", &[REQUIRED]), Field("image", &[REQUIRED])];
const FLEX: &[Step] = &[Field("driver", &[REQUIRED]), Field("options", &[Check(flex_options)])];
const SCALE_IO: &[Step] =
    &[Field("gateway", &[REQUIRED]), Field("system", &[REQUIRED]), Field("volumeName", &[REQUIRED])];

/// The sources.
pub const ROWS: &[Row] = &[
    of(
        "core.v1",
        "HostPathVolumeSource",
        &[
            Field("path", &[Needed(""), NO_BACKSTEPS]),
            Field(
                "type",
                &[OneOf(&[
                    "",
                    "BlockDevice",
                    "CharDevice",
                    "Directory",
                    "DirectoryOrCreate",
                    "File",
                    "FileOrCreate",
                    "Socket",
                ])],
            ),
        ],
    ),
    of("core.v1", "GCEPersistentDiskVolumeSource", &[Field("pdName", &[REQUIRED]), Field("partition", &[PARTITION])]),
    of(
        "core.v1",
        "AWSElasticBlockStoreVolumeSource",
        &[Field("volumeID", &[REQUIRED]), Field("partition", &[PARTITION])],
    ),
    of("core.v1", "NFSVolumeSource", &[Field("server", &[REQUIRED]), Field("path", &[Missing(""), Parsed(absolute)])]),
    of("core.v1", "GlusterfsVolumeSource", &GLUSTERFS),
    of(
        "core.v1",
        "GlusterfsPersistentVolumeSource",
        &[
            Field("endpoints", &[REQUIRED]),
            Field("path", &[REQUIRED]),
            Field("endpointsNamespace", &[Parsed(endpoints_namespace)]),
        ],
    ),
    of("core.v1", "FlockerVolumeSource", &[Code(flocker)]),
    of("core.v1", "RBDVolumeSource", RBD),
    of("core.v1", "RBDPersistentVolumeSource", RBD),
    of("core.v1", "QuobyteVolumeSource", &[Code(quobyte), Field("volume", &[REQUIRED])]),
    of("core.v1", "CephFSVolumeSource", &[Field("monitors", &[REQUIRED])]),
    of("core.v1", "CephFSPersistentVolumeSource", &[Field("monitors", &[REQUIRED])]),
    of(
        "core.v1",
        "ISCSIVolumeSource",
        &[
            Field("targetPortal", &[REQUIRED]),
            Field("iqn", &[REQUIRED, Parsed(|at, iqn| initiator(at, iqn, KINDS))]),
            Field("lun", &[LUN]),
            Code(chap),
            Code(|here, errors| initiator_name(here, KINDS, errors)),
        ],
    ),
    of(
        "core.v1",
        "ISCSIPersistentVolumeSource",
        &[
            Field("targetPortal", &[REQUIRED]),
            Code(iscsi_session),
            Field("iqn", &[REQUIRED, Parsed(|at, iqn| initiator(at, iqn, VALID))]),
            Field("lun", &[LUN]),
            Code(chap),
            Field("secretRef", &[Is(SECRET_NAME)]),
            Code(|here, errors| initiator_name(here, VALID, errors)),
        ],
    ),
    of("core.v1", "CinderVolumeSource", &[Field("volumeID", &[REQUIRED]), Field("secretRef", &[Is(SECRET_NAME)])]),
    of("core.v1", "CinderPersistentVolumeSource", &[Field("volumeID", &[REQUIRED]), Field("secretRef", &[Is(SECRET)])]),
    of("core.v1", "FCVolumeSource", &[Code(fibre_channel)]),
    of("core.v1", "FlexVolumeSource", FLEX),
    of("core.v1", "FlexPersistentVolumeSource", FLEX),
    of("core.v1", "AzureFileVolumeSource", &[Field("secretName", &[REQUIRED]), Field("shareName", &[REQUIRED])]),
    of(
        "core.v1",
        "AzureFilePersistentVolumeSource",
        &[Field("secretName", &[REQUIRED]), Field("shareName", &[REQUIRED]), Field("secretNamespace", &[NotEmpty("")])],
    ),
    of("core.v1", "VsphereVirtualDiskVolumeSource", &[Field("volumePath", &[REQUIRED])]),
    of("core.v1", "PhotonPersistentDiskVolumeSource", &[Field("pdID", &[REQUIRED])]),
    of("core.v1", "PortworxVolumeSource", &[Field("volumeID", &[REQUIRED])]),
    of(
        "core.v1",
        "AzureDiskVolumeSource",
        &[
            Field("diskName", &[REQUIRED]),
            Field("diskURI", &[REQUIRED]),
            Field("cachingMode", &[OneOf(&["None", "ReadOnly", "ReadWrite"])]),
            Field("kind", &[OneOf(&["Dedicated", "Managed", "Shared"])]),
            Code(azure_uri),
        ],
    ),
    of("core.v1", "ScaleIOVolumeSource", SCALE_IO),
    of("core.v1", "ScaleIOPersistentVolumeSource", SCALE_IO),
    of("core.v1", "LocalVolumeSource", &[Field("path", &[REQUIRED, NO_BACKSTEPS])]),
    of(
        "core.v1",
        "StorageOSVolumeSource",
        &[
            Field("volumeName", &[REQUIRED, LABEL]),
            Field("volumeNamespace", &[Optional, LABEL]),
            Field("secretRef", &[Is(SECRET_NAME)]),
        ],
    ),
    of(
        "core.v1",
        "StorageOSPersistentVolumeSource",
        &[
            Field("volumeName", &[REQUIRED, LABEL]),
            Field("volumeNamespace", &[Optional, LABEL]),
            Field("secretRef", &[Is(SECRET)]),
        ],
    ),
    of(
        "core.v1",
        "CSIPersistentVolumeSource",
        &[
            Field("driver", &[REQUIRED, DRIVER]),
            Field("volumeHandle", &[REQUIRED]),
            Field("controllerPublishSecretRef", CHECKED_SECRET),
            Field("controllerExpandSecretRef", CHECKED_SECRET),
            Field("nodePublishSecretRef", CHECKED_SECRET),
            Field("nodeExpandSecretRef", CHECKED_SECRET),
        ],
    ),
];

fn partition(number: i64) -> Vec<String> {
    if (0..=255).contains(&number) { Vec::new() } else { vec![names::inclusive_range_error(1, 255)] }
}

fn one(at: &Path, value: &str, detail: &str) -> ErrorList {
    vec![Error::invalid(at, value, detail)]
}

fn absolute(at: &Path, path: &str) -> ErrorList {
    if path.starts_with('/') { ErrorList::new() } else { one(at, path, "must be an absolute path") }
}

fn endpoints_namespace(at: &Path, namespace: &str) -> ErrorList {
    if namespace.is_empty() {
        return one(at, namespace, "if the endpointnamespace is set, it must be a valid namespace name");
    }
    names::dns1123_label(namespace).into_iter().map(|m| Error::invalid(at, namespace, m)).collect()
}

fn flocker(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (name, uuid) = (here.value.text("datasetName"), here.value.text("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.required(&here.path(), "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(&here.path(), "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&here.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = here.value.text("registry");
    if registry.is_empty() {
        errors.required(&here.child("registry"), PAIRS);
    } else if here.value.text("tenant").len() >= 65 {
        errors.required(&here.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&here.child("registry"), registry, PAIRS);
        }
    }
}

/// Whether Go's `net.SplitHostPort` can split it.
fn is_host_and_port(pair: &str) -> bool {
    let host = match pair.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => {
                return port.starts_with(':') && !port[1..].contains([':', '[', ']']) && !host.contains('[');
            }
            None => return false,
        },
        None => pair.rsplit_once(':').map(|(host, _)| host),
    };
    host.is_some_and(|host| !host.contains([':', '[', ']'])) && !pair.contains(['[', ']'])
}

const KINDS: &str = "must be valid format starting with iqn, eui, or naa";
const VALID: &str = "must be valid format";

/// The name of an iSCSI initiator: by date and domain, or by number.
fn initiator(at: &Path, name: &str, other: &str) -> ErrorList {
    let alphanumeric =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric());
    // Any one character stands between the kind and the number.
    let number = |length: usize| {
        let mut rest = name.chars();
        rest.nth(3).is_some_and(|c| c != '\n') && alphanumeric(rest.as_str(), length)
    };
    let valid = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => number(16),
        Some("naa") => number(32),
        _ => return one(at, name, other),
    };
    if valid { ErrorList::new() } else { one(at, name, VALID) }
}

/// `iqn.yyyy-mm.reversed.domain:identifier`, somewhere to the end of the text.
fn is_iqn(name: &str) -> bool {
    let identifier = |text: &str| !text.is_empty() && !text.contains(|c: char| ",;*&$|\t\n\x0c\r ".contains(c));
    let is = |text: &str| -> Option<bool> {
        let rest = text.strip_prefix("iqn.")?;
        let date = rest.get(..8)?.as_bytes();
        let digits = |range: std::ops::Range<usize>| date[range].iter().all(u8::is_ascii_digit);
        if !(digits(0..4) && date[4] == b'-' && digits(5..7) && date[7] == b'.') {
            return Some(false);
        }
        let rest = &rest[8..];
        // The domain may be cut at any colon that it reaches.
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.')).unwrap_or(rest.len());
        Some(end > 0 && rest[end..].strip_prefix(':').is_some_and(identifier))
    };
    name.match_indices("iqn.").any(|(at, _)| is(&name[at..]) == Some(true))
}

/// Authentication needs a secret.
fn chap(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let asked = ["chapAuthDiscovery", "chapAuthSession"].iter().any(|field| here.value.flag(field) == Some(true));
    if asked && !here.value.has("secretRef") {
        errors.required(&here.child("secretRef"), "");
    }
}

/// The path is upstream's.
fn initiator_name(here: &Here<'_, '_>, other: &str, errors: &mut ErrorList) {
    if let Some(name) = here.value.sub("initiatorName").and_then(Value::as_str) {
        errors.extend(initiator(&here.child("initiatorname"), name, other));
    }
}

/// The initiator's name makes a session's, of the volume's name and the portal.
fn iscsi_session(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let portal = here.value.text("targetPortal");
    let volume = if here.root()["kind"] == "VolumeAttachment" { "" } else { machinery::meta::name(here.root()) };
    if here.value.has("initiatorName") && volume.len() + 1 + portal.len() > 64 {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.invalid(&here.child("targetportal"), portal, detail);
    }
}

fn fibre_channel(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (names, ids) = (here.value.list("targetWWNs"), here.value.list("wwids"));
    let at = here.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&at, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        errors.invalid(&at, names.to_vec(), "targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        match here.value.int("lun") {
            None => errors.required(&here.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.invalid(&here.child("lun"), lun, names::inclusive_range_error(0, 255));
            }
            Some(_) => {}
        }
    }
}

fn flex_options(here: &Here<'_, '_>, errors: &mut ErrorList) {
    for key in here.value.as_object().into_iter().flat_map(|map| map.keys()) {
        let namespace = format!(".{}", key.split_once('/').map_or(key.as_str(), |(n, _)| n).to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&here.path().key(key), key.as_str(), detail);
        }
    }
}

fn azure_uri(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let Some(kind) = here.value.sub("kind") else { return };
    let uri = here.value.text("diskURI");
    let (start, form) = if *kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !uri.starts_with(start) {
        errors.unsupported(&here.child("diskURI"), uri, &[form]);
    }
}
