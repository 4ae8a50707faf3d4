//! The CNI plugins' traces in the kernel: they masquerade and map host ports with iptables, which leaves its `nat` tables
//! and empty chains behind. What was not there before `ferry up` is taken away by `ferry down`, unless somebody else has
//! put a rule into it since.

use std::fs;
use std::process::Command;

use super::flags::Layout;

/// The tables, and the plugins' chains in them.
const TABLES: &[&str] = &["ip nat", "ip6 nat", "ip filter", "ip6 filter"];
const CHAINS: &str = "CNI-";

/// Writes down which tables there are, once a cluster.
pub fn remember(layout: &Layout) {
    let file = layout.nat_file();
    if !file.exists() {
        let there: Vec<&str> = TABLES.iter().copied().filter(|table| list(table).is_some()).collect();
        let _ = fs::write(file, there.join("\n"));
    }
}

/// Removes the plugins' chains, and tables that are new and empty.
pub fn clean(layout: &Layout) {
    let Ok(before) = fs::read_to_string(layout.nat_file()) else { return };
    for table in TABLES {
        let Some(text) = list(table) else { continue };
        let script = removal(table, &text);
        if !script.is_empty() {
            let _ = nft(&[&script]);
        }
        let empty = list(table).is_some_and(|text| rules(&text).is_empty());
        if empty && !before.lines().any(|line| line == *table) {
            let _ = nft(&[&format!("delete table {table}")]);
        }
    }
    let _ = fs::remove_file(layout.nat_file());
}

fn nft(arguments: &[&str]) -> Option<String> {
    let output = Command::new("nft").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn list(table: &str) -> Option<String> {
    nft(&["-a", "list", "table", table.split(' ').next()?, table.split(' ').nth(1)?])
}

/// Chain and text of every rule.
fn rules(text: &str) -> Vec<(&str, &str)> {
    let mut chain = "";
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("chain ") {
            chain = rest.split(' ').next().unwrap_or_default();
        } else if line.contains("# handle ") && !line.starts_with("table ") {
            rules.push((chain, line));
        }
    }
    rules
}

/// Commands that take the plugins' chains out of a table, and the jumps to them before.
fn removal(table: &str, text: &str) -> String {
    let chains: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("chain ")?.split(' ').next())
        .filter(|chain| chain.starts_with(CHAINS))
        .collect();
    let mut script = String::new();
    for (chain, rule) in rules(text) {
        let handle = rule.rsplit("# handle ").next().unwrap_or_default();
        if !chain.starts_with(CHAINS) && rule.contains(&format!("jump {CHAINS}")) {
            script.push_str(&format!("delete rule {table} {chain} handle {handle}\n"));
        }
    }
    chains.iter().for_each(|chain| script.push_str(&format!("flush chain {table} {chain}\n")));
    chains.iter().for_each(|chain| script.push_str(&format!("delete chain {table} {chain}\n")));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_chains_go_and_others_rules_stay() {
        let text = "table ip nat { # handle 3\n\tchain POSTROUTING { # handle 1\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tcounter packets 0 bytes 0 jump CNI-HOSTPORT-MASQ # handle 7\n\t\toifname \"eth0\" masquerade # handle 8\n\t}\n\tchain CNI-HOSTPORT-MASQ { # handle 2\n\t\tmark and 0x2000 == 0x2000 masquerade # handle 9\n\t}\n}\n";
        let expected = "delete rule ip nat POSTROUTING handle 7\nflush chain ip nat CNI-HOSTPORT-MASQ\ndelete chain ip nat CNI-HOSTPORT-MASQ\n";
        assert_eq!(removal("ip nat", text), expected);
        let all = rules(text);
        assert_eq!(
            all.iter().map(|(chain, _)| *chain).collect::<Vec<_>>(),
            ["POSTROUTING", "POSTROUTING", "CNI-HOSTPORT-MASQ"]
        );
    }
}
