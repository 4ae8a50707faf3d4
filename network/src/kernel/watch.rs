//! When somebody else changed what is ours, or what ours depends on.

use std::sync::Arc;

use component::Supervisor;
use futures::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::Notify;

use super::observe;

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Has `told` know when something of that kind happened in the network namespace of this thread, as a task of `tasks`.
///
/// # Errors
/// The kernel gives no socket.
pub fn watch(told: Arc<Notify>, tasks: &Supervisor) -> std::io::Result<()> {
    let (connection, _, mut messages) = rtnetlink::new_multicast_connection(GROUPS)?;
    tasks.one_shot("netlink", tasks.token().run_until_cancelled_owned(connection));
    tasks.one_shot("changes of links and routes", async move {
        while let Some((message, _)) = messages.next().await {
            if concerns(&message.payload) {
                told.notify_one();
            }
        }
    });
    Ok(())
}

/// Pods come and go: their links do not count. Of routes those of ours that go; of addresses all.
fn concerns(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        NetlinkPayload::Overrun(_) => true,
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
                !observe::name(link).is_some_and(|name| name.starts_with("veth"))
            }
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => true,
            RouteNetlinkMessage::DelRoute(route) => observe::is_ours(route),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};
    use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
    use rtnetlink::packet_route::route::{RouteHeader, RouteMessage, RouteProtocol};

    use super::super::PROTOCOL;
    use super::*;

    #[test]
    fn what_is_ours_and_what_it_depends_on_concerns_us() {
        let of = |message| concerns(&NetlinkPayload::InnerMessage(message));
        let link = |name: &str| {
            let mut link = LinkMessage::default();
            link.attributes.push(LinkAttribute::IfName(name.into()));
            link
        };
        assert!(
            of(RouteNetlinkMessage::NewLink(link("eth0"))) && of(RouteNetlinkMessage::DelLink(link("ferry-vxlan")))
        );
        assert!(!of(RouteNetlinkMessage::NewLink(link("veth12345678"))), "a pod's");
        let route = |protocol| {
            let mut route = RouteMessage::default();
            (route.header.protocol, route.header.table) = (protocol, RouteHeader::RT_TABLE_MAIN);
            route
        };
        let ours = RouteProtocol::Other(PROTOCOL);
        assert!(of(RouteNetlinkMessage::DelRoute(route(ours))));
        assert!(!of(RouteNetlinkMessage::NewRoute(route(ours))), "we made it");
        assert!(!of(RouteNetlinkMessage::DelRoute(route(RouteProtocol::Static))));
        assert!(concerns(&NetlinkPayload::Overrun(Vec::new())), "something was missed");
    }

    #[test]
    fn a_route_that_somebody_removes_is_told() {
        let work = || {
            let sh =
                |script: &str| Command::new("sh").args(["-ec", script]).status().is_ok_and(|status| status.success());
            if unshare(CloneFlags::CLONE_NEWNET).is_err() || !sh("ip link set lo up") {
                skips::skip("root, ip and nft", "");
                return;
            }
            assert!(sh("ip route add 10.244.1.0/24 dev lo proto 70"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tasks = Supervisor::new();
                let told = Arc::new(Notify::new());
                watch(told.clone(), &tasks).unwrap();
                assert!(sh("ip route del 10.244.1.0/24"));
                tokio::time::timeout(Duration::from_secs(20), told.notified()).await.unwrap();
                tasks.shutdown().await;
            });
        };
        std::thread::spawn(work).join().unwrap();
    }
}
