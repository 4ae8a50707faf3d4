//! What a ServiceCIDR needs: its finalizer and a Ready condition while it lives, and to be let go when no cluster IP would
//! be left without a range.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::ServiceCIDR,
    jiff::{SignedDuration, Timestamp},
};

use crate::util::{cidr, key};

/// The finalizer that protects what is still in use.
pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a deleted range stays at least: until all API servers know that nothing may be taken of it any more.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// A state of the Ready condition.
#[derive(Debug, PartialEq)]
pub(super) struct Ready {
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

const READY: Ready = Ready { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
const BLOCKED: Ready = Ready {
    status: "False",
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

/// What to do about a ServiceCIDR.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Protect,
    Unprotect,
    Condition(Ready),
    /// To be looked at again then.
    Wait(Duration),
}

/// Decides. `all` are the ServiceCIDRs there are, this one too; `taken` are the addresses of Services, asked of what is
/// deleted only.
pub(super) fn sync(
    range: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    taken: impl FnOnce() -> Vec<IpAddr>,
    now: Timestamp,
) -> Vec<Action> {
    let protected = range.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let Some(deleted) = &range.metadata.deletion_timestamp else {
        let protect = (!protected).then_some(Action::Protect);
        return protect.into_iter().chain(condition(range, READY)).collect();
    };
    if !has_larger(range, all) && strands(range, all, &taken()) {
        return condition(range, BLOCKED).into_iter().collect();
    }
    let left = GRACE - now.duration_since(deleted.0);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => vec![Action::Wait(left)],
        _ if protected => vec![Action::Unprotect],
        _ => vec![],
    }
}

fn condition(range: &ServiceCIDR, wanted: Ready) -> Option<Action> {
    let mut present = range.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let present = present.find(|c| c.type_ == "Ready");
    let same =
        present.is_some_and(|c| c.status == wanted.status && c.reason == wanted.reason && c.message == wanted.message);
    (!same).then_some(Action::Condition(wanted))
}

/// The ranges of an object; what is none was refused by validation.
pub(super) fn ranges(object: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    object.spec.iter().flat_map(|s| s.cidrs.iter().flatten()).filter_map(|cidr| cidr.parse().ok())
}

/// The names of the objects with a range of which this is true.
pub(super) fn having(all: &[Arc<ServiceCIDR>], is: impl Fn(&IpNet) -> bool) -> Vec<&str> {
    all.iter().filter(|object| ranges(object).any(|r| is(&r))).map(|object| key::name(&object.metadata)).collect()
}

/// Whether each of its ranges is within one of another object.
fn has_larger(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let own = key::name(&range.metadata);
    ranges(range).all(|part| having(all, |r| r.contains(&part)).into_iter().any(|name| name != own))
}

/// Whether an address would be of no range without this.
fn strands(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], taken: &[IpAddr]) -> bool {
    let own = key::name(&range.metadata);
    let mine = |ip: &&IpAddr| ranges(range).any(|r| cidr::allocates(&r, ip));
    taken.iter().filter(mine).any(|ip| having(all, |r| cidr::allocates(r, ip)) == [own])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, cidrs: &[&str], more: Value) -> Arc<ServiceCIDR> {
        let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
        object["metadata"].as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn ready(status: &str, reason: &str, message: &str) -> Value {
        let at = "2026-01-01T00:00:00Z";
        json!({"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": at}]})
    }

    fn deleted() -> Value {
        json!({"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": [FINALIZER]})
    }

    fn at(seconds: u32) -> Timestamp {
        format!("2026-01-01T12:00:{seconds:02}Z").parse().unwrap()
    }

    #[test]
    fn what_lives_is_protected_and_ready() {
        let none = || -> Vec<IpAddr> { unreachable!("not deleted") };
        let new = object("new", &["192.168.0.0/24"], json!({}));
        assert_eq!(sync(&new, &[], none, at(0)), [Action::Protect, Action::Condition(READY)]);
        let mut done = (*object("done", &["192.168.0.0/24"], json!({"finalizers": [FINALIZER]}))).clone();
        assert_eq!(sync(&done, &[], none, at(0)), [Action::Condition(READY)]);
        done.status = serde_json::from_value(ready("True", "", READY.message)).unwrap();
        assert_eq!(sync(&done, &[], none, at(0)), []);
        done.status = serde_json::from_value(ready("False", "Terminating", BLOCKED.message)).unwrap();
        assert_eq!(sync(&done, &[], none, at(0)), [Action::Condition(READY)]);
    }

    /// Whether `own` with these ranges goes, when the others are there and those addresses are taken.
    fn goes(own: &[&str], others: &[&[&str]], taken: &[&str]) -> bool {
        let own = object("own", own, deleted());
        let mut all = vec![own.clone()];
        all.extend(others.iter().enumerate().map(|(i, cidrs)| object(&format!("other{i}"), cidrs, json!({}))));
        let taken = || taken.iter().map(|ip| ip.parse().unwrap()).collect();
        match &sync(&own, &all, taken, at(10))[..] {
            [Action::Unprotect] => true,
            [Action::Condition(blocked)] if *blocked == BLOCKED => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_range_goes_when_no_address_is_left_without_one() {
        let (small, large) = (["192.168.0.0/24"], ["192.168.0.0/16"]);
        assert!(goes(&small, &[], &[]));
        assert!(goes(&small, &[], &["10.0.0.1", "192.168.1.1"]), "those of others");
        assert!(!goes(&small, &[], &["192.168.0.1"]));
        assert!(goes(&small, &[&small], &["192.168.0.1"]), "the same range is in another object");
        assert!(goes(&small, &[&large], &["192.168.0.1"]));
        assert!(!goes(&large, &[&small], &["192.168.1.1"]), "of the larger alone");
        assert!(goes(&large, &[&small], &["192.168.0.1", "192.168.0.7"]), "of both");
        // The broadcast of the small one is an address of the large one only.
        assert!(!goes(&large, &[&small], &["192.168.0.255"]));
        let both = ["192.168.0.0/24", "2001:db8::/96"];
        assert!(goes(&both, &[], &[]));
        assert!(goes(&both, &[&large, &["2001:db8::/64"]], &["192.168.0.1", "2001:db8::1"]), "two larger ones");
        assert!(!goes(&both, &[&large], &["2001:db8::1"]));
        assert!(goes(&both, &[&large], &["192.168.0.1"]));
    }

    #[test]
    fn a_deleted_range_stays_until_all_servers_know_of_it() {
        let own = object("own", &["192.168.0.0/24"], deleted());
        let check = |seconds, want: &[Action]| assert_eq!(sync(&own, &[], Vec::new, at(seconds)), want);
        check(3, &[Action::Wait(Duration::from_secs(7))]);
        check(9, &[Action::Wait(Duration::from_secs(1))]);
        check(10, &[Action::Unprotect]);
        let let_go = object("own", &["192.168.0.0/24"], json!({"deletionTimestamp": "2026-01-01T12:00:00Z"}));
        assert_eq!(sync(&let_go, &[], Vec::new, at(30)), []);
        let mut blocked = (*own).clone();
        blocked.status = serde_json::from_value(ready("False", "Terminating", BLOCKED.message)).unwrap();
        let all = [Arc::new(blocked.clone())];
        assert_eq!(sync(&blocked, &all, || vec!["192.168.0.9".parse().unwrap()], at(30)), []);
    }
}
