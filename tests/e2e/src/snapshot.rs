//! What a machine holds, to be compared before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::machine::Machine;

/// One line a thing: processes, mounts, cgroups, links, routes, rules, network namespaces, files of runtimes.
pub fn take(machine: &Machine) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(machine.processes().into_iter().map(|(_, command)| format!("process {command}")));
    let mut add = |kind: &str, script: &str| {
        all.extend(machine.sh(script).lines().map(|line| format!("{kind} {}", line.trim())));
    };
    add("mount", "cut -d' ' -f1-3 /proc/1/mounts");
    add("link", "ip -o link | cut -d: -f2");
    add("address", "ip -o -4 addr | awk '{print $2, $4}'");
    add("route", "ip route show table all");
    add("nft", "nft list ruleset | grep -v '^$' | awk '/^table/{t=$0} {print t \": \" $0}'");
    add("namespace", "ls /run/netns 2>/dev/null || true");
    add("run", "find /run -mindepth 1 ! -type d ! -path '/run/netns/outside' | grep -v xtables.lock || true");
    add("cni", "find /var/lib/cni -type f 2>/dev/null || true");
    for group in machine.groups() {
        below(group, group, &mut all);
    }
    all
}

fn below(base: &Path, folder: &Path, all: &mut BTreeSet<String>) {
    for child in fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        all.insert(format!("cgroup {} in {}", child.strip_prefix(base).unwrap_or(&child).display(), base.display()));
        below(base, &child, all);
    }
}

/// What is there after and was not before, and the other way round.
pub fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let added = after.difference(before).map(|line| format!("+ {line}"));
    added.chain(before.difference(after).map(|line| format!("- {line}"))).collect()
}
