//! `ferry snapshot prune`.

use snapshots::retention;

use super::flags::Place;

/// Deletes all but the newest snapshots. Those of each cluster, and of each name that they were taken under, are counted by
/// themselves: a schedule's never push out what somebody took by hand.
#[derive(Debug, clap::Args)]
struct Prune {
    #[command(flatten)]
    place: Place,
    /// So many stay
    #[arg(long)]
    keep: usize,
    /// Only those that were taken under this name
    #[arg(long)]
    name: Option<String>,
    /// Say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub async fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: Prune = component::flags::parse("ferry snapshot prune", argv, &[])?;
    let target = flags.place.target()?;
    let entries = target.list().await?;
    let names = entries.iter().map(|entry| entry.name.as_str());
    for name in retention::prune(names, flags.keep, flags.name.as_deref(), None) {
        if !flags.dry_run {
            target.delete(name).await?;
        }
        println!("{} deleted{}", target.place(name), if flags.dry_run { " (dry run)" } else { "" });
    }
    Ok(())
}
