//! The tunnel's device. It belongs to no other link: one whose link goes (a VPN that starts anew) would go with it. The
//! kernel finds the way to the other ends by its own routes.
//!
//! What it sends has a checksum of UDP, as the kernel's own default is: its receiver takes packets together by that, which
//! is worth a tenth of the throughput and more. (Kernels before 5.7 spoil it where what carries the tunnel is masqueraded to a
//! random port, flannel #1279: no rule of Ferry's does that.)

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVxlan};

use super::{DEVICE, Kernel, Tunnel, errno, said};
use crate::model::Device;
use crate::{PORT, VNI};

impl Kernel {
    /// Has the device as it is wanted; whether it was made anew, or is gone, so that what was seen of it is no longer true.
    ///
    /// # Errors
    /// The kernel has no VXLAN, or another program has the port.
    pub async fn settle(&self, wanted: Option<&Device>, seen: Option<&Tunnel>) -> anyhow::Result<bool> {
        let Some(device) = wanted else {
            if let Some(tunnel) = seen {
                self.delete_link(tunnel.index).await.with_context(|| format!("removing {DEVICE}"))?;
            }
            return Ok(seen.is_some());
        };
        match seen {
            Some(tunnel) if is_same(device, tunnel) => {
                self.adjust(device, tunnel).await.with_context(|| format!("setting {DEVICE}"))?;
                Ok(!tunnel.up)
            }
            other => {
                if let Some(old) = other {
                    self.delete_link(old.index).await.with_context(|| format!("removing an old {DEVICE}"))?;
                }
                self.make_tunnel(device).await.with_context(|| format!("making {DEVICE}"))?;
                Ok(true)
            }
        }
    }

    async fn make_tunnel(&self, device: &Device) -> anyhow::Result<()> {
        let link =
            LinkVxlan::new(DEVICE, VNI).port(PORT).learning(false).mtu(device.mtu).address(device.mac.0.to_vec());
        let link = match device.local {
            IpAddr::V4(address) => link.local(address),
            IpAddr::V6(address) => link.local6(address),
        };
        match self.0.link().add(link.build()).execute().await {
            Err(error) if errno(&error) == nix::libc::EEXIST => {
                anyhow::bail!(
                    "another network plugin's device has VXLAN {VNI} on port {PORT}: remove it, or run with another mode"
                )
            }
            Err(error) if errno(&error) == nix::libc::EOPNOTSUPP => {
                anyhow::bail!("the kernel has no VXLAN: load the module vxlan, or run with the mode routes")
            }
            done => done.map_err(said)?,
        }
        let index = super::observe::index(self, DEVICE).await?.context("it went at once")?;
        self.adjust(device, &Tunnel { index, mtu: device.mtu, mac: Some(device.mac), ..Tunnel::default() }).await
    }

    /// What can be changed while packets pass.
    async fn adjust(&self, device: &Device, seen: &Tunnel) -> anyhow::Result<()> {
        let of_index = || LinkMessageBuilder::<LinkUnspec>::new().index(seen.index);
        if seen.mac != Some(device.mac) {
            self.0.link().set(of_index().address(device.mac.0.to_vec()).build()).execute().await.map_err(said)?;
        }
        if seen.mtu != device.mtu {
            self.0.link().set(of_index().mtu(device.mtu).build()).execute().await.map_err(said)?;
        }
        if !seen.up {
            self.0.link().set(of_index().up().build()).execute().await.map_err(said)?;
            crate::sysctl::loose(DEVICE);
        }
        let wanted: BTreeSet<IpNet> = device.addresses.iter().map(|address| IpNet::from(*address)).collect();
        for net in wanted.difference(&seen.addresses) {
            let mut request = self.0.address().add(seen.index, net.addr(), net.prefix_len()).replace();
            // Nobody else has it, and nobody could be asked.
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            request.execute().await.map_err(said).with_context(|| format!("adding {net}"))?;
        }
        for net in seen.addresses.difference(&wanted) {
            let message = self.0.address().add(seen.index, net.addr(), net.prefix_len()).message_mut().clone();
            match self.0.address().del(message).execute().await {
                Err(error) if errno(&error) == nix::libc::EADDRNOTAVAIL => {}
                done => done.map_err(said).with_context(|| format!("removing {net}"))?,
            }
        }
        Ok(())
    }

    /// Whether the kernel has a sort of links, found out by making one and removing it again.
    ///
    /// # Errors
    /// It does not let us.
    pub async fn has_kind(&self, kind: InfoKind) -> anyhow::Result<bool> {
        const PROBE: &str = "ferry-probe";
        let link = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind).name(PROBE.to_owned()).build();
        match self.0.link().add(link).execute().await {
            Ok(()) => self.delete_named(PROBE).await.map(|()| true),
            Err(error) if errno(&error) == nix::libc::EOPNOTSUPP => Ok(false),
            Err(error) => Err(said(error)),
        }
    }
}

/// Whether what cannot be changed is as it is wanted.
fn is_same(device: &Device, tunnel: &Tunnel) -> bool {
    (tunnel.vni, tunnel.port, tunnel.local, tunnel.learning) == (VNI, PORT, Some(device.local), false)
}
