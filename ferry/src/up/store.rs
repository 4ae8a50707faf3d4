//! Where a server keeps the cluster's state, noted in its data directory: `ferry token create --server` tells new servers.

use crate::join::keys::Etcd;

use super::flags::Layout;

/// In the data directory.
const FILE: &str = "server.json";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Store {
    /// The etcd; without members the embedded store.
    pub etcd: Etcd,
    /// Members of the replicated embedded store that are known, each `IP:PORT`, this server's own among them; none: it is not
    /// replicated.
    #[serde(default)]
    pub members: Vec<String>,
}

impl Store {
    /// As it was noted at the last start; `None` before the first.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(layout: &Layout) -> anyhow::Result<Option<Self>> {
        match std::fs::read_to_string(layout.data.join(FILE)) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        component::files::write(&layout.data.join(FILE), &serde_json::to_string_pretty(self)?, 0o644)
    }

    /// Whether several servers can use it at once.
    pub fn is_shared(&self) -> bool {
        !self.etcd.servers.is_empty() || !self.members.is_empty()
    }
}
