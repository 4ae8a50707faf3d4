//! Netlink's wire form (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`): messages of a header and attributes, each
//! padded to four bytes, in the machine's byte order but for what netfilter writes in the network's.

/// Types of messages that every subsystem has.
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;

/// Flags of a message.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
/// Of an error: attributes follow, and the message that it is about is not repeated in whole.
const CAPPED: u16 = 0x100;
const EXTENDED: u16 = 0x200;

/// An attribute that holds attributes.
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// A header, and netfilter's own (`nfgenmsg`) behind it.
const HEADER: usize = 16;
pub(crate) const HEADERS: usize = HEADER + 4;

/// Messages, one after another.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Appends a message; what `body` writes are its attributes.
    pub(crate) fn message(&mut self, head: Head, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.out.len();
        self.out.extend([0; 4]);
        self.out.extend(head.kind.to_ne_bytes());
        self.out.extend((REQUEST | head.flags).to_ne_bytes());
        self.out.extend(head.sequence.to_ne_bytes());
        self.out.extend([0; 4]);
        self.out.extend([head.family, 0]);
        self.out.extend(head.resource.to_be_bytes());
        body(&mut Attributes { out: &mut self.out });
        let length = self.out.len() - start;
        self.out[start..start + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// What stands before the attributes of a message.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) family: u8,
    pub(crate) resource: u16,
}

/// The attributes of a message or of an attribute that is being written.
pub(crate) struct Attributes<'m> {
    out: &'m mut Vec<u8>,
}

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.out.extend((4 + value.len() as u16).to_ne_bytes());
        self.out.extend(kind.to_ne_bytes());
        self.out.extend(value);
        self.pad();
    }

    /// With the zero at its end that the kernel wants.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.out.extend((5 + value.len() as u16).to_ne_bytes());
        self.out.extend(kind.to_ne_bytes());
        self.out.extend(value.as_bytes());
        self.out.push(0);
        self.pad();
    }

    /// In the network's byte order, as all of netfilter's numbers.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Likewise.
    pub(crate) fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.out.len();
        self.out.extend([0; 2]);
        self.out.extend((kind | NESTED).to_ne_bytes());
        body(&mut Attributes { out: self.out });
        let length = (self.out.len() - start) as u16;
        self.out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Attributes as they were received.
    pub(crate) fn raw(&mut self, kind: u16, attributes: &[u8]) {
        self.bytes(kind | NESTED, attributes);
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message<'d> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// What follows the first header.
    pub(crate) body: &'d [u8],
}

impl<'d> Message<'d> {
    /// Those in what was received; what is cut off is left out.
    pub(crate) fn all(mut data: &'d [u8]) -> impl Iterator<Item = Message<'d>> {
        std::iter::from_fn(move || {
            let length = u32::from_ne_bytes(*data.first_chunk::<4>()?) as usize;
            let (kind, flags) = (short(data, 4)?, short(data, 6)?);
            let sequence = u32::from_ne_bytes(*data.get(8..)?.first_chunk::<4>()?);
            let body = data.get(HEADER..length)?;
            data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Message { kind, flags, sequence, body })
        })
    }

    /// The attributes of one of netfilter's own.
    pub(crate) fn attributes(&self) -> &'d [u8] {
        self.body.get(HEADERS - HEADER..).unwrap_or_default()
    }

    /// What an error says: its number (0 is success), and the kernel's own words where it has any.
    pub(crate) fn outcome(&self) -> Option<(i32, Option<String>)> {
        /// `NLMSGERR_ATTR_MSG`.
        const WORDS: u16 = 1;
        if self.kind != ERROR {
            return None;
        }
        let code = i32::from_ne_bytes(*self.body.first_chunk::<4>()?).wrapping_neg();
        let about = self.body.get(4..).unwrap_or_default();
        let repeated = about.first_chunk::<4>().map_or(HEADER, |length| u32::from_ne_bytes(*length) as usize);
        let skip = if self.flags & CAPPED != 0 { HEADER } else { repeated.next_multiple_of(4) };
        let extended = about.get(skip..).filter(|_| self.flags & EXTENDED != 0);
        let words = extended.and_then(|extended| find(extended, WORDS)).map(|words| {
            let end = words.iter().position(|byte| *byte == 0).unwrap_or(words.len());
            String::from_utf8_lossy(&words[..end]).into_owned()
        });
        Some((code, words))
    }
}

fn short(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk::<2>()?))
}

/// The attributes in a body: kind without flags, and value.
pub(crate) fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = short(data, 0)? as usize;
        let kind = short(data, 2)? & KIND;
        let value = data.get(4..length)?;
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a kind.
pub(crate) fn find(data: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        let head = Head { kind: 0xa03, flags: CREATE, sequence: 7, family: 2, resource: 0 };
        writer.message(head, |attributes| {
            attributes.text(1, "abc");
            attributes.nested(2, |inner| inner.u32(3, 5));
            attributes.u64(4, 9);
        });
        writer.message(Head { sequence: 8, ..Head::default() }, |_| ());
        let bytes = writer.into_bytes();
        let all: Vec<_> = Message::all(&bytes).collect();
        assert_eq!((all.len(), all[0].kind, all[0].sequence, all[1].sequence), (2, 0xa03, 7, 8));
        let body = all[0].attributes();
        assert_eq!(find(body, 1), Some(&b"abc\0"[..]));
        assert_eq!(find(find(body, 2).unwrap(), 3), Some(&[0, 0, 0, 5][..]));
        assert_eq!(find(body, 4).map(<[u8]>::len), Some(8));
        for cut in 0..bytes.len() {
            let read: Vec<_> = Message::all(&bytes[..cut]).flat_map(|m| attributes(m.attributes())).collect();
            assert!(read.len() <= 3);
        }
    }

    #[test]
    fn an_error_says_its_number_and_the_kernels_words() {
        let mut about = Writer::default();
        about.message(Head { kind: 0xa06, sequence: 3, ..Head::default() }, |attributes| attributes.text(1, "t"));
        let about = about.into_bytes();
        let error = |flags: u16, repeated: &[u8]| {
            let mut words = Vec::new();
            Attributes { out: &mut words }.text(1, "no such thing");
            let body = [&(-2_i32).to_ne_bytes()[..], repeated, &words].concat();
            Message { kind: ERROR, flags, sequence: 3, body: &body }.outcome()
        };
        let said = Some((2, Some("no such thing".to_owned())));
        assert_eq!(error(EXTENDED, &about), said);
        assert_eq!(error(EXTENDED | CAPPED, &about[..HEADER]), said);
        assert_eq!(error(0, &about), Some((2, None)));
    }
}
