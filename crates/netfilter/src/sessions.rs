//! What packets have put into sets: the one thing of a table that nobody but the kernel knows.

use std::{io, net::IpAddr, time::Duration};

use nix::errno::Errno;

use crate::{
    Socket,
    netlink::{Attributes, DONE, DUMP, Head, Message, attributes, find},
    tables::Table,
};

/// `NFT_MSG_GETSET` and `NFT_MSG_GETSETELEM` of nf_tables.
const GET_SET: u16 = 10 << 8 | 10;
const GET_ELEMENTS: u16 = 10 << 8 | 13;

/// Addresses by the set that they are in, with what time is left to each.
pub type TimedAddresses = Vec<(String, Vec<(IpAddr, Duration)>)>;

impl Socket {
    /// The addresses in those sets of a table whose elements go after a time; `None` if there is no such table.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn timed_addresses(&mut self, table: &Table) -> io::Result<Option<TimedAddresses>> {
        let mut sets = Vec::new();
        let listed = self.dump(
            table,
            GET_SET,
            |out| out.text(1, &table.name),
            |message| {
                let timed = find(message.attributes(), 11).is_some();
                sets.extend(find(message.attributes(), 2).and_then(text).filter(|_| timed));
            },
        );
        match listed {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
            other => other?,
        }
        let mut all = Vec::new();
        for set in sets {
            let mut found = Vec::new();
            let named = |out: &mut Attributes<'_>| {
                out.text(1, &table.name);
                out.text(2, &set);
            };
            self.dump(table, GET_ELEMENTS, named, |message| {
                let elements = find(message.attributes(), 3).into_iter().flat_map(attributes);
                found.extend(elements.filter_map(|(_, element)| timed(element)));
            })?;
            if !found.is_empty() {
                all.push((set, found));
            }
        }
        Ok(Some(all))
    }

    pub(crate) fn dump(
        &mut self,
        table: &Table,
        kind: u16,
        body: impl FnOnce(&mut Attributes<'_>),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.send(Head { kind, flags: DUMP, family: table.version.number(), ..Head::default() }, body)?;
        self.receive(|message| {
            let last = message.kind == DONE;
            if !last {
                each(message);
            }
            last
        })
    }
}

pub(crate) fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8(value[..end].to_vec()).ok()
}

/// An element that is an address and has its time.
fn timed(element: &[u8]) -> Option<(IpAddr, Duration)> {
    let key = find(find(element, 1)?, 1)?;
    let left = u64::from_be_bytes(*find(element, 5)?.first_chunk::<8>()?);
    let address = match key.len() {
        4 => IpAddr::from(*key.first_chunk::<4>()?),
        16 => IpAddr::from(*key.first_chunk::<16>()?),
        _ => return None,
    };
    Some((address, Duration::from_millis(left)))
}
