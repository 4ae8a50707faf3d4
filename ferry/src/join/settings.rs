//! What a cluster's nodes have to agree on. Servers keep it as a ConfigMap, as kubeadm does with the kubelets'
//! configuration; each node has a copy of what it was told last, with which it starts while no server answers.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use balancer::Pool;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use network::Mode;

use super::write;

/// Where it is.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "ferry";
const KEY: &str = "settings.json";
/// How long servers may take to tell it, before the copy will do.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Where pods have their addresses.
    #[serde(rename = "clusterCIDRs")]
    pub cluster_cidrs: Vec<IpNet>,
    /// The address of the cluster DNS's Service.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: IpAddr,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// The prefix length of a node's part of those: of any family, of IPv4, of IPv6; 0: as is usual.
    #[serde(rename = "nodeCIDRMaskSizes")]
    pub node_cidr_mask_sizes: [u8; 3],
    /// How pods of other nodes are reached.
    #[serde(with = "mode")]
    pub network: Mode,
    /// Namespaces are isolated but for what policies open.
    #[serde(default)]
    pub default_deny: bool,
    /// Where Services of type LoadBalancer have their addresses; none: they have the nodes' own.
    #[serde(default)]
    pub load_balancer_addresses: Vec<String>,
}

impl Settings {
    /// The pool of addresses of load balancers.
    ///
    /// # Errors
    /// One of them is no range.
    pub fn load_balancers(&self) -> anyhow::Result<Option<Pool>> {
        let all = &self.load_balancer_addresses;
        let pool = (!all.is_empty()).then(|| Pool::parse(all)).transpose();
        pool.map_err(|error| anyhow::anyhow!("--load-balancer-addresses: {error}"))
    }

    /// Has the nodes told; `client` is of the administrator.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn publish(&self, client: kube::Client) -> anyhow::Result<()> {
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
            data: Some([(KEY.to_owned(), serde_json::to_string_pretty(self)?)].into()),
            ..ConfigMap::default()
        };
        let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        maps.patch(NAME, &PatchParams::apply("ferry-up").force(), &Patch::Apply(&map)).await?;
        Ok(())
    }

    /// What the servers say, or, where none answers, the copy in `file`.
    ///
    /// # Errors
    /// No server answers and there is no copy, or this program is too old for what they say.
    pub async fn fetch(client: kube::Client, file: &Path) -> anyhow::Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let told = match tokio::time::timeout(PATIENCE, maps.get_opt(NAME)).await {
            Ok(Ok(Some(map))) => Ok(map),
            Ok(Ok(None)) => bail!("the cluster has no ConfigMap {NAMESPACE}/{NAME}: `ferry up` makes it at its start"),
            Ok(Err(error)) => Err(anyhow::Error::from(error)),
            Err(_) => Err(anyhow::anyhow!("no server answers")),
        };
        let text = match told {
            Ok(map) => {
                let text = map.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
                write(file, &text, 0o644)?;
                text
            }
            Err(error) => match std::fs::read_to_string(file) {
                Ok(copy) => {
                    tracing::warn!(%error, "no server says what nodes agree on; going by what was said before");
                    copy
                }
                Err(_) => return Err(error.context("asking the cluster for what its nodes agree on")),
            },
        };
        serde_json::from_str(&text).with_context(|| format!("the ConfigMap {NAMESPACE}/{NAME}"))
    }
}

/// As `--network` has it.
mod mode {
    use clap::ValueEnum;
    use network::Mode;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mode.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()).as_str())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(from)?;
        Mode::from_str(&text, false).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_they_were_after_they_were_told() {
        let settings = Settings {
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
            cluster_dns: "10.96.0.10".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            node_cidr_mask_sizes: [0, 25, 64],
            network: Mode::Vxlan,
            default_deny: true,
            load_balancer_addresses: vec!["192.0.2.100-192.0.2.120".into()],
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains(r#""network":"vxlan""#), "{text}");
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert!(serde_json::from_str::<Settings>(&text.replace("vxlan", "pigeons")).is_err());
    }
}
