//! A network namespace for a bench that measures a proxy: it has loopback, on which the endpoints are, a way for the addresses
//! of Services, and a default route, which leads nowhere: upstream's server asks for one.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

/// Set where the bench is in a namespace of its own.
const INSIDE: &str = "FERRY_BENCH_NETWORK";

/// Where endpoints are.
pub(crate) const ENDPOINTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 0, 1), Ipv4Addr::new(10, 244, 0, 2)];

/// Whether the bench is in one.
pub(crate) fn is_own() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Removes all rules of packets in the namespace: a proxy leaves its own when it ends.
pub(crate) fn clean() -> anyhow::Result<()> {
    anyhow::ensure!(is_own(), "these are the machine's rules");
    let done = Command::new("nft").args(["flush", "ruleset"]).status().context("running nft")?;
    anyhow::ensure!(done.success(), "nft flush ruleset: {done}");
    Ok(())
}

/// Starts the bench again, inside; returns only if that can't be.
pub(crate) fn enter(argv: &[String]) -> anyhow::Error {
    let setup = "ip link set lo up && ip addr add 10.244.0.1/32 dev lo && ip addr add 10.244.0.2/32 dev lo \
        && ip route add 10.96.0.0/16 dev lo src 10.244.0.1 \
        && ip link add out type veth peer name end && ip link set end up && ip link set out up \
        && ip addr add 192.0.2.1/24 dev out && ip route add default via 192.0.2.2 && exec \"$@\"";
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", setup, "sh"]).arg(program).arg("bench").args(argv).env(INSIDE, "1");
    anyhow::Error::from(command.exec()).context("starting the bench in a network namespace (it needs root)")
}
