//! The reader.

use super::{Document, MAX_DEPTH};
use serde_json::{Map, Number, Value};

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    duplicates: Vec<String>,
}

// Where the reader is, kept on its own stack: paths are made only when something is to be told.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    depth: usize,
}

fn path(place: Option<&Place<'_>>, key: &str) -> String {
    let mut steps = Vec::new();
    let mut at = place;
    while let Some(p) = at {
        steps.push(p.step);
        at = p.parent;
    }
    let mut out = String::new();
    for step in steps.into_iter().rev().chain([Step::Key(key)]) {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    out
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document, String> {
    let mut reader = Reader { bytes, at: 0, duplicates: Vec::new() };
    let value = reader.value(None)?;
    reader.space();
    match reader.bytes.get(reader.at) {
        None => Ok(Document { value, duplicates: reader.duplicates }),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

const EOF: &str = "unexpected end of JSON input";

impl Reader<'_> {
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn unexpected(&self, context: &str) -> String {
        let Some(&b) = self.bytes.get(self.at) else { return EOF.to_owned() };
        let shown = match b {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            _ => {
                let quoted = crate::go::quote(&char::from(b).to_string());
                format!("'{}'", &quoted[1..quoted.len() - 1])
            }
        };
        format!("invalid character {shown} {context}")
    }

    fn value(&mut self, place: Option<&Place<'_>>) -> Result<Value, String> {
        match self.next() {
            None => Err(EOF.to_owned()),
            Some(b'{') => self.object(place),
            Some(b'[') => self.array(place),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for (i, expected) in word.bytes().enumerate() {
            if self.bytes.get(self.at).copied() != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(word.as_bytes()[i]));
                return Err(self.unexpected(&context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn deeper(place: Option<&Place<'_>>) -> Result<usize, String> {
        let depth = place.map_or(0, |p| p.depth) + 1;
        if depth > MAX_DEPTH { Err("exceeded max depth".to_owned()) } else { Ok(depth) }
    }

    fn object(&mut self, parent: Option<&Place<'_>>) -> Result<Value, String> {
        let depth = Self::deeper(parent)?;
        self.at += 1;
        let mut out = Map::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(out));
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            if self.next() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            let value = self.value(Some(&Place { parent, step: Step::Key(&key), depth }))?;
            if out.contains_key(&key) && self.duplicates.len() < 100 {
                let path = path(parent, &key);
                if !self.duplicates.contains(&path) {
                    self.duplicates.push(path);
                }
            }
            out.insert(key, value);
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(out));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, parent: Option<&Place<'_>>) -> Result<Value, String> {
        let depth = Self::deeper(parent)?;
        self.at += 1;
        let mut out = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(out));
        }
        loop {
            let place = Place { parent, step: Step::Index(out.len()), depth };
            out.push(self.value(Some(&place))?);
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(out));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        let digits = |r: &mut Self| {
            let from = r.at;
            while r.bytes.get(r.at).is_some_and(u8::is_ascii_digit) {
                r.at += 1;
            }
            r.at > from
        };
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else if !digits(self) {
            return Err(self.unexpected("in numeric literal"));
        }
        let mut integral = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            integral = false;
            self.at += 1;
            if !digits(self) {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            integral = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if !digits(self) {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).expect("only ASCII was taken");
        if integral {
            if let Ok(n) = text.parse::<i64>() {
                return Ok(n.into());
            }
            if let Ok(n) = text.parse::<u64>() {
                return Ok(n.into());
            }
        }
        let number = text.parse::<f64>().ok().filter(|f| f.is_finite()).and_then(Number::from_f64);
        number
            .map(Value::Number)
            .ok_or_else(|| format!("json: cannot unmarshal number {text} into Go value of type float64"))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let start = self.at;
        let rest = &self.bytes[start..];
        let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
        let mut out = String::from_utf8_lossy(&rest[..plain]).into_owned();
        self.at += plain;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(EOF.to_owned()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(0..0x20) => return Err(self.unexpected("in string literal")),
                Some(_) => {
                    let rest = &self.bytes[self.at..];
                    let run = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
                    out.push_str(&String::from_utf8_lossy(&rest[..run]));
                    self.at += run;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let c = match self.bytes.get(self.at) {
            None => return Err(EOF.to_owned()),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(_) => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    // Surrogates that do not pair become U+FFFD.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex()?;
            if let 0xdc00..0xe000 = second {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or('\u{fffd}'))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut out = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|b| char::from(*b).to_digit(16));
            let Some(digit) = digit else { return Err(self.unexpected("in \\u hexadecimal character escape")) };
            out = out * 16 + digit;
            self.at += 1;
        }
        Ok(out)
    }
}
