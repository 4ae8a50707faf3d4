//! The flags of a server that is one of several: how the servers know of each other, and how clients go from one to another.

use std::net::IpAddr;

use anyhow::bail;
use ipnet::IpNet;

use super::Flags;
use crate::bootstrap::identity::Identity;
use crate::bootstrap::kubernetes_service::Reconciler;
use crate::filters::leaving::{MOST_GOAWAY_CHANCE, Policy};

/// By what the servers are known.
///
/// # Errors
/// There is no such way, or no such number of servers; in upstream's words.
pub fn reconciler(flags: &Flags) -> anyhow::Result<Reconciler> {
    let Some(count) = usize::try_from(flags.apiserver_count).ok().filter(|count| *count > 0) else {
        bail!("--apiserver-count should be a positive number, but value '{}' provided", flags.apiserver_count);
    };
    Ok(match flags.endpoint_reconciler_type.as_str() {
        "lease" | "" => Reconciler::Lease,
        "master-count" => {
            tracing::warn!(
                "--endpoint-reconciler-type=master-count is deprecated, and will be removed in a future version."
            );
            Reconciler::MasterCount(count)
        }
        "none" => Reconciler::None,
        other => bail!("Reconciler not implemented: {other}"),
    })
}

/// Refuses a server whose address is of another family than that of the Service which leads to it.
///
/// # Errors
/// In upstream's words.
pub fn same_family(reconciler: Reconciler, ranges: &[IpNet], advertise: IpAddr) -> anyhow::Result<()> {
    let differs = |range: &&IpNet| range.addr().is_ipv4() != advertise.is_ipv4();
    // Nobody outside reaches a loopback address: there is no endpoint.
    match ranges.first().filter(differs) {
        Some(range) if reconciler != Reconciler::None && !advertise.is_loopback() => {
            let (range, advertise) = (range.to_string(), advertise.to_string());
            bail!("service IP family {range:?} must match public address family {advertise:?}")
        }
        _ => Ok(()),
    }
}

/// How clients are sent elsewhere.
///
/// # Errors
/// A chance is none; in upstream's words.
pub fn leaving(flags: &Flags) -> anyhow::Result<Policy> {
    if !(0.0..=MOST_GOAWAY_CHANCE).contains(&flags.goaway_chance) {
        bail!("--goaway-chance can not be less than 0 or greater than {MOST_GOAWAY_CHANCE}");
    }
    Ok(Policy { goaway_chance: flags.goaway_chance, send_retry_after: flags.shutdown_send_retry_after })
}

/// The server's Lease, where the feature is on.
///
/// # Errors
/// The host has no name, or there is no such feature.
pub fn identity(flags: &Flags) -> anyhow::Result<Option<Identity>> {
    if !flags.feature_gates.gates()?.enabled("APIServerIdentity") {
        return Ok(None);
    }
    let hostname = nix::unistd::gethostname()?;
    Ok(Some(Identity::of_host(&hostname.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::UNSUPPORTED;

    fn flags(words: &[&str]) -> Flags {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        component::flags::parse("kube-apiserver", &words, UNSUPPORTED).expect("known flags")
    }

    #[test]
    fn what_upstream_refuses_is_refused_in_its_words() {
        let said = |words: &[&str]| {
            let flags = flags(words);
            let outcome = reconciler(&flags).map(|r| format!("{r:?}")).and_then(|r| Ok((r, leaving(&flags)?)));
            outcome.map(|(reconciler, _)| reconciler).map_err(|error| error.to_string())
        };
        assert_eq!(said(&[]), Ok("Lease".into()));
        assert_eq!(said(&["--endpoint-reconciler-type=none", "--goaway-chance=0.02"]), Ok("None".into()));
        let counted = ["--endpoint-reconciler-type=master-count", "--apiserver-count=3"];
        assert_eq!(said(&counted), Ok("MasterCount(3)".into()));
        for (word, why) in [
            ("--endpoint-reconciler-type=x", "Reconciler not implemented: x"),
            ("--apiserver-count=0", "--apiserver-count should be a positive number, but value '0' provided"),
            ("--goaway-chance=0.03", "--goaway-chance can not be less than 0 or greater than 0.02"),
            ("--goaway-chance=-1", "--goaway-chance can not be less than 0 or greater than 0.02"),
        ] {
            assert_eq!(said(&[word]), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_address_is_of_the_services_family() {
        let same = |reconciler, range: &str, advertise: &str| {
            let ranges = [range.parse().expect("a range")];
            same_family(reconciler, &ranges, advertise.parse().expect("an address")).map_err(|e| e.to_string())
        };
        assert_eq!(same(Reconciler::Lease, "10.0.0.0/24", "192.0.2.1"), Ok(()));
        assert_eq!(same(Reconciler::Lease, "fd00::/108", "2001:db8::1"), Ok(()));
        assert_eq!(same(Reconciler::None, "fd00::/108", "192.0.2.1"), Ok(()));
        assert_eq!(same(Reconciler::Lease, "fd00::/108", "127.0.0.1"), Ok(()));
        let why = "service IP family \"fd00::/108\" must match public address family \"192.0.2.1\"";
        assert_eq!(same(Reconciler::Lease, "fd00::/108", "192.0.2.1"), Err(why.into()));
    }
}
