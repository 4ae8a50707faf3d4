//! The table: read quickly, whole, and found by name.

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

#[test]
fn every_field_is_found_by_its_name_and_nothing_else_is() {
    for ty in all() {
        for (position, field) in ty.fields.iter().enumerate() {
            assert_eq!(ty.field_index(field.name), Some(position), "{} {}", ty.name, field.name);
            let longer = format!("{}s", field.name);
            assert_eq!(ty.field(&longer).map(|f| f.name), ty.fields.iter().map(|f| f.name).find(|n| *n == longer));
        }
        assert_eq!((ty.field_index(""), ty.field_index("x")), (None, ty.fields.iter().position(|f| f.name == "x")));
    }
    let pod = serde_json::json!({"spec": {}, "nonesuch": 1, "metadata": {"name": "a"}});
    let ty = named("core.v1", "Pod").unwrap();
    let members = ty.members(pod.as_object().unwrap());
    let found: Vec<_> = ty.fields.iter().zip(members).filter_map(|(f, value)| Some((f.name, value?))).collect();
    assert_eq!(found, [("metadata", &pod["metadata"]), ("spec", &pod["spec"])]);
}
