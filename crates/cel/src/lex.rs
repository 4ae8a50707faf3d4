//! Tokens.

/// A token and where it begins, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Tok,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    Ident(String),
    Int(String),
    Uint(String),
    Float(String),
    Text(String),
    Bytes(Vec<u8>),
    Op(&'static str),
    End,
}

/// Where and why.
pub(super) type Fault = (usize, String);

const OPERATORS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "-", "+", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// All tokens. What is none is told and passed over, so that the parser can tell more.
pub(super) fn tokens(text: &str) -> (Vec<Token>, Vec<Fault>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_ascii_whitespace() {
            i += 1;
        } else if c == '/' && chars.get(i + 1) == Some(&'/') {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else {
            match token(&chars, i) {
                Ok((kind, end)) => {
                    out.push(Token { at: i, kind });
                    i = end;
                }
                Err(fault) => {
                    i += unknown_length(chars[i]);
                    faults.push(fault);
                }
            }
        }
    }
    out.push(Token { at: chars.len(), kind: Tok::End });
    (out, faults)
}

// Of an unfinished `==`, `&&` or `||` also the next character.
fn unknown_length(c: char) -> usize {
    if matches!(c, '=' | '&' | '|') { 2 } else { 1 }
}

fn token(chars: &[char], i: usize) -> Result<(Tok, usize), Fault> {
    let c = chars[i];
    if let Some(prefix) = quote(chars, i) {
        return text(chars, i, prefix);
    }
    if c.is_ascii_alphabetic() || c == '_' {
        let end = (i..chars.len()).find(|j| !chars[*j].is_ascii_alphanumeric() && chars[*j] != '_');
        let end = end.unwrap_or(chars.len());
        return Ok((Tok::Ident(chars[i..end].iter().collect()), end));
    }
    if c.is_ascii_digit() || (c == '.' && chars.get(i + 1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(chars, i));
    }
    if c == '`' {
        let end = (i + 1..chars.len()).find(|j| chars[*j] == '`');
        let end = end.ok_or_else(|| unknown(chars, i))?;
        return Ok((Tok::Ident(chars[i + 1..end].iter().collect()), end + 1));
    }
    let found = OPERATORS.iter().find(|op| op.chars().enumerate().all(|(k, c)| chars.get(i + k) == Some(&c)));
    match found {
        Some(op) => Ok((Tok::Op(op), i + op.chars().count())),
        None => Err(unknown(chars, i)),
    }
}

fn unknown(chars: &[char], i: usize) -> Fault {
    let shown: String = chars[i..].iter().take(unknown_length(chars[i])).collect();
    (i, format!("Syntax error: token recognition error at: '{shown}'"))
}

/// How long the prefix of a text is, where one begins.
fn quote(chars: &[char], i: usize) -> Option<usize> {
    let prefix = chars[i..].iter().take(2).take_while(|c| matches!(c, 'r' | 'R' | 'b' | 'B')).count();
    matches!(chars.get(i + prefix), Some('"' | '\'')).then_some(prefix)
}

fn text(chars: &[char], start: usize, prefix: usize) -> Result<(Tok, usize), Fault> {
    let marks: String = chars[start..start + prefix].iter().collect::<String>().to_lowercase();
    let (raw, bytes) = (marks.contains('r'), marks.contains('b'));
    let mut i = start + prefix;
    let q = chars[i];
    let triple = chars.get(i + 1) == Some(&q) && chars.get(i + 2) == Some(&q);
    let len = if triple { 3 } else { 1 };
    i += len;
    let mut out: Vec<u8> = Vec::new();
    loop {
        let c = *chars.get(i).ok_or_else(|| unknown(chars, start))?;
        if c == q && (!triple || (chars.get(i + 1) == Some(&q) && chars.get(i + 2) == Some(&q))) {
            i += len;
            break;
        }
        if c == '\n' && !triple {
            return Err(unknown(chars, start));
        }
        if c == '\\' && !raw {
            let (decoded, end) = escape(chars, i + 1).ok_or_else(|| unknown(chars, start))?;
            if let (true, Some(byte)) =
                (bytes && matches!(chars[i + 1], 'x' | 'X' | '0'..='7'), u8::try_from(decoded as u32).ok())
            {
                out.push(byte);
            } else {
                push(decoded, &mut out);
            }
            i = end;
        } else {
            push(c, &mut out);
            i += 1;
        }
    }
    let kind = if bytes { Tok::Bytes(out) } else { Tok::Text(String::from_utf8_lossy(&out).into_owned()) };
    Ok((kind, i))
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escape(chars: &[char], i: usize) -> Option<(char, usize)> {
    let digits = |from: usize, count: usize, radix: u32| {
        let text: String = chars.get(from..from + count)?.iter().collect();
        Some((char::from_u32(u32::from_str_radix(&text, radix).ok()?)?, from + count))
    };
    Some(match chars.get(i)? {
        'a' => ('\x07', i + 1),
        'b' => ('\x08', i + 1),
        'f' => ('\x0c', i + 1),
        'n' => ('\n', i + 1),
        'r' => ('\r', i + 1),
        't' => ('\t', i + 1),
        'v' => ('\x0b', i + 1),
        c @ ('\\' | '\'' | '"' | '`' | '?') => (*c, i + 1),
        'x' | 'X' => digits(i + 1, 2, 16)?,
        'u' => digits(i + 1, 4, 16)?,
        'U' => digits(i + 1, 8, 16)?,
        '0'..='3' => digits(i, 3, 8)?,
        _ => return None,
    })
}

fn number(chars: &[char], i: usize) -> (Tok, usize) {
    let mut j = i;
    let digits = |mut j: usize| {
        while chars.get(j).is_some_and(char::is_ascii_digit) {
            j += 1;
        }
        j
    };
    if chars[i] == '0' && matches!(chars.get(i + 1), Some('x' | 'X')) {
        j = i + 2;
        while chars.get(j).is_some_and(char::is_ascii_hexdigit) {
            j += 1;
        }
    } else {
        j = digits(j);
        let mut float = false;
        if chars.get(j) == Some(&'.') && chars.get(j + 1).is_some_and(char::is_ascii_digit) {
            float = true;
            j = digits(j + 1);
        }
        if matches!(chars.get(j), Some('e' | 'E')) {
            let sign = usize::from(matches!(chars.get(j + 1), Some('+' | '-')));
            if chars.get(j + 1 + sign).is_some_and(char::is_ascii_digit) {
                float = true;
                j = digits(j + 1 + sign);
            }
        }
        if float {
            return (Tok::Float(chars[i..j].iter().collect()), j);
        }
    }
    let text: String = chars[i..j].iter().collect();
    if matches!(chars.get(j), Some('u' | 'U')) { (Tok::Uint(text), j + 1) } else { (Tok::Int(text), j) }
}
