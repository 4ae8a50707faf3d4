use serde_json::json;

use super::bindings::{Bindings, parse};
use super::definitions::Definitions;
use super::{facts, sources, table};

const MESSAGES: &str = r#"
/// A volume.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Volume {
    #[prost(string, optional, tag = "1")]
    pub name: ::core::option::Option<::prost::alloc::string::String>,
    #[prost(message, optional, tag = "2")]
    pub volume_source: ::core::option::Option<VolumeSource>,
}
pub struct VolumeSource {
    #[prost(message, optional, tag = "3")]
    pub empty_dir: ::core::option::Option<EmptyDirVolumeSource>,
    #[prost(string, repeated, tag = "4")]
    pub r#type: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
}
"#;

fn made() -> table::Table {
    let mut bindings = Bindings::new();
    parse("api/core/v1", MESSAGES, &mut bindings);
    let definitions: Definitions = serde_json::from_value(json!({
        "io.k8s.api.core.v1.EmptyDirVolumeSource": {"properties": {"sizeLimit": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.api.resource.Quantity"}}},
        "io.k8s.api.core.v1.Volume": {"required": ["name"], "properties": {
            "emptyDir": {"$ref": "#/$defs/io.k8s.api.core.v1.EmptyDirVolumeSource"},
            "name": {"type": ["string", "null"]},
            "type": {"type": ["array", "null"], "items": {"type": "string"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]},
        }},
    }))
    .unwrap();
    table::build(&definitions, &bindings).unwrap()
}

fn lines(table: &table::Table) -> Vec<String> {
    table.to_string().lines().filter(|l| !l.starts_with(['@', '#'])).map(str::to_owned).collect()
}

#[test]
fn inlined_structs_keep_their_place_and_number() {
    assert_eq!(
        lines(&made()),
        [
            "EmptyDirVolumeSource",
            " sizeLimit Q - *",
            "Volume",
            " name s 1 !=",
            " emptyDir EmptyDirVolumeSource 2/3 * in:VolumeSource",
            " type []s 2/4 list:map(a,b) in:VolumeSource",
        ]
    );
}

#[test]
fn facts_correct_and_add() {
    let mut table = made();
    facts::apply(&mut table, "@core.v1\n-EmptyDirVolumeSource\nVolume atomic\n order: type name emptyDir\n name -\n type s:v1.T 9 ! patch:merge(x)\nNew kind\n a i 1 *\n").unwrap();
    assert_eq!(
        lines(&table),
        [
            "New kind",
            " a i 1 *",
            "Volume atomic",
            " type s:v1.T 9 ! patch:merge(x)",
            " name s 1",
            " emptyDir EmptyDirVolumeSource 2/3 * in:VolumeSource",
        ]
    );
    assert!(facts::apply(&mut table, "@core.v1\nVolume\n order: name\n").is_err());
}

#[test]
fn the_committed_table_has_the_recorded_digest() {
    let table = std::fs::read(super::root().join(super::TABLE)).unwrap();
    assert_eq!(super::digest(&table), sources::recorded("table").unwrap());
}
