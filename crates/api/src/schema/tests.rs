use machinery::gvk::GroupVersionKind;

use super::*;

#[test]
fn reads_quickly_and_whole() {
    let before = std::time::Instant::now();
    let table = parse::table(include_str!("table.txt"));
    let took = before.elapsed();
    assert!(table.types.len() > 500, "{} types", table.types.len());
    // 3 ms is the aim in a release build; a debug build on a busy machine gets more.
    assert!(took.as_millis() < 500, "{took:?}");
    object_meta();
    json_schema_props();
}

#[test]
fn fields_have_their_marks() {
    let spec = named("core.v1", "ServiceSpec").unwrap();
    let ports = spec.field("ports").unwrap();
    assert_eq!(ports.list, ListType::Map(&["port", "protocol"]));
    assert_eq!(ports.patch, Patch { merge: true, replace: false, retain_keys: false, merge_key: "port" });
    assert_eq!(ports.shape.object().unwrap().name, "ServicePort");
    assert!(spec.field("selector").unwrap().atomic);
    assert!(spec.field("nonesuch").is_none());

    let volume = named("core.v1", "Volume").unwrap();
    let empty_dir = volume.field("emptyDir").unwrap();
    assert_eq!((empty_dir.numbers, empty_dir.inlined, empty_dir.pointer), (&[2, 2][..], "VolumeSource", true));
    let volumes = named("core.v1", "PodSpec").unwrap().field("volumes").unwrap();
    assert_eq!(volumes.patch, Patch { merge: true, replace: false, retain_keys: true, merge_key: "name" });
}

#[test]
fn kinds_are_found_by_group_and_version() {
    let find = |g: &str, v: &str, k: &str| of(&GroupVersionKind::new(g, v, k)).map(Type::openapi_name);
    assert_eq!(find("apps", "v1", "Deployment").as_deref(), Some("io.k8s.api.apps.v1.Deployment"));
    assert_eq!(find("", "v1", "PodList").as_deref(), Some("io.k8s.api.core.v1.PodList"));
    assert_eq!(find("", "v1", "Status").as_deref(), Some("io.k8s.apimachinery.pkg.apis.meta.v1.Status"));
    assert_eq!(
        find("apps", "v1", "DeleteOptions").as_deref(),
        Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
    );
    assert_eq!(find("meta.k8s.io", "v1", "Table").as_deref(), Some("io.k8s.apimachinery.pkg.apis.meta.v1.Table"));
    assert_eq!(find("apps", "v1", "PodSpec"), None);
    assert_eq!(kind("", "v1", "PodList").unwrap().list_item().unwrap().name, "Pod");
}
