//! The configuration of the container runtime's CNI plugins: one bridge, addresses out of the node's ranges, ports of the
//! host. Masquerading is not the plugins': they do it for each pod, and for all that leaves the node, other pods not excepted.
//!
//! It is written when the node has been given its ranges, which is what the runtime waits for; what was written before stays
//! until then. The addresses that are taken are the plugins' own business, by the folder and the network's name: neither
//! ever changes, and running pods keep theirs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::IpNet;
use serde_json::{Value, json};

/// Where to write what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// The file. The runtime takes the first of a folder by name.
    pub file: PathBuf,
    /// Where the plugins keep the addresses that are taken.
    pub ipam: PathBuf,
    /// The pods' bridge.
    pub bridge: String,
}

impl Cni {
    /// The configuration of a node with those ranges, one of a family, and so large packets.
    pub fn conflist(&self, ranges: &[IpNet], mtu: u32) -> String {
        let routes =
            ranges.iter().map(|range| json!({ "dst": if range.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" } }));
        let subnets = ranges.iter().map(|range| json!([{ "subnet": range }]));
        json!({
            "cniVersion": "1.0.0",
            "name": "ferry",
            "plugins": [
                {
                    "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": false, "hairpinMode": true, "mtu": mtu,
                    "ipam": {
                        "type": "host-local", "dataDir": self.ipam,
                        "ranges": subnets.collect::<Value>(), "routes": routes.collect::<Value>(),
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        })
        .to_string()
    }

    /// The ranges of the configuration that is there; none if there is none of ours.
    pub fn ranges(&self) -> Vec<IpNet> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let there: Value = serde_json::from_str(&text).unwrap_or_default();
        let sets = there["plugins"][0]["ipam"]["ranges"].as_array().cloned().unwrap_or_default();
        sets.iter().filter_map(|set| set[0]["subnet"].as_str()?.parse().ok()).collect()
    }

    /// Writes it, if the file does not say that already; whether it did.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn write(&self, ranges: &[IpNet], mtu: u32) -> anyhow::Result<bool> {
        write(&self.file, &self.conflist(ranges, mtu)).with_context(|| format!("writing {}", self.file.display()))
    }
}

/// Whole or not at all: the runtime watches the folder.
fn write(file: &Path, text: &str) -> std::io::Result<bool> {
    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    // A name that is no configuration's.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    fs::write(&new, text)?;
    fs::rename(&new, file)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_each_family_a_range_and_a_default_route() {
        let cni = Cni { file: "/c/10-ferry.conflist".into(), ipam: "/ipam".into(), bridge: "ferry0".into() };
        let show = |ranges: &[&str]| {
            let value: Value = serde_json::from_str(&cni.conflist(&nets(ranges), 1450)).unwrap();
            let bridge = &value["plugins"][0];
            format!("{} mtu {} masq {}", bridge["ipam"], bridge["mtu"], bridge["ipMasq"])
        };
        expect![[r#"{"dataDir":"/ipam","ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}],"type":"host-local"} mtu 1450 masq false"#]]
            .assert_eq(&show(&["10.244.1.0/24"]));
        expect![[r#"{"dataDir":"/ipam","ranges":[[{"subnet":"10.244.1.0/24"}],[{"subnet":"fd00:1::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"type":"host-local"} mtu 1450 masq false"#]]
            .assert_eq(&show(&["10.244.1.0/24", "fd00:1::/64"]));
    }

    #[test]
    fn what_is_there_already_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("net.d/10-ferry.conflist");
        let cni = Cni { file: file.clone(), ipam: "/ipam".into(), bridge: "ferry0".into() };
        let ranges = nets(&["10.244.1.0/24"]);
        assert_eq!(cni.ranges(), []);
        assert!(cni.write(&ranges, 1450).unwrap());
        assert_eq!(cni.ranges(), ranges);
        assert!(!cni.write(&ranges, 1450).unwrap());
        assert!(cni.write(&ranges, 1500).unwrap());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left in the folder");
    }
}
