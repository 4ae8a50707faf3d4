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
