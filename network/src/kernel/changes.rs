//! What makes what there is to what has to be: differences alone, so that a start changes nothing where nothing changed, and
//! no packet finds its route gone.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Observed;
use crate::model::{Mac, Plan, Way};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The tunnel sends what is for that link's address there.
    Forward(Mac, IpAddr),
    /// No longer.
    Unforward(Mac, IpAddr),
    /// The tunnel's neighbour has that link's address.
    Neighbour(IpAddr, Mac),
    /// It is none any more.
    Unneighbour(IpAddr),
    /// A route.
    Route {
        /// Where it leads.
        to: IpNet,
        /// The next machine.
        gateway: IpAddr,
        /// Its link.
        index: u32,
        /// The next machine's address is in no subnet of the link.
        onlink: bool,
        /// There is one of ours, whose place it takes.
        replace: bool,
    },
    /// It goes.
    Unroute(IpNet, Option<IpAddr>, Option<u32>),
}

/// What has to change, in this order. Routes through a tunnel that is not there are left out.
pub fn changes(plan: &Plan, observed: &Observed) -> Vec<Change> {
    let mut all = Vec::new();
    let tunnel = observed.tunnel.as_ref().map(|tunnel| tunnel.index);
    if tunnel.is_some() {
        let forwarding = plan.forwarding.iter().filter(|(mac, ip)| !observed.forwarding.contains(&(**mac, **ip)));
        all.extend(forwarding.map(|(mac, ip)| Change::Forward(*mac, *ip)));
        let neighbours = plan.neighbours.iter().filter(|(ip, mac)| observed.neighbours.get(ip) != Some(mac));
        all.extend(neighbours.map(|(ip, mac)| Change::Neighbour(*ip, *mac)));
    }
    for (to, route) in &plan.routes {
        let index = match route.way {
            Way::Link(index) => Some(index),
            Way::Tunnel => tunnel,
        };
        let Some(index) = index else { continue };
        let mut ours = observed.routes.iter().filter(|(net, ..)| net == to);
        if !ours.clone().any(|(_, gateway, link)| (*gateway, *link) == (Some(route.gateway), Some(index))) {
            let (replace, onlink) = (ours.next().is_some(), route.way == Way::Tunnel);
            all.push(Change::Route { to: *to, gateway: route.gateway, index, onlink, replace });
        }
    }
    // One that is replaced is not removed: it would be the new one that goes.
    let gone = observed.routes.iter().filter(|(to, ..)| !plan.routes.contains_key(to));
    all.extend(gone.map(|(to, gateway, link)| Change::Unroute(*to, *gateway, *link)));
    let unknown = observed.neighbours.keys().filter(|ip| !plan.neighbours.contains_key(ip));
    all.extend(unknown.map(|ip| Change::Unneighbour(*ip)));
    let stale = observed.forwarding.iter().filter(|(mac, ip)| plan.forwarding.get(mac) != Some(ip));
    // A link's address that moved was sent elsewhere by the first changes already.
    all.extend(
        stale.filter(|(mac, _)| !plan.forwarding.contains_key(mac)).map(|(mac, ip)| Change::Unforward(*mac, *ip)),
    );
    all
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::kernel::Tunnel;
    use crate::model::Route;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn plan() -> Plan {
        let mac = Mac([2, 0, 0, 0, 0, 2]);
        let mut plan = Plan::default();
        plan.routes.insert(net("10.244.1.0/24"), Route { gateway: ip("192.0.2.2"), way: Way::Link(2) });
        plan.routes.insert(net("10.244.2.0/24"), Route { gateway: ip("10.244.2.0"), way: Way::Tunnel });
        plan.neighbours.insert(ip("10.244.2.0"), mac);
        plan.forwarding.insert(mac, ip("203.0.113.2"));
        plan
    }

    fn settled() -> Observed {
        let mac = Mac([2, 0, 0, 0, 0, 2]);
        Observed {
            tunnel: Some(Tunnel { index: 9, ..Tunnel::default() }),
            routes: vec![
                (net("10.244.1.0/24"), Some(ip("192.0.2.2")), Some(2)),
                (net("10.244.2.0/24"), Some(ip("10.244.2.0")), Some(9)),
            ],
            neighbours: [(ip("10.244.2.0"), mac)].into(),
            forwarding: [(mac, ip("203.0.113.2"))].into(),
            ..Observed::default()
        }
    }

    fn show(plan: &Plan, observed: &Observed) -> String {
        changes(plan, observed).iter().map(|change| format!("{change:?}\n")).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert_eq!(changes(&plan(), &settled()), []);
    }

    #[test]
    fn where_to_send_is_known_before_the_route_leads_there() {
        let bare = Observed { tunnel: settled().tunnel, ..Observed::default() };
        expect![[r#"
            Forward(Mac([2, 0, 0, 0, 0, 2]), 203.0.113.2)
            Neighbour(10.244.2.0, Mac([2, 0, 0, 0, 0, 2]))
            Route { to: 10.244.1.0/24, gateway: 192.0.2.2, index: 2, onlink: false, replace: false }
            Route { to: 10.244.2.0/24, gateway: 10.244.2.0, index: 9, onlink: true, replace: false }
        "#]]
        .assert_eq(&show(&plan(), &bare));
        let without = Observed::default();
        expect![[r#"
            Route { to: 10.244.1.0/24, gateway: 192.0.2.2, index: 2, onlink: false, replace: false }
        "#]]
        .assert_eq(&show(&plan(), &without));
    }

    #[test]
    fn what_changed_is_replaced_and_what_is_stale_goes() {
        let mut seen = settled();
        // The node was behind the tunnel, and its route is now on a link; another one is gone; a third has moved.
        seen.routes[0] = (net("10.244.1.0/24"), Some(ip("10.244.1.0")), Some(9));
        seen.routes.push((net("10.244.3.0/24"), Some(ip("192.0.2.3")), Some(2)));
        seen.neighbours.insert(ip("10.244.1.0"), Mac([2, 0, 0, 0, 0, 1]));
        seen.forwarding =
            [(Mac([2, 0, 0, 0, 0, 1]), ip("203.0.113.1")), (Mac([2, 0, 0, 0, 0, 2]), ip("203.0.113.9"))].into();
        expect![[r#"
            Forward(Mac([2, 0, 0, 0, 0, 2]), 203.0.113.2)
            Route { to: 10.244.1.0/24, gateway: 192.0.2.2, index: 2, onlink: false, replace: true }
            Unroute(10.244.3.0/24, Some(192.0.2.3), Some(2))
            Unneighbour(10.244.1.0)
            Unforward(Mac([2, 0, 0, 0, 0, 1]), 203.0.113.1)
        "#]]
        .assert_eq(&show(&plan(), &seen));
    }

    #[test]
    fn nothing_wanted_is_nothing_left() {
        expect![[r#"
            Unroute(10.244.1.0/24, Some(192.0.2.2), Some(2))
            Unroute(10.244.2.0/24, Some(10.244.2.0), Some(9))
            Unneighbour(10.244.2.0)
            Unforward(Mac([2, 0, 0, 0, 0, 2]), 203.0.113.2)
        "#]]
        .assert_eq(&show(&Plan::default(), &settled()));
    }
}
