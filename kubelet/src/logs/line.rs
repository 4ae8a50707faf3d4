//! The runtime's log format: `<RFC 3339 time> <stdout|stderr> <tags> <content>\n`, where the tag `P` marks a part of a longer line.

use jiff::Timestamp;

/// One record; `content` ends with a newline unless it is a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) time: Timestamp,
    /// The time as written: it is passed on unchanged.
    pub(crate) stamp: &'a str,
    pub(crate) stderr: bool,
    pub(crate) partial: bool,
    /// Without the newline.
    pub(crate) content: &'a [u8],
}

/// `record` without its newline. `None` for what no runtime wrote.
pub(crate) fn parse(record: &[u8]) -> Option<Line<'_>> {
    let mut parts = record.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(parts.next()?).ok()?;
    let time = stamp.parse().ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stamp, stderr, partial, content: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let line = parse(b"2016-10-06T00:17:09.669794202Z stdout F log content 1").expect("a record");
        assert_eq!((line.stderr, line.partial, line.content), (false, false, b"log content 1".as_slice()));
        let line = parse(b"2016-10-06T02:17:09.669794202+02:00 stderr P:x part").expect("a record");
        assert_eq!(
            (line.stderr, line.partial, line.time.to_string().as_str()),
            (true, true, "2016-10-06T00:17:09.669794202Z")
        );
        assert_eq!(parse(b"2016-10-06T00:17:09Z stdout F").expect("an empty line").content, b"");
        for bad in ["", "x stdout F c", "2016-10-06T00:17:09Z stdlog F c", "2016-10-06T00:17:09Z"] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
