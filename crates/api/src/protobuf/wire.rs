//! Protobuf's wire format: tagged varints, fixed numbers and length-prefixed bytes.

use super::Error;

/// A value as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Fixed32(u32),
}

/// The fields of a message, in order; ends after the first fault.
pub fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { rest: bytes }
}

pub struct Fields<'b> {
    rest: &'b [u8],
}

fn fault(what: &str) -> Error {
    Error(format!("proto: {what}"))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(|| fault("unexpected EOF"))?;
        *bytes = rest;
        if shift == 63 && *first > 1 {
            break;
        }
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(fault("integer overflow"))
}

/// Reads the varints of a packed list.
pub fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, Error>> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| varint(&mut bytes).inspect_err(|_| bytes = &[])))
}

fn take<'b>(bytes: &mut &'b [u8], length: u64) -> Result<&'b [u8], Error> {
    let length = usize::try_from(length).ok().filter(|l| *l <= bytes.len()).ok_or_else(|| fault("unexpected EOF"))?;
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(head)
}

impl<'b> Fields<'b> {
    /// What has not been read.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<(u64, Wire<'b>), Error> {
        let rest = &mut self.rest;
        let tag = varint(rest)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(fault("illegal tag 0"));
        }
        let array = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).unwrap_or_default();
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(array(take(rest, 8)?))),
            2 => {
                let length = varint(rest)?;
                Wire::Bytes(take(rest, length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(<[u8; 4]>::try_from(take(rest, 4)?).unwrap_or_default())),
            other => return Err(fault(&format!("illegal wireType {other}"))),
        };
        Ok((number, wire))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Wire<'b>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.read().inspect_err(|_| self.rest = &[]))
    }
}

pub fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn write_tag(number: u16, wire: u64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | wire, out);
}

pub fn write_number(number: u16, value: u64, out: &mut Vec<u8>) {
    write_tag(number, 0, out);
    write_varint(value, out);
}

pub fn write_bytes(number: u16, bytes: &[u8], out: &mut Vec<u8>) {
    write_tag(number, 2, out);
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// How many bytes a varint takes.
pub fn length_of_varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes [`write_bytes`] appends for so many.
pub fn length_of_bytes(number: u16, length: usize) -> usize {
    length_of_varint(u64::from(number) << 3) + length_of_varint(length as u64) + length
}

/// Appends a message whose length is known once it is written.
pub fn write_nested(number: u16, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write_tag(number, 2, out);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return;
    }
    // Most messages are short; the few long ones are moved by what their length takes more.
    let mut varint = Vec::with_capacity(5);
    write_varint(length as u64, &mut varint);
    out.splice(at..=at, varint);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            write_number(5, value, &mut out);
            assert_eq!(fields(&out).collect::<Vec<_>>(), [Ok((5, Wire::Varint(value)))]);
        }
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for bytes in [
            &[0x08][..],
            &[0x0a, 5, 1],
            &[0x00, 1],
            &[0x0b, 0],
            &[0xff; 11],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(fields(bytes).any(|f| f.is_err()), "{bytes:?}");
        }
    }
}
