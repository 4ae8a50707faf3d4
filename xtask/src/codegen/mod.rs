//! `cargo xtask codegen`: the API schema table, made from published packages.
//!
//! Two packages say nearly all: the API's published definitions (types, list types, merge keys, what is required) and the
//! protobuf bindings (field numbers, and the order of fields). What neither says is in `facts.txt`, read from upstream's
//! types by hand once a release: which fields are pointers, which zero values are written, the names of string types, and
//! what is newer than the bindings. `tests/tests/golden` compares the result with upstream's golden files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

mod bindings;
mod definitions;
mod facts;
mod sources;
mod table;
#[cfg(test)]
mod tests;

/// The committed table.
const TABLE: &str = "crates/api/src/schema/table.txt";

#[derive(clap::Parser)]
#[command(name = "cargo xtask codegen", about = "The API schema table, made from published packages")]
struct Args {
    /// Compare with the committed table instead of writing it; where the packages cannot be had, compare digests.
    #[arg(long)]
    check: bool,
    /// A folder with both packages unpacked (`kubernetes_validate/`, `k8s-pb/`), instead of downloading them.
    #[arg(long)]
    sources: Option<PathBuf>,
}

pub(crate) fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let args = <Args as clap::Parser>::parse_from(std::iter::once("codegen".to_owned()).chain(argv));
    let root = root();
    let path = root.join(TABLE);
    let sources = match args.sources {
        Some(folder) => Ok(sources::Sources::at(&folder)),
        None => sources::fetch(&root.join("target/codegen")),
    };
    let sources = match sources {
        Ok(sources) => sources,
        Err(why) if args.check => {
            println!("the packages cannot be had ({why:#}): checking digests only");
            let table = fs::read_to_string(&path).context(TABLE)?;
            ensure!(
                digest(table.as_bytes()) == sources::recorded("table")?,
                "{TABLE} is not what `cargo xtask codegen` made"
            );
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    let made = make(&sources)?;
    if args.check {
        let committed = fs::read_to_string(&path).context(TABLE)?;
        if made != committed {
            bail!(
                "{TABLE} differs from what the packages give: run `cargo xtask codegen`\n{}",
                first_difference(&committed, &made)
            );
        }
        println!("{TABLE} is what the packages give");
    } else {
        fs::write(&path, &made).context(TABLE)?;
        println!("wrote {TABLE}: {} lines, sha256 {}", made.lines().count(), digest(made.as_bytes()));
        println!("record that digest in xtask/src/codegen/sources.txt");
    }
    Ok(())
}

fn make(sources: &sources::Sources) -> anyhow::Result<String> {
    let definitions = definitions::read(&sources.definitions)?;
    let bindings = bindings::read(&sources.bindings)?;
    let mut table = table::build(&definitions, &bindings)?;
    facts::apply(&mut table, include_str!("facts.txt"))?;
    Ok(table.to_string())
}

fn first_difference(committed: &str, made: &str) -> String {
    let pair = committed.lines().zip(made.lines()).enumerate().find(|(_, (a, b))| a != b);
    pair.map_or_else(|| "one is longer".into(), |(i, (a, b))| format!("line {}:\n- {a}\n+ {b}", i + 1))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("xtask is in the repository").to_owned()
}
