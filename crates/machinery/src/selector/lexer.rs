//! The tokens of a label selector.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    ClosedPar,
    Comma,
    DoesNotExist,
    DoubleEquals,
    Equals,
    GreaterThan,
    Identifier,
    In,
    LessThan,
    NotEquals,
    NotIn,
    OpenPar,
}

fn known(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::ClosedPar,
        "," => Token::Comma,
        "!" => Token::DoesNotExist,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "in" => Token::In,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::OpenPar,
        _ => return None,
    })
}

fn special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// All tokens with their text; the last is End. A NUL byte ends the input, as upstream's reader takes it for the end.
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && space(bytes[at]) {
            at += 1;
        }
        if at >= bytes.len() || bytes[at] == 0 {
            out.push((Token::End, String::new()));
            return out;
        }
        let start = at;
        if special(bytes[at]) {
            // The longest run of special characters that is a token.
            let mut last = None;
            let mut end = at;
            while end < bytes.len() && special(bytes[end]) {
                end += 1;
                match known(&text[start..end]) {
                    Some(token) => last = Some((token, end)),
                    None if last.is_some() => break,
                    None => {}
                }
            }
            match last {
                Some((token, stop)) => {
                    out.push((token, text[start..stop].to_owned()));
                    at = stop;
                }
                None => {
                    out.push((Token::Error, format!("error expected: keyword found '{}'", &text[start..end])));
                    at = end;
                }
            }
        } else {
            while at < bytes.len() && bytes[at] != 0 && !special(bytes[at]) && !space(bytes[at]) {
                at += 1;
            }
            let word = &text[start..at];
            out.push((known(word).unwrap_or(Token::Identifier), word.to_owned()));
        }
    }
}
