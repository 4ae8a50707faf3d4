//! What Go's JSON scanner says of malformed input. Run only after the parser has refused it: speed does not matter,
//! the words do.

/// Go's nesting limit is 10,000; the parser in use here stops at 128, and that is said in Go's words.
pub(super) const DEPTH_LIMIT: usize = 127;

/// The message for malformed input, `None` where the syntax is right.
pub fn explain(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0, depth: 0 };
    scanner.space();
    let result = scanner.value().and_then(|()| {
        scanner.space();
        if scanner.at < bytes.len() { Err(scanner.invalid("after top-level value")) } else { Ok(()) }
    });
    result.err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

type Result = std::result::Result<(), String>;

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn invalid(&self, place: &str) -> String {
        match self.peek() {
            None => "unexpected end of JSON input".into(),
            Some(c) => format!("invalid character {} {place}", quote(c)),
        }
    }

    fn value(&mut self) -> Result {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result) -> Result {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err("exceeded max depth".into());
        }
        self.at += 1;
        self.space();
        inner(self)?;
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Result {
        if self.peek() == Some(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            self.space();
            self.value()?;
            self.space();
            match self.peek() {
                Some(b'}') => return Ok(()),
                Some(b',') => self.at += 1,
                _ => return Err(self.invalid("after object key:value pair")),
            }
            self.space();
        }
    }

    fn array(&mut self) -> Result {
        if self.peek() == Some(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            self.space();
            match self.peek() {
                Some(b']') => return Ok(()),
                Some(b',') => self.at += 1,
                _ => return Err(self.invalid("after array element")),
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                                    return Err(self.invalid("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.invalid("in string escape code")),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.invalid("in string literal")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result {
        for expected in word.chars() {
            if self.peek() != Some(expected as u8) {
                return Err(self.invalid(&format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result {
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.invalid(place));
        }
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

/// Go quotes the byte as a character.
fn quote(c: u8) -> String {
    match c {
        b'\'' => r"'\''".into(),
        b'"' => r#"'"'"#.into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x20..0x7f => format!("'{}'", c as char),
        0xa1.. if c != 0xad => format!("'{}'", c as char),
        _ if c < 0x80 => format!("'\\x{c:02x}'"),
        _ => format!("'\\u{c:04x}'"),
    }
}
