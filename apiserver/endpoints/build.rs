//! A number that changes with whatever OpenAPI documents are made from, beside the API's descriptions: clients keep documents
//! for ever under a hash of it.

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = vec![PathBuf::from("../../crates/api/src/schema/table.txt")];
    for folder in ["src/openapi", "src/sources"] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            // What a folder in there has is code behind answers, not what documents say.
            if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    println!("cargo:rerun-if-changed=build.rs");
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        fs::read(file)?.hash(&mut hasher);
    }
    println!("cargo:rustc-env=FERRY_OPENAPI_SOURCES={:016x}", hasher.finish());
    Ok(())
}
