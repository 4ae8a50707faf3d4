//! The kernel's network by netlink: what there is ([`observe`]), what has to change ([`changes`], pure), and doing it. All
//! that is ours is known by the number of our routes' protocol, and by the name of the tunnel's device: what a former start
//! left is seen and taken for what it is.

mod apply;
mod changes;
mod observe;
mod tunnel;
mod watch;

use std::io;

use component::Supervisor;
use rtnetlink::{Error, Handle};

pub use changes::{Change, changes};
pub use observe::{Observed, Tunnel, observe};
pub use watch::watch;

/// The protocol of our routes (`man ip-route`: who made them); none of those that others have.
pub const PROTOCOL: u8 = 70;
/// The tunnel's device.
pub const DEVICE: &str = "ferry-vxlan";

/// A way to the kernel, in a network namespace. Clones are the same.
#[derive(Clone)]
pub struct Kernel(Handle);

impl Kernel {
    /// In the network namespace of this thread. What is received for it is a task of `tasks`.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open(tasks: &Supervisor) -> io::Result<Self> {
        // Strict: the kernel filters what it lists by what was asked for. A router's table has a million routes.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        tasks.one_shot("netlink", tasks.token().run_until_cancelled_owned(connection));
        Ok(Self(handle))
    }

    /// Removes all that is ours.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub async fn clean(&self) -> anyhow::Result<()> {
        let observed = observe(self, &[]).await?;
        self.apply(&changes(&Default::default(), &observed)).await?;
        if let Some(tunnel) = observed.tunnel {
            self.delete_link(tunnel.index).await?;
        }
        Ok(())
    }

    /// Deletes a link by its name, if it is there.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub async fn delete_named(&self, name: &str) -> anyhow::Result<()> {
        match observe::index(self, name).await? {
            Some(index) => self.delete_link(index).await,
            None => Ok(()),
        }
    }

    async fn delete_link(&self, index: u32) -> anyhow::Result<()> {
        match self.0.link().del(index).execute().await {
            Err(error) if errno(&error) == nix::libc::ENODEV => Ok(()),
            done => done.map_err(said),
        }
    }
}

/// The kernel's number of an error; 0 for what did not come from it.
fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => message.raw_code().wrapping_neg(),
        _ => 0,
    }
}

/// In words that tell what to do.
fn said(error: Error) -> anyhow::Error {
    match (errno(&error), error) {
        (nix::libc::EPERM | nix::libc::EACCES, _) => {
            anyhow::anyhow!("the kernel does not let us: run as root (CAP_NET_ADMIN is needed)")
        }
        (0, error) => error.into(),
        (code, _) => io::Error::from_raw_os_error(code).into(),
    }
}
