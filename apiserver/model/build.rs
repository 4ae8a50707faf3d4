//! Gathers the API's descriptions from the sources of the k8s-openapi package into one compressed text, which the OpenAPI
//! documents are described from. So they come from a published package, and no copy of them lies in this project; and
//! the package's `schemars` feature, which carries them too, is not needed: it triples that package's build time.
//!
//! The text: a line for each type, `>name<TAB>description`, followed by a line for each described field,
//! `field<TAB>description`; line breaks in a description are `\n`, backslashes `\\`.

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "k8s-openapi";
/// The folder of the API level that we serve, as in the features of the dependency.
const LEVEL: &str = "src/v1_36";

fn main() -> Result<(), Box<dyn Error>> {
    let lock = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../Cargo.lock");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", lock.display());
    let sources = sources(&lock)?.join(LEVEL);
    let mut types = Vec::new();
    visit(&sources, &mut types)?;
    if types.is_empty() {
        return Err(format!("no descriptions in {}", sources.display()).into());
    }
    types.sort();
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptions.zlib");
    let mut encoder = flate2::write::ZlibEncoder::new(fs::File::create(out)?, flate2::Compression::best());
    encoder.write_all(types.concat().as_bytes())?;
    encoder.finish()?;
    let mut hasher = DefaultHasher::new();
    types.concat().hash(&mut hasher);
    println!("cargo:rustc-env=FERRY_DESCRIPTIONS={:016x}", hasher.finish());
    Ok(())
}

/// Where the package's sources are: in cargo's own store, or where `cargo metadata` says (vendored, patched).
fn sources(lock: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let text = fs::read_to_string(lock)?;
    let entry = text.split("[[package]]").find(|p| p.contains(&format!("name = \"{PACKAGE}\"\n")));
    let version = entry.and_then(|p| p.split("version = \"").nth(1)).and_then(|v| v.split('"').next());
    let name = format!("{PACKAGE}-{}", version.ok_or("k8s-openapi is not in Cargo.lock")?);
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let stores = home.and_then(|h| fs::read_dir(h.join("registry/src")).ok()).into_iter().flatten().flatten();
    if let Some(found) = stores.map(|store| store.path().join(&name)).find(|p| p.join(LEVEL).is_dir()) {
        return Ok(found);
    }
    let output = Command::new(std::env::var("CARGO")?).args(["metadata", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|p| p["name"] == PACKAGE).find_map(|p| p["manifest_path"].as_str());
    let folder = manifest.and_then(|m| Path::new(m).parent());
    Ok(folder.ok_or("cargo does not know where k8s-openapi is")?.to_owned())
}

fn visit(folder: &Path, types: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, types)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            types.extend(describe(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// The lines of one type, from its generated implementation of `JsonSchema`, which is regular enough to be read by line.
fn describe(text: &str) -> Option<String> {
    let (_, body) = text.split_once("JsonSchema for ")?;
    let (_, body) = body.split_once("fn schema_name()")?;
    let name = body.split('"').nth(1)?;
    let mut own = String::new();
    let mut fields = String::new();
    let mut field = "";
    for line in body.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(text) = line.strip_prefix("\"description\": \"") {
            match depth {
                12 => own = unquoted(text),
                20 => fields.push_str(&format!("{field}\t{}\n", unquoted(text))),
                _ => {}
            }
        } else if let Some((_, text)) = line.split_once(".insert(\"description\".into(), \"") {
            fields.push_str(&format!("{field}\t{}\n", unquoted(text)));
        } else if depth == 16 && line.starts_with('"') {
            field = line.split('"').nth(1)?;
        }
    }
    Some(format!(">{name}\t{own}\n{fields}"))
}

/// A string literal up to its closing quote, as one line.
fn unquoted(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('u') => {
                    let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or_default()
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out
}
