//! The forms of stored values, over every built-in kind.

use api::protobuf::Resident;
use ferry_apiserver_cache::Values;
use kinds::catalogue::rows;
use model::resource::Sort;

/// Upstream's servers have protobuf in etcd, but for what their extension servers keep.
#[test]
fn every_stored_kind_is_read_as_it_was_written() {
    let (shared, own) = (Values::new(true), Values::new(false));
    for row in rows().iter().filter(|row| matches!(row.sort, Sort::Stored { .. })) {
        let kind = row.storage_version.clone();
        let version = row.kind().version.clone();
        let api_version = row.api_version().replace(&version, &kind.version);
        let object =
            serde_json::json!({"kind": kind.kind, "apiVersion": api_version, "metadata": {"name": "a", "uid": "u"}});
        let written = model::encoding::canonicalise(row, &object.to_string().into()).expect("an object");
        assert_eq!(own.write(row, &written, None), written);
        let value = shared.write(row, &written, None);
        let json = ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&row.group.as_ref());
        assert_eq!(value.starts_with(api::protobuf::MAGIC), !json, "{}", row.resource);
        if let Some(resident) = Resident::of_json(&written) {
            assert_eq!(shared.write(row, &written, Some(&resident)), value, "{}", row.resource);
        }
        assert_eq!(shared.read(row, &value), Ok(written), "{}", row.resource);
    }
}
