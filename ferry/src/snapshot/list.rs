//! `ferry snapshot list` and `ferry snapshot verify`.

use std::fs::File;

use anyhow::Context;
use serde_json::json;
use snapshots::{header_of, verify as verify_all};

use super::flags::{Encrypted, Output, Place, size};
use super::restore::fetched;

/// Says which snapshots there are, oldest first, by their names.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Reads a whole snapshot and says whether it is as it was written. Without its key an encrypted one's checksums are verified.
#[derive(Debug, clap::Args)]
struct Verify {
    /// A file, a name that `ferry snapshot list` tells, s3://BUCKET/PREFIX/NAME, or `latest`
    snapshot: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    encrypted: Encrypted,
    #[command(flatten)]
    output: Output,
}

pub async fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: List = component::flags::parse("ferry snapshot list", argv, &[])?;
    let json = flags.output.json()?;
    let target = flags.place.target()?;
    let entries = target.list().await?;
    if json {
        let entries = entries.iter().map(|entry| {
            let parts = &entry.parts;
            json!({
                "name": entry.name, "place": target.place(&entry.name), "bytes": entry.bytes, "label": parts.label,
                "cluster": parts.cluster, "time": parts.time.to_string(), "revision": parts.revision,
            })
        });
        println!("{:#}", json!({ "items": entries.collect::<Vec<_>>() }));
        return Ok(());
    }
    if entries.is_empty() {
        eprintln!("No snapshots found in {}", target.place("").trim_end_matches('/'));
        return Ok(());
    }
    let rows = entries.iter().map(|entry| {
        let parts = &entry.parts;
        [
            entry.name.clone(),
            parts.cluster.clone(),
            parts.time.to_string(),
            parts.revision.to_string(),
            size(entry.bytes),
        ]
    });
    print!("{}", table(&["NAME", "CLUSTER", "TIME", "REVISION", "SIZE"], &rows.collect::<Vec<_>>()));
    Ok(())
}

/// Columns with three spaces between them, as kubectl's.
fn table<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([heads[column].len()]).max().unwrap_or_default() + 3
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        padded.collect::<String>().trim_end().to_owned() + "\n"
    };
    let mut out = line(heads.to_vec());
    rows.iter().for_each(|row| out.push_str(&line(row.iter().map(String::as_str).collect())));
    out
}

/// `ferry snapshot verify`.
pub async fn verify(argv: &[String]) -> anyhow::Result<()> {
    let flags: Verify = component::flags::parse("ferry snapshot verify", argv, &[])?;
    let json = flags.output.json()?;
    let file = fetched(&flags.snapshot, &flags.place).await?;
    let open = || File::open(&file.path).with_context(|| file.path.display().to_string());
    let secret = flags.encrypted.secret()?;
    let summary = verify_all(open()?, secret.as_ref()).with_context(|| flags.snapshot.clone())?;
    if json {
        println!("{:#}", json!({ "header": summary.header, "totals": summary.totals }));
        return Ok(());
    }
    let header = header_of(open()?)?;
    println!("{} keys of cluster {} at revision {}, {}", header.keys, header.cluster, header.revision, header.time);
    match summary.totals {
        Some(totals) => println!("whole: {} chunks, {}", totals.chunks, size(totals.bytes)),
        None => println!("its checksums hold; it is encrypted, and was not opened"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME     N\na        1\nlonger   2\n");
    }
}
