//! What clients send, mutated: every reader of it answers with a value or an error. None panics, takes long, or uses much
//! memory for little input.
//!
//! Seeds are valid inputs of every kind in the catalogue; mutations are drawn from a seed that a failure prints. A run
//! takes a second for each target; `cargo xtask fuzz` takes a minute. Fuzzers by coverage need a nightly compiler.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use machinery::gvk::GroupVersionKind;
use machinery::patch::{merge, strategic};
use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod readers;
mod seeds;

use readers::*;

/// The longest input.
const INPUT_BYTES: usize = 16 * 1024;
/// What an input of that length may take on a busy machine, in a debug build.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most memory that a reader may use at a time for a byte of input, and what it may use at any rate.
const GROWTH: usize = 256;
const AT_ANY_RATE_BYTES: usize = 256 * 1024;
/// For YAML: the tokens of 1,024 characters, which might be a key.
const WITH_TOKENS_BYTES: usize = 1024 * 1024;
/// For patches: the object that they are applied to, and what is made of it.
const WITH_OBJECT_BYTES: usize = 1024 * 1024;
/// For JSON patches: what their operations may copy counts as input.
const WITH_COPIES_BYTES: usize = machinery::patch::json::MAX_COPIED_BYTES * GROWTH;
/// For what has regular expressions, whose compiled form has a limit of its own, and for the faults of expressions, of
/// which a hundred are told, each with its line.
const WITH_PATTERNS_BYTES: usize = 64 * 1024 * 1024;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
/// One test at a time: memory is counted for the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Reads an input; the size of what it made of it.
type Reader = fn(&[u8]) -> usize;

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
                let word = seeds::WORDS[random.random_range(0..seeds::WORDS.len())];
                bytes.splice(at..at, word.repeat(random.random_range(1..300)));
            }
            _ => bytes.truncate(at),
        }
        bytes.truncate(INPUT_BYTES);
    }
    bytes
}

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Reads an input: what it made of it, and the most memory that it used, beyond what there was.
fn measured(read: Reader, input: &[u8]) -> std::thread::Result<(usize, usize)> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let made = catch_unwind(AssertUnwindSafe(|| read(input)))?;
    Ok((made, MEMORY.peak_usage().saturating_sub(before)))
}

fn fuzz(name: &str, seeds: fn() -> Vec<Vec<u8>>, at_any_rate: usize, read: Reader) {
    let _turn = turn();
    let seeds = seeds();
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("FERRY_FUZZ_SEED").unwrap_or_else(|| rand::rng().random());
    let end = Instant::now() + Duration::from_secs(number("FERRY_FUZZ_SECONDS").unwrap_or(1));
    let mut random = StdRng::seed_from_u64(seed);
    let (mut inputs, mut valid, mut worst) = (0, 0, 0);
    // The seeds as they are come first.
    while Instant::now() < end || inputs < seeds.len() + 100 {
        let input = seeds.get(inputs).cloned().unwrap_or_else(|| mutate(&mut random, &seeds));
        let shown = || format!("{name}, seed {seed}, input {inputs}: {:?}", String::from_utf8_lossy(&input));
        let began = Instant::now();
        let (made, used) = measured(read, &input).unwrap_or_else(|_| panic!("{}", shown()));
        let took = began.elapsed();
        assert!(took < PATIENCE, "{took:?}: {}", shown());
        assert!(used <= input.len() * GROWTH + at_any_rate, "{used} bytes for {}: {}", input.len(), shown());
        inputs += 1;
        valid += usize::from(made > 0);
        worst = worst.max(used.saturating_sub(at_any_rate) / input.len().max(1));
        assert!(valid > 0 || inputs < seeds.len(), "{name}: no seed is valid");
    }
    println!("{name}: {inputs} inputs, {valid} of them valid, {worst} bytes of memory a byte at worst, seed {seed}");
}

macro_rules! targets {
    ($($name:ident: $seeds:expr, $read:expr $(, at any rate $bytes:expr)?;)*) => {
        $(#[test]
        fn $name() {
            let at_any_rate = [AT_ANY_RATE_BYTES $(, $bytes)?];
            fuzz(stringify!($name), || $seeds, at_any_rate[at_any_rate.len() - 1], $read);
        })*
    };
}

targets! {
    json_documents: seeds::jsons(), read_json;
    yaml_documents: seeds::yamls(), read_yaml, at any rate WITH_TOKENS_BYTES;
    typed_objects: seeds::jsons(), read_pod;
    protobuf_objects: seeds::protobufs(), read_protobuf;
    stored_objects: [seeds::jsons(), seeds::protobufs()].concat(), read_stored;
    json_patches: seeds::json_patches(), read_json_patch, at any rate WITH_COPIES_BYTES;
    merge_patches: seeds::jsons(), read_merge_patch, at any rate WITH_OBJECT_BYTES;
    strategic_patches: seeds::strategic_patches(), read_strategic_patch, at any rate WITH_OBJECT_BYTES;
    applied_configurations: seeds::jsons(), read_applied, at any rate WITH_OBJECT_BYTES;
    selectors: seeds::lines(seeds::SELECTORS), read_selectors;
    field_paths: seeds::lines(seeds::FIELD_PATHS), read_field_path;
    continue_tokens: seeds::tokens(), read_token;
    expressions: seeds::lines(seeds::EXPRESSIONS), read_expression, at any rate WITH_PATTERNS_BYTES;
    definitions: seeds::definitions(), read_definition, at any rate WITH_PATTERNS_BYTES;
    managed_fields: seeds::lines(seeds::MANAGED_FIELDS), read_fields;
    quantities: seeds::lines("1.5Gi\n-100m\n1e3\n0.000000001\n9223372036854775807Ei"), read_quantity;
}

/// Found by `yaml_documents`: what the limit of depth lets through must fit the stack that it is read on.
#[test]
fn deep_yaml_is_read_or_refused() {
    let _turn = turn();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(machinery::yaml::to_json(nested(240).as_bytes()).is_ok());
    for text in [nested(2_400), "- ".repeat(2_400), "{a: ".repeat(2_400), "? ".repeat(2_400)] {
        assert!(machinery::yaml::to_json(text.as_bytes()).is_err());
    }
}

/// Walkers of objects recurse: what the reader's limit of depth lets through must fit the stack of a worker, 2 MiB, in a
/// release build; frames of a debug build are several times as large.
#[test]
fn deep_objects_are_patched() {
    let _turn = turn();
    let stack_bytes = if cfg!(debug_assertions) { 16 << 20 } else { 2 << 20 };
    let thread = std::thread::Builder::new().stack_size(stack_bytes).spawn(patch_a_deep_object);
    thread.unwrap().join().unwrap().unwrap();
}

fn patch_a_deep_object() -> Result<(), String> {
    let text = |depth: usize| {
        let schema = format!("{}{{\"title\":\"t\"}}{}", "{\"not\":".repeat(depth), "}".repeat(depth));
        format!("{{\"spec\":{{\"versions\":[{{\"name\":\"v1\",\"schema\":{{\"openAPIV3Schema\":{schema}}}}}]}}}}")
    };
    let read = |depth| machinery::json::from_slice(text(depth).as_bytes()).map(|document| document.value);
    let deep = read(machinery::json::MAX_DEPTH - 10)?;
    assert!(read(machinery::json::MAX_DEPTH).is_err());
    let kind = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let ty = api::schema::of(&kind).ok_or("no such kind")?;
    assert_eq!(merge::apply(deep.clone(), deep.clone()).map_err(|e| e.message)?, deep);
    let merged = strategic::apply(deep.clone(), deep.clone(), &api::patch::TypeSchema(ty));
    assert_eq!(merged.map_err(|_| "no strategic patch")?, deep);
    let place = api::merge::root(ty);
    assert_eq!(machinery::managed_fields::merge(&deep, &deep, place)?, deep);
    let fields = machinery::managed_fields::fields(&deep, place).to_value();
    machinery::managed_fields::Set::from_value(&fields)?;
    // What a patch makes has the limit of what is read.
    assert_eq!(api::decode::value(deep, ty).map(|_| ()), Err(api::decode::Error("exceeded max depth".into())));
    let mut typed = api::decode::value(read(100)?, ty).map_err(|e| e.0)?.value;
    api::encode::normalise(&mut typed, ty);
    assert_eq!(api::decode::json(&api::encode::to_vec(&typed, ty), ty).map_err(|e| e.0)?.value, typed);
    Ok(())
}
