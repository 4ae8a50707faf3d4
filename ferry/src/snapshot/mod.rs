//! `ferry snapshot`: backups of a whole cluster, and what is brought back from them.
//!
//! The format, its verification and where files are kept are `crates/snapshots`; what is in a store, the API server's
//! (`apiserver::restore`). Here is what people type, and the schedule that `ferry up` follows.

mod cluster;
mod flags;
mod list;
mod objects;
mod prune;
mod restore;
mod save;
mod schedule;
pub mod scheduled;
mod take;

const USAGE: &str = "Backups of a whole cluster.

  save        takes a snapshot of the running cluster
  list        says which snapshots there are
  verify      reads a whole snapshot and says whether it is as it was written
  restore     makes a new cluster of a snapshot, or brings back a namespace or single objects
  prune       deletes all but the newest
  schedule    says or sets when `ferry up` takes snapshots by itself

Each takes --help.
";

/// `ferry snapshot`.
pub async fn main(mut argv: Vec<String>) -> anyhow::Result<()> {
    let command = if argv.is_empty() { String::new() } else { argv.remove(0) };
    match command.as_str() {
        "save" => save::main(&argv).await,
        "list" | "ls" => list::main(&argv).await,
        "verify" => list::verify(&argv).await,
        "restore" => restore::main(&argv).await,
        "prune" => prune::main(&argv).await,
        "schedule" => schedule::main(&argv),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        "" => anyhow::bail!("which command? `ferry snapshot --help` lists them"),
        other => anyhow::bail!("unknown command {other:?} (`ferry snapshot --help` lists them)"),
    }
}
