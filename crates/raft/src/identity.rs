//! Who this member is, on disk: its cluster's name and its number, written once and before anything is done under them.

use std::sync::Arc;

use bytes::Bytes;
use storage::disk::Disk;
use storage::engine::{corrupt, disk_error};

use crate::codec::{Broken, Encode, Input, VERSION};
use crate::types::NodeId;

/// The file. The embedded engine knows the name, and begins no store of its own beside it.
const NAME: &str = "raft-identity";
/// Longer ones are damaged.
const LIMIT_BYTES: usize = 4096;

/// Who a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// On its way to a cluster: by this token it asks for a number, and gets the same one if it has to ask again.
    Joining {
        /// Random.
        token: u128,
    },
    /// A member.
    Member {
        /// Of this cluster
        cluster: u128,
        /// this one.
        node: NodeId,
    },
}

impl Encode for Identity {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        match self {
            Self::Joining { token } => {
                out.push(1);
                token.encode(out);
            }
            Self::Member { cluster, node } => {
                out.push(2);
                cluster.encode(out);
                node.encode(out);
            }
        }
        crc32fast::hash(out).encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let whole = input.0.clone();
        let version = u16::decode(input)?;
        if version != VERSION {
            return Err(format!("form {version} is not known to this version"));
        }
        let identity = match u8::decode(input)? {
            1 => Self::Joining { token: u128::decode(input)? },
            2 => Self::Member { cluster: u128::decode(input)?, node: u64::decode(input)? },
            other => return Err(format!("identity of unknown kind {other}")),
        };
        let said = whole.len() - input.0.len();
        if u32::decode(input)? == crc32fast::hash(&whole[..said]) { Ok(identity) } else { Err("damaged".to_owned()) }
    }
}

impl Identity {
    /// The identity on a disk, if it has one.
    pub fn load(disk: &dyn Disk) -> storage::Result<Option<Self>> {
        let io = |e| disk_error(&format!("reading {NAME}"), &e);
        if !disk.list().map_err(io)?.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(NAME).map_err(io)?;
        let mut bytes = vec![0; LIMIT_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(io)?;
        bytes.truncate(read);
        let identity = Self::from_bytes(Bytes::from(bytes)).map_err(|e| corrupt(NAME, 0, &e))?;
        // A process that was killed may have left a name that is not durable yet.
        disk.sync_directory().map_err(io)?;
        Ok(Some(identity))
    }

    /// Makes it the identity on a disk, durably.
    pub fn save(self, disk: &Arc<dyn Disk>) -> storage::Result<()> {
        let io = |e| disk_error(&format!("writing {NAME}"), &e);
        let temporary = format!("{NAME}.tmp");
        let file = disk.create(&temporary).map_err(io)?;
        file.write_at(0, &self.to_bytes()).map_err(io)?;
        file.sync().map_err(io)?;
        disk.sync_directory().map_err(io)?;
        disk.rename(&temporary, NAME).map_err(io)?;
        disk.sync_directory().map_err(io)
    }
}

/// A name for a new cluster, or a token: nobody else's.
pub fn unique() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}
