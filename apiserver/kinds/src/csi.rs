//! CSINodes: which volume drivers a node has, under which name they know it. A driver's entry does not change but for how
//! many volumes it takes. Follows `pkg/apis/storage/validation`.

use machinery::field::{ErrorList, Path};
use machinery::{meta, names};
use model::check::{Faults, Fields, same};
use serde_json::Value;

use super::checked::Checked;

const NODE_ID_MAX: usize = 256;

/// CSINodes.
pub fn nodes() -> Checked {
    Checked { object: node, update: unchanged }
}

fn node(node: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let drivers = node["spec"].list("drivers");
    for (i, driver) in drivers.iter().enumerate() {
        let at = Path::new("spec").child("drivers").index(i);
        let name = driver.text("name");
        errors.each(&at.child("name"), name, names::name_is_dns_subdomain(name, false));
        let id = driver.text("nodeID");
        if id.is_empty() {
            errors.required(&at.child("nodeID"), "");
        }
        if id.len() > NODE_ID_MAX {
            errors.invalid(&at.child("nodeID"), id, format!("must be {NODE_ID_MAX} characters or less"));
        }
        let count = driver.sub("allocatable").int("count").unwrap_or(0);
        errors.nonnegative(&at.child("allocatable").child("count"), count);
        if drivers[..i].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
        let keys: Vec<&str> = driver.texts("topologyKeys").collect();
        for (j, key) in keys.iter().copied().enumerate() {
            if key.is_empty() {
                errors.required(&at, "");
            }
            if keys[..j].contains(&key) {
                errors.duplicate(&at, key);
            }
            errors.each(&at, key, names::qualified_name(key));
        }
    }
    errors
}

fn unchanged(node: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|fields| fields.remove("allocatable"));
        driver
    };
    for before in old["spec"].list("drivers") {
        for driver in node["spec"].list("drivers").iter().filter(|d| d.text("name") == before.text("name")) {
            let (new, before) = (fixed(driver), fixed(before));
            if !same(Some(&new), Some(&before)) {
                let at = Path::new("spec").child("drivers");
                errors.extend(meta::validate_immutable(Some(&new), Some(&before), &at));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    #[test]
    fn drivers_have_a_name_and_an_id_once() {
        let of = |drivers: Value| json!({"spec": {"drivers": drivers}});
        let good = json!({"name": "d.example.com", "nodeID": "n", "topologyKeys": ["example.com/zone"]});
        assert_eq!(said(&node(&of(json!([good])))), [""; 0]);
        let bad =
            json!({"name": "d.example.com", "nodeID": "", "allocatable": {"count": -1}, "topologyKeys": ["a", "a"]});
        assert_eq!(
            said(&node(&of(json!([good, bad])))),
            [
                "spec.drivers[1].nodeID: Required value",
                "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.drivers[1].name: Duplicate value: "d.example.com""#,
                r#"spec.drivers[1]: Duplicate value: "a""#,
            ]
        );
    }

    #[test]
    fn a_driver_changes_in_how_many_volumes_it_takes_alone() {
        let of = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d", "nodeID": id, "allocatable": {"count": count}}]}});
        assert_eq!(said(&unchanged(&of("n", 2), &of("n", 1))), [""; 0]);
        assert!(said(&unchanged(&of("m", 1), &of("n", 1)))[0].ends_with("field is immutable"));
    }
}
