//! `ferry recover`: of several servers with a replicated store only this one is left, and the others do not come back. It becomes
//! a cluster of one, which others can join again.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::flags::Layout;
use super::lock;
use super::store::Store;

/// Makes this server a cluster of one, where most of the others are lost for good.
#[derive(Debug, Clone, clap::Args)]
struct Recover {
    /// Where the cluster's state is kept
    #[arg(long, default_value = "/var/lib/ferry")]
    data_dir: PathBuf,
    /// Do it: without, it is only said what would be done
    #[arg(long)]
    yes: bool,
}

/// `ferry recover`.
///
/// # Errors
/// In one line: there is nothing to recover, or the server runs.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: Recover = component::flags::parse("ferry recover", argv, &[])?;
    let layout = Layout::new(&flags.data_dir)?;
    let folder = layout.data.join("store");
    if !apiserver::replicated::is_there(&folder) {
        bail!("{} holds no member of a replicated store", layout.data.display());
    }
    let _lock = lock::take(&layout)?;
    let mut store = Store::read(&layout)?.context("the server has never been started")?;
    let Some((own, others)) = store.members.split_first() else { bail!("which server this is is not known") };
    if !flags.yes {
        let others = if others.is_empty() { "others".to_owned() } else { others.join(", ") };
        println!(
            "With --yes the store in {} becomes that of a cluster of one, at {own}. What the other servers ({others}, and any that joined \
             later) acknowledged and had not passed on to this one is lost. They must not run any more, and can't come back with \
             what they have: `ferry down --purge` there, and join again.",
            folder.display()
        );
        return Ok(());
    }
    let recovered = apiserver::replicated::recover(&folder, own)?;
    for (_, address) in &recovered.removed {
        println!("{address} is struck off");
    }
    println!("the store is at revision {}", recovered.revision);
    if recovered.unconfirmed > 0 {
        println!(
            "{} changes at its end are kept, of which this server had not heard that the others have them",
            recovered.unconfirmed
        );
    }
    let own = own.clone();
    store.members = vec![own];
    store.write(&layout)?;
    println!("`ferry up` (or `ferry join`, as before) starts it");
    Ok(())
}
