//! PEM as Go's `encoding/pem` reads it: blocks of base64 between two lines, with headers perhaps; what is around them, and
//! what is no whole block, is passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// A block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// `CERTIFICATE REQUEST`.
    pub(super) kind: String,
    /// Whether there are headers before the data.
    pub(super) headers: bool,
    pub(super) bytes: Vec<u8>,
}

/// The first block, and what follows it.
pub(super) fn decode(text: &str) -> Option<(Block, &str)> {
    let mut rest = text;
    loop {
        let start = if rest.starts_with(BEGIN) { 0 } else { rest.find("\n-----BEGIN ")? + 1 };
        let (line, inner) = rest[start + BEGIN.len()..].split_once('\n')?;
        rest = inner;
        let Some(kind) = line.trim_end().strip_suffix(DASHES) else { continue };
        let mut body = inner;
        let mut headers = false;
        while let Some((line, after)) = body.split_once('\n').filter(|(line, _)| line.contains(':')) {
            headers |= !line.is_empty();
            body = after;
        }
        let end = format!("{DASHES}END {kind}{DASHES}");
        let Some(at) = body.find(&end).filter(|at| *at == 0 || body[..*at].ends_with('\n')) else { continue };
        let data: String = body[..at].split_ascii_whitespace().collect();
        let Ok(bytes) = STANDARD.decode(data) else { continue };
        let after = &body[at + end.len()..];
        return Some((
            Block { kind: kind.to_owned(), headers, bytes },
            after.trim_start_matches([' ', '\t', '\r', '\n']),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let block = |kind: &str, data: &str| format!("-----BEGIN {kind}-----\n{data}\n-----END {kind}-----\n");
        let text = format!("hello\n{}between\n{}", block("A", "AAEC"), block("B C", "AwQ="));
        let (first, rest) = decode(&text).expect("a block");
        assert_eq!(first, Block { kind: "A".to_owned(), headers: false, bytes: vec![0, 1, 2] });
        let (second, rest) = decode(rest).expect("another");
        assert_eq!(second, Block { kind: "B C".to_owned(), headers: false, bytes: vec![3, 4] });
        assert_eq!((rest, decode(rest)), ("", None));
        let (headed, _) = decode(&block("A", "Key: value\n\nAAEC")).expect("a block with headers");
        assert_eq!((headed.headers, headed.bytes), (true, vec![0, 1, 2]));
        for none in ["", "text", &block("A", "?"), "-----BEGIN A-----\nAAEC\n-----END B-----\n"] {
            assert_eq!(decode(none), None, "{none}");
        }
    }
}
