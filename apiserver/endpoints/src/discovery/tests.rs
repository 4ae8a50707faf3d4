//! Discovery as clients read it: forms, paths, and the order of versions.

use kinds::catalogue::rows;
use machinery::gvk::version_order;
use serde_json::Value;

use super::*;
use crate::sources::tests::built_in as all;

#[test]
fn the_catalogue_has_67_resources() {
    let mut names: Vec<(String, String)> =
        rows().iter().map(|r| (r.group.to_string(), r.resource.to_string())).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 67);
    for row in rows() {
        assert!(api::schema::of(&row.kind()).is_some(), "{} has no schema", row.kind());
        assert!(api::schema::of(&row.storage_version).is_some(), "{} has no stored schema", row.kind());
        for part in &row.subresources {
            assert!(api::schema::of(&part.kind).is_some(), "{} has no schema", part.kind);
        }
    }
}

#[test]
fn paths_that_are_not_there() {
    for path in ["/apis/nonesuch", "/apis/apps/v2", "/api/v2", "/apis/apps/v1/deployments", "/apis//v1"] {
        assert_eq!(document(&all(), path, "", "a:1"), None, "{path}");
    }
}

#[test]
fn the_accept_header_chooses_the_form() {
    let aggregated = |v: &str| format!("application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList");
    let form = |accept: &str| document(&all(), "/apis", accept, "a:1").unwrap().content_type;
    assert_eq!(form(""), "application/json");
    assert_eq!(form("*/*"), "application/json");
    assert_eq!(form(&format!("application/json,{}", aggregated("v2"))), "application/json");
    assert_eq!(form(&format!("{},{},application/json", aggregated("v2"), aggregated("v2beta1"))), aggregated("v2"));
    assert_eq!(form(&format!("{},application/json", aggregated("v2beta1"))), aggregated("v2beta1"));
    assert_eq!(form(&format!("{},application/json", aggregated("v9"))), "application/json");
    let document = document(&all(), "/api", &aggregated("v2"), "a:1").unwrap();
    assert_eq!(document.etag.unwrap().len(), 130);
    assert_eq!(serde_json::from_slice::<Value>(&document.body).unwrap()["items"][0]["versions"][0]["version"], "v1");
}

#[test]
fn versions_of_custom_groups_are_ordered() {
    let mut versions = ["v1alpha1", "foo", "v2", "v10", "v1beta2", "v1", "v3beta1"];
    versions.sort_by(|a, b| version_order(b).cmp(&version_order(a)).then(a.cmp(b)));
    assert_eq!(versions, ["v10", "v2", "v1", "v3beta1", "v1beta2", "v1alpha1", "foo"]);
}
