//! What is read off a Node: its pods' ranges, its addresses, its end of the tunnel. The informer holds this and no more
//! (a Node is some 10 kB, most of it the names of images).

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a node says how it is reached through the tunnel: an [`Endpoint`] as JSON.
pub const ANNOTATION: &str = "network.ferry.dev/vxlan";

/// The address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The one of a node's end of the tunnel. It is the same after each start, so that what the other nodes know of a node
    /// that starts anew stays true, also for those that cannot be told; and it is given to the device when that is made,
    /// which keeps the machine's own device manager from giving it another one.
    pub fn of_node(name: &str) -> Self {
        let hash = Sha256::digest(format!("vxlan {name}").as_bytes());
        // Locally administered, of one device.
        Self([hash[0] & 0xfc | 0x02, hash[1], hash[2], hash[3], hash[4], hash[5]])
    }

    /// Of six bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(*bytes.first_chunk::<6>().filter(|_| bytes.len() == 6)?))
    }
}

impl Display for Mac {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes: Option<Vec<u8>> =
            text.split(':').map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2)).collect();
        bytes.and_then(|bytes| Self::from_bytes(&bytes)).ok_or_else(|| format!("{text:?} is no link's address"))
    }
}

/// A node's end of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's number.
    pub vni: u32,
    /// The port on which it listens.
    pub port: u16,
    /// The device's.
    #[serde(with = "as_text")]
    pub mac: Mac,
    /// Where packets for it are sent.
    pub address: IpAddr,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Mac;

    pub fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A node as the others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Since when it is there: of two that claim the same addresses, the older has them.
    pub since: Option<String>,
    /// `spec.podCIDRs`, each without bits behind its prefix.
    pub ranges: Vec<IpNet>,
    /// Its internal addresses, the preferred one of each family first.
    pub addresses: Vec<IpAddr>,
    /// What it has published.
    pub endpoint: Option<Endpoint>,
}

impl Node {
    /// What the part says. What cannot be read is not there.
    pub fn of(part: &NodePart) -> Self {
        let annotation = part.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        let spec = part.spec.clone().unwrap_or_default();
        let ranges = spec.pod_cidrs.or_else(|| Some(vec![spec.pod_cidr?])).unwrap_or_default();
        let addresses = part.status.iter().flat_map(|status| status.addresses.iter().flatten());
        Self {
            name: part.metadata.name.clone().unwrap_or_default(),
            since: part.metadata.creation_timestamp.as_ref().map(|Time(at)| at.to_string()),
            ranges: ranges.iter().filter_map(|range| Some(range.parse::<IpNet>().ok()?.trunc())).collect(),
            addresses: addresses
                .filter(|address| address.kind == "InternalIP")
                .filter_map(|address| address.address.parse().ok())
                .collect(),
            endpoint: annotation.and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}

/// The part of a Node that bears on the network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodePart {
    /// The whole of it.
    pub metadata: ObjectMeta,
    spec: Option<SpecPart>,
    status: Option<StatusPart>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct SpecPart {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StatusPart {
    addresses: Option<Vec<Address>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Resource for NodePart {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
