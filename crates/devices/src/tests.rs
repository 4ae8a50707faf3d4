//! Upstream's allocator tests (`structured/internal/allocatortesting`), with all features that are on by default, and the
//! answers and numbers of steps of its incubating allocator. A case is a line of `tests/allocator.jsonl`, in short forms
//! that are written out here.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{NodeSelector, NodeSelectorTerm},
    resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice},
};
use serde_json::{Map, Value, json};

use crate::{Allocated, Allocator, Failure, Inventory, Node, selector::Selectors};

const CASES: &str = include_str!("../tests/allocator.jsonl");
const SHARE: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

/// A node with labels, of which selectors ask with `In` alone.
struct Labeled {
    name: String,
    labels: BTreeMap<&'static str, String>,
}

impl Node for Labeled {
    fn name(&self) -> &str {
        &self.name
    }

    fn matches(&self, selector: &NodeSelector) -> Result<bool, String> {
        let is = |key: &str, values: &Option<Vec<String>>| {
            let value = if key == "metadata.name" { Some(&self.name) } else { self.labels.get(key) };
            value.is_some_and(|value| values.iter().flatten().any(|v| v == value))
        };
        let term = |term: &NodeSelectorTerm| {
            let all = term.match_fields.iter().flatten().chain(term.match_expressions.iter().flatten());
            all.into_iter().all(|r| r.operator == "In" && is(&r.key, &r.values))
        };
        Ok(selector.node_selector_terms.iter().any(term))
    }
}

fn list(of: &Value) -> Vec<Value> {
    of.as_array().cloned().unwrap_or_default()
}

fn words(of: &Value) -> Vec<&str> {
    of.as_str().unwrap_or_default().split([' ', '/']).collect()
}

/// Takes the name out of an object's fields; what is left is its spec.
fn named(object: &Value) -> (Value, Map<String, Value>) {
    let mut spec = object.as_object().cloned().unwrap_or_default();
    (spec.remove("name").unwrap_or_default(), spec)
}

/// `class driver`, or a whole class.
fn class(short: &Value) -> DeviceClass {
    let written = match words(short)[..] {
        [name, driver] => json!({"metadata": {"name": name}, "spec": {"selectors": [
            {"cel": {"expression": format!("device.driver == {driver:?}")}},
        ]}}),
        _ => short.clone(),
    };
    serde_json::from_value(written).unwrap()
}

/// A pool is `name`, or `name generation slices`; a device without anything is its name.
fn slice(short: &Value) -> ResourceSlice {
    let (name, mut spec) = named(short);
    let pool = match words(&spec["pool"])[..] {
        [pool, generation, slices] => {
            json!({"name": pool, "generation": generation.parse::<i64>().unwrap(),
            "resourceSliceCount": slices.parse::<i64>().unwrap()})
        }
        _ => json!({"name": spec["pool"], "generation": 1, "resourceSliceCount": 1}),
    };
    spec["pool"] = pool;
    if let Some(devices) = spec.get_mut("devices").and_then(Value::as_array_mut) {
        devices.iter_mut().filter(|d| d.is_string()).for_each(|device| *device = json!({"name": device}));
    }
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// One device, unless something else is said; a selector is an expression.
fn form(short: &Value) -> Value {
    let mut form = short.clone();
    let of = form.as_object_mut().unwrap();
    if !of.contains_key("allocationMode") {
        of.insert("allocationMode".into(), json!("ExactCount"));
        of.entry("count").or_insert(json!(1));
    }
    for selector in of.get_mut("selectors").and_then(Value::as_array_mut).into_iter().flatten() {
        if selector.is_string() {
            *selector = json!({"cel": {"expression": selector}});
        }
    }
    form
}

fn request(short: &Value) -> Value {
    let (name, exactly) = named(short);
    match exactly.get("firstAvailable") {
        Some(alternatives) => {
            json!({"name": name, "firstAvailable": list(alternatives).iter().map(form).collect::<Vec<_>>()})
        }
        None => {
            let mut exactly = form(&Value::Object(exactly));
            if exactly["deviceClassName"].is_null() {
                exactly["deviceClassName"] = json!("");
            }
            json!({"name": name, "exactly": exactly})
        }
    }
}

fn claim(short: &Value) -> Arc<ResourceClaim> {
    let (name, mut devices) = named(short);
    if let Some(requests) = devices.get_mut("requests") {
        *requests = list(requests).iter().map(request).collect();
    }
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"devices": devices}})).unwrap())
}

/// `request driver/pool/device`, or a whole result; `local`: on this node.
fn want(short: &Value, node: &str) -> Value {
    let result = |short: &Value| match words(short)[..] {
        [.., driver, pool, device] => {
            let request = short.as_str().unwrap_or_default().split(' ').next();
            json!({"request": request, "driver": driver, "pool": pool, "device": device})
        }
        _ => short.clone(),
    };
    let mut devices = json!({"results": list(&short["devices"]).iter().map(result).collect::<Vec<_>>()});
    if !short["config"].is_null() {
        devices["config"] = short["config"].clone();
    }
    let mut want = json!({"devices": devices});
    if !short["nodeSelector"].is_null() {
        want["nodeSelector"] = short["nodeSelector"].clone();
    }
    if short["local"] == true {
        let name = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        want["nodeSelector"] = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
    }
    want
}

/// Whole devices, and what is consumed of shared ones.
fn allocated(case: &Value) -> Allocated {
    let result = |id: &str| match id.split('/').collect::<Vec<_>>()[..] {
        [driver, pool, device] => json!({"request": "r", "driver": driver, "pool": pool, "device": device}),
        _ => panic!("no device: {id}"),
    };
    let mut results: Vec<Value> = list(&case["taken"]).iter().map(|id| result(id.as_str().unwrap())).collect();
    for (id, consumed) in case["capacity"].as_object().into_iter().flatten() {
        let mut share = result(id);
        share["shareID"] = json!(SHARE);
        share["consumedCapacity"] = consumed.clone();
        results.push(share);
    }
    let allocation: AllocationResult = serde_json::from_value(json!({"devices": {"results": results}})).unwrap();
    let mut allocated = Allocated::default();
    // Once more than there are, and once less: nothing of it stays.
    allocated.add(&allocation);
    allocated.add(&allocation);
    allocated.remove(&allocation);
    allocated
}

/// The answer with its errors as text, and the number of steps.
fn run(case: &Value) -> (Result<Option<Value>, Failure>, u64, String) {
    let mut node = words(&case["node"]);
    if case["node"].is_null() {
        node = vec!["node-1", "region-1"];
    }
    let labels = BTreeMap::from([("planet", "earth".to_owned()), ("region", node[1].to_owned())]);
    let node = Labeled { name: node[0].to_owned(), labels };
    let classes: Vec<Arc<DeviceClass>> = list(&case["classes"]).iter().map(class).map(Arc::new).collect();
    let mut inventory = Inventory::default();
    list(&case["slices"]).iter().map(slice).for_each(|slice| inventory.insert(&slice));
    let claims: Vec<_> = list(&case["claims"]).iter().map(claim).collect();
    let allocator = Allocator {
        inventory: &inventory,
        allocated: &allocated(case),
        classes: &|name| classes.iter().find(|c| c.metadata.name.as_deref() == Some(name)).cloned(),
        selectors: &Selectors::default(),
        share_id: &|| SHARE.to_owned(),
        expired: &|| None,
    };
    let (result, steps) = allocator.allocate_counting(&node, &claims);
    (result.map(|answer| answer.map(|answer| serde_json::to_value(answer).unwrap())), steps, node.name)
}

#[test]
fn the_answers_are_upstreams() {
    let (mut failed, mut cases) = (vec![], 0);
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (got, steps, node) = run(&case);
        let expected = match &case["error"] {
            Value::String(why) => Err(why.as_str()),
            _ => Ok(case["want"].as_array().map(|all| all.iter().map(|short| want(short, &node)).collect::<Value>())),
        };
        let same = match (&got, &expected) {
            (Ok(got), Ok(expected)) => got == expected && json!(steps) == case["steps"],
            (Err(got), Err(expected)) => *expected == got.to_string(),
            _ => false,
        };
        if !same {
            failed
                .push(format!("{}: got {got:?} in {steps} steps, not {expected:?} in {}", case["name"], case["steps"]));
        }
        cases += 1;
    }
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    assert!(cases > 150, "{cases}");
}

/// Upstream's `cel/compile_test.go`: an expression about a device of the driver `dra.example.com` with an attribute `name`
/// and a capacity `memory`.
#[test]
fn expressions_see_a_device_by_domains() {
    let selects = |expression: &str, attribute: Value| -> Result<bool, String> {
        let device = json!({"name": "d", "attributes": {"name": attribute, "other.example.com/name": {"bool": true}},
            "capacity": {"memory": {"value": "1Mi"}}, "allowMultipleAllocations": true});
        let slice =
            json!({"name": "s", "driver": "dra.example.com", "pool": "p", "allNodes": true, "devices": [device]});
        let class = json!({"metadata": {"name": "k"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}});
        let claim = json!({"name": "c", "requests": [{"name": "r", "deviceClassName": "k"}]});
        let (got, ..) = run(&json!({"classes": [class], "slices": [slice], "claims": [claim]}));
        got.map(|answer| answer.is_some()).map_err(|failure| failure.to_string())
    };
    let yes = json!({"bool": true});
    for (expression, attribute, want) in [
        ("true", &yes, true),
        ("false", &yes, false),
        (r#""no-such-domain" in device.attributes"#, &yes, false),
        (r#""dra.example.com" in device.attributes"#, &yes, true),
        (r#""name" in device.attributes["no-such-domain"]"#, &yes, false),
        (r#"has(device.attributes["dra.example.com"].name)"#, &yes, true),
        (r#"has(device.attributes["dra.example.com"].other)"#, &yes, false),
        (r#"device.driver == "dra.example.com""#, &yes, true),
        (r#"device.attributes["dra.example.com"].name"#, &yes, true),
        (r#"device.attributes["dra.example.com"]["name"]"#, &yes, true),
        (r#"device.attributes["other.example.com"].name"#, &yes, true),
        (r#"cel.bind(dra, device.attributes["dra.example.com"], dra.name)"#, &yes, true),
        (r#"device.attributes["dra.example.com"].name > 0"#, &json!({"int": 1}), true),
        (r#"device.attributes["dra.example.com"].name == "fish""#, &json!({"string": "fish"}), true),
        (
            r#"device.attributes["dra.example.com"].name.isGreaterThan(semver("0.0.1"))"#,
            &json!({"version": "1.0.0"}),
            true,
        ),
        (
            r#"device.attributes["dra.example.com"].name.isLessThan(semver("1.0.0"))"#,
            &json!({"version": "1.0.0-rc.1"}),
            true,
        ),
        (r#"device.capacity["dra.example.com"].memory.isGreaterThan(quantity("1Ki"))"#, &yes, true),
        (r#"device.capacity["dra.example.com"].memory.compareTo(quantity("1024Ki")) == 0"#, &yes, true),
        ("device.allowMultipleAllocations", &yes, true),
    ] {
        assert_eq!(selects(expression, attribute.clone()), Ok(want), "{expression}");
    }
    for (expression, attribute, want) in [
        (
            r#"device.attributes["no-such-domain"].no.isGreaterThan(quantity("0"))"#,
            &yes,
            "CEL runtime error: no such key: no",
        ),
        (
            r#"device.attributes["dra.example.com"].name"#,
            &json!({"ints": [1]}),
            "CEL runtime error: attribute name: unsupported attribute value",
        ),
        (
            r#"device.attributes["dra.example.com"].name"#,
            &json!({"int": 1}),
            "CEL runtime error: CEL result of type int could not be converted to bool: unsupported type conversion from 'int' to bool",
        ),
        ("1", &yes, "CEL compile error: must evaluate to bool or the unknown type, not int"),
    ] {
        assert_eq!(
            selects(expression, attribute.clone()),
            Err(format!("class k: selector #0: {want}")),
            "{expression}"
        );
    }
    let refused = selects("no.such", yes.clone()).unwrap_err();
    assert!(refused.contains("compilation failed: ERROR: <input>:1:1: undeclared reference to 'no'"), "{refused}");
}

#[test]
fn a_search_can_be_given_up() {
    let inventory = Inventory::default();
    let allocator = Allocator {
        inventory: &inventory,
        allocated: &Allocated::default(),
        classes: &|_| None,
        selectors: &Selectors::default(),
        share_id: &String::new,
        expired: &|| Some("late".to_owned()),
    };
    let node = Labeled { name: "n".into(), labels: BTreeMap::new() };
    let aborted = Failure::Aborted("filter operation aborted: late".into());
    assert_eq!(allocator.allocate(&node, &[]), Err(aborted));
}
