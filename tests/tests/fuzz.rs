//! What clients send, mutated: every reader of it answers with a value or an error. None panics, takes long, or makes
//! much of little.
//!
//! Seeds are valid inputs of every kind in the catalogue; mutations are drawn from a seed that a failure prints. A run
//! takes a second for each target; `cargo xtask fuzz` takes a minute. Fuzzers by coverage need a nightly compiler.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use api::schema;
use machinery::patch::{json, merge};
use machinery::selector::{FieldSelector, LabelSelector};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use testkit::fixture;

/// The longest input.
const INPUT_BYTES: usize = 16 * 1024;
/// What an input of that length may take on a busy machine, in a debug build.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that one byte of input may become, and what an answer may have at any rate.
const GROWTH: usize = 64;
const AT_ANY_RATE_BYTES: usize = 64 * 1024;

/// Reads an input; the size of what it made of it.
type Reader = fn(&[u8]) -> usize;

fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn pod() -> &'static schema::Type {
    schema::of_object("v1", "Pod").expect("the table has Pod")
}

fn read_json(bytes: &[u8]) -> usize {
    machinery::json::from_slice(bytes).map_or(0, |document| size(&document.value))
}

fn read_yaml(bytes: &[u8]) -> usize {
    machinery::yaml::to_json(bytes).map_or(0, |value| size(&value))
}

fn read_pod(bytes: &[u8]) -> usize {
    api::decode::json(bytes, pod()).map_or(0, |decoded| size(&decoded.value))
}

fn read_protobuf(bytes: &[u8]) -> usize {
    let Ok(envelope) = api::protobuf::open(bytes) else { return 0 };
    let Some(ty) = schema::of_object(envelope.api_version, envelope.kind) else { return 0 };
    api::protobuf::decode(envelope.raw, ty).map_or(0, |members| size(&Value::Object(members)))
}

fn read_json_patch(bytes: &[u8]) -> usize {
    let Ok(patch) = machinery::json::from_slice(bytes) else { return 0 };
    let document = serde_json::json!({"a": {"b": [1, 2, 3]}, "metadata": {"labels": {"x": "y"}}});
    let Ok(patch) = json::Patch::decode(patch.value) else { return 0 };
    patch.apply(&document).map_or(0, |value| size(&value))
}

fn read_merge_patch(bytes: &[u8]) -> usize {
    let Ok(patch) = machinery::json::from_slice(bytes) else { return 0 };
    let document = serde_json::json!({"a": {"b": [1, 2, 3]}, "metadata": {"labels": {"x": "y"}}});
    merge::apply(document, patch.value).map_or(0, |value| size(&value))
}

fn read_selectors(bytes: &[u8]) -> usize {
    let labels = LabelSelector::parse(&text(bytes)).map_or(0, |selector| format!("{selector:?}").len());
    labels.max(FieldSelector::parse(&text(bytes)).map_or(0, |selector| selector.to_string().len()))
}

fn read_fields(bytes: &[u8]) -> usize {
    let Ok(document) = machinery::json::from_slice(bytes) else { return 0 };
    machinery::managed_fields::Set::from_value(&document.value).map_or(0, |set| size(&set.to_value()))
}

fn read_small(bytes: &[u8]) -> usize {
    let quantity = machinery::quantity::Quantity::parse(&text(bytes)).map_or(0, |quantity| quantity.canonical().len());
    quantity.max(usize::from(machinery::jsonpath::Template::parse(&text(bytes)).is_ok()))
}

fn objects() -> Vec<Value> {
    let rows = apiserver::registry::catalogue::rows();
    rows.iter().filter_map(|row| fixture(&row.kind(), "fuzz", row.namespaced.then_some("default"))).collect()
}

fn jsons() -> Vec<Vec<u8>> {
    objects().iter().map(|object| object.to_string().into_bytes()).collect()
}

fn yamls() -> Vec<Vec<u8>> {
    let anchors = "a: &a [x, x]\nb: &b [*a, *a]\nc: {<<: {d: *b}}\n".to_owned();
    objects().iter().map(machinery::yaml::from_json).chain([anchors]).map(String::into_bytes).collect()
}

fn protobufs() -> Vec<Vec<u8>> {
    let encode = |object: &Value| {
        let ty = schema::of_object(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
        let mut bytes = Vec::new();
        api::protobuf::encode(object, ty, &mut bytes);
        Some(bytes)
    };
    objects().iter().filter_map(encode).collect()
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// One to eight small changes.
fn mutate(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..32)).min(bytes.len());
        match random.random_range(0..7) {
            0 => bytes.insert(at, random.random()),
            1 => drop(bytes.drain(at..end)),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            3 => {
                let part = bytes[at..end].to_vec();
                let times = random.random_range(1..64);
                bytes.splice(at..at, part.repeat(times));
            }
            4 => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                bytes.splice(at..end, other[from..(from + 64).min(other.len())].iter().copied());
            }
            5 => {
                let words = [
                    &b"{"[..],
                    b"[",
                    b"\"",
                    b"null",
                    b"-1",
                    b"1e999",
                    b"99999999999999999999",
                    b"\\u0000",
                    b"\xff",
                    b"&a ",
                    b"*a",
                ];
                bytes.splice(at..at, words[random.random_range(0..words.len())].repeat(random.random_range(1..300)));
            }
            _ => bytes.truncate(at),
        }
        bytes.truncate(INPUT_BYTES);
    }
    bytes
}

fn fuzz(name: &str, seeds: Vec<Vec<u8>>, read: Reader) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("FERRY_FUZZ_SEED").unwrap_or_else(|| rand::rng().random());
    let end = Instant::now() + Duration::from_secs(number("FERRY_FUZZ_SECONDS").unwrap_or(1));
    let mut random = StdRng::seed_from_u64(seed);
    assert!(seeds.iter().any(|seed| read(seed) > 0), "{name}: no seed is valid");
    let (mut inputs, mut valid) = (0, 0);
    while Instant::now() < end || inputs < 100 {
        let input = mutate(&mut random, &seeds);
        let began = Instant::now();
        let shown = || format!("{name}, seed {seed}, input {inputs}: {:?}", text(&input));
        let made = catch_unwind(AssertUnwindSafe(|| read(&input))).unwrap_or_else(|_| panic!("{}", shown()));
        let took = began.elapsed();
        assert!(took < PATIENCE, "{took:?}: {}", shown());
        assert!(made <= input.len() * GROWTH + AT_ANY_RATE_BYTES, "{made} bytes: {}", shown());
        inputs += 1;
        valid += usize::from(made > 0);
    }
    println!("{name}: {inputs} inputs, {valid} of them valid, seed {seed}");
}

macro_rules! targets {
    ($($name:ident: $seeds:expr, $read:expr;)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name), $seeds, $read);
        })*
    };
}

targets! {
    json_documents: jsons(), read_json;
    yaml_documents: yamls(), read_yaml;
    typed_objects: jsons(), read_pod;
    protobuf_objects: protobufs(), read_protobuf;
    json_patches: lines("[{\"op\":\"add\",\"path\":\"/a/b/-\",\"value\":1},{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/b/0\"}]\n[{\"op\":\"test\",\"path\":\"/a/b/1\",\"value\":2},{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c\"}]\n[{\"op\":\"remove\",\"path\":\"/metadata/labels/x\"},{\"op\":\"replace\",\"path\":\"/a\",\"value\":{\"~0~1\":[]}}]"), read_json_patch;
    merge_patches: jsons(), read_merge_patch;
    selectors: lines("a in (b,c),!d,e notin (f),g>1\nmetadata.name=a,status.phase!=b\\,c\nx/y==z"), read_selectors;
    managed_fields: lines("{\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":80}\":{\".\":{}}},\"f:list\":{\"v:\\\"x\\\"\":{},\"i:3\":{}}}}"), read_fields;
    small_texts: lines("1.5Gi\n-100m\n1e3\n{.items[?(@.a==\"b\")].c}\n{range .a[*]}{.b}{end}"), read_small;
}

/// Found by `yaml_documents`: what the limit of depth lets through must fit the stack that it is read on.
#[test]
fn deep_yaml_is_read_or_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(machinery::yaml::to_json(nested(240).as_bytes()).is_ok());
    for text in [nested(2_400), "- ".repeat(2_400), "{a: ".repeat(2_400), "? ".repeat(2_400)] {
        assert!(machinery::yaml::to_json(text.as_bytes()).is_err());
    }
}
