//! A network namespace for a bench that measures a proxy: it has loopback, on which the endpoints are, a way for the addresses
//! of Services, and a default route, which leads nowhere: upstream's server asks for one.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

/// Set where the bench is in a namespace of its own: to the one that it comes from, so that no other value will do.
const OUTSIDE: &str = "FERRY_BENCH_COMES_FROM";

/// Where endpoints are.
pub(crate) const ENDPOINTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 0, 1), Ipv4Addr::new(10, 244, 0, 2)];

/// Whether the bench is in one.
pub(crate) fn is_own() -> bool {
    let outside = std::env::var(OUTSIDE).unwrap_or_default();
    outside.starts_with("net:[") && present().is_ok_and(|present| present != outside)
}

/// The network namespace of this process, as the kernel names it.
fn present() -> std::io::Result<String> {
    Ok(std::fs::read_link("/proc/self/ns/net")?.display().to_string())
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
    let (program, outside) = match std::env::current_exe().and_then(|program| Ok((program, present()?))) {
        Ok(found) => found,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", setup, "sh"]).arg(program).arg("bench").args(argv).env(OUTSIDE, outside);
    anyhow::Error::from(command.exec()).context("starting the bench in a network namespace (it needs root)")
}
