//! What a table's counters have come to: like clients in sets, nobody but the kernel knows it.

use std::io;

use crate::{Socket, encode::COUNTER, netlink::find, sessions::text, tables::Table};

/// `NFT_MSG_GETOBJ` of nf_tables.
const GET_OBJECT: u16 = 10 << 8 | 19;

/// What a counter has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The counter's name.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Socket {
    /// The counters of a table that have names; none if there is no such table.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn counters(&mut self, table: &Table) -> io::Result<Vec<Counted>> {
        let mut all = Vec::new();
        self.dump(
            table,
            GET_OBJECT,
            |out| {
                out.text(1, &table.name);
                out.u32(3, COUNTER);
            },
            |message| all.extend(counted(message.attributes())),
        )?;
        Ok(all)
    }
}

fn counted(body: &[u8]) -> Option<Counted> {
    let data = find(body, 4)?;
    let number = |kind| Some(u64::from_be_bytes(*find(data, kind)?.first_chunk::<8>()?));
    Some(Counted { name: text(find(body, 2)?)?, bytes: number(1)?, packets: number(2)? })
}
