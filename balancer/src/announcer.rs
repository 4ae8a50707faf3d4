//! The shell around [`Speaker`]: a thread of its own, which no other work of the process can hold up for as long as it
//! takes others to think that this node is gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use component::Supervisor;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::election::Table;
use crate::frames::{self, Heard, NodeId};
use crate::link::{Interface, Link};
use crate::speaker::{Moved, Speaker};

/// How often the interface is looked at, whether it is still the same.
const LOOK: Duration = Duration::from_secs(5);
/// How often the last words are said.
const LAST_WORDS: usize = 3;

/// Who announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// This node.
    pub node: NodeId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The interface, if it was named.
    pub interface: Option<String>,
}

/// Announces until cancelled what `tables` says.
///
/// # Errors
/// There is no interface for it, the kernel does not let us, or the interface went or changed its address: to be begun again.
pub async fn run(own: Own, tables: watch::Receiver<Arc<Table>>, tasks: &Supervisor) -> anyhow::Result<()> {
    let cancel = tasks.token();
    let work = move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(announce(own, tables, cancel))
    };
    tasks.thread("announcer", work).context("a thread for the announcer")?.await?
}

async fn announce(own: Own, mut tables: watch::Receiver<Arc<Table>>, cancel: CancellationToken) -> anyhow::Result<()> {
    let interface = Interface::find(own.interface.as_deref(), &own.addresses)?;
    let mut link = Link::open(&interface)?;
    let mut speaker = Speaker::new(interface.mac, interface.ipv4, own.node, Instant::now());
    speaker.set_table(tables.borrow_and_update().clone());
    tracing::info!(interface = interface.name, "announcing the addresses of load balancers");
    let mut look = Instant::now() + LOOK;
    loop {
        let now = Instant::now();
        apply(&mut link, speaker.elect(now));
        for frame in speaker.say(now) {
            link.send(&frame).context("sending a frame")?;
        }
        if now >= look {
            anyhow::ensure!(interface.is_there(), "the interface {} is not the one it was", interface.name);
            look = now + LOOK;
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep_until(speaker.due(now).min(look).into()) => {}
            frame = link.next() => {
                let frame = frame.context("receiving a frame")?;
                hear(&mut speaker, &mut link, &frame)?;
            }
            changed = tables.changed() => {
                if changed.is_err() {
                    break;
                }
                speaker.set_table(tables.borrow_and_update().clone());
            }
        }
    }
    let last = speaker.leave();
    for _ in 0..LAST_WORDS {
        link.send(&last)?;
    }
    Ok(())
}

fn hear(speaker: &mut Speaker, link: &mut Link, frame: &[u8]) -> anyhow::Result<()> {
    let now = Instant::now();
    let Some(heard) = frames::read(frame) else { return Ok(()) };
    // Before an answer: the address may be another's meanwhile.
    if matches!(heard, Heard::Asks { .. }) {
        apply(link, speaker.elect(now));
    }
    for answer in speaker.hear(heard, now) {
        link.send(&answer).context("sending a frame")?;
    }
    Ok(())
}

fn apply(link: &mut Link, moved: Moved) {
    for address in moved.yielded {
        tracing::info!(%address, "another node answers for this address from now on");
        link.no_longer(address);
    }
    for address in moved.taken {
        tracing::info!(%address, "this node answers for this address from now on");
        link.listen_for(address);
    }
}
