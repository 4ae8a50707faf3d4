//! JSON indented by two spaces, as people read it: members keep their order, and no line break ends it.

/// Indents compact JSON.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    Indenter::default().piece(json, &mut out);
    out
}

/// Indents compact JSON that comes in pieces.
#[derive(Debug, Default)]
pub struct Indenter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Nothing has come yet of what the last bracket opened.
    opened: bool,
}

impl Indenter {
    /// Appends the next piece, indented.
    pub fn piece(&mut self, json: &[u8], out: &mut Vec<u8>) {
        for byte in json {
            if self.in_string {
                out.push(*byte);
                self.in_string = self.escaped || *byte != b'"';
                self.escaped = !self.escaped && *byte == b'\\';
                continue;
            }
            let opened = std::mem::take(&mut self.opened);
            match byte {
                b'\n' => continue,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if opened != matches!(byte, b'}' | b']') {
                self.line(out);
            }
            out.push(*byte);
            match byte {
                b'{' | b'[' => {
                    self.depth += 1;
                    self.opened = true;
                }
                b',' => self.line(out),
                b':' => out.push(b' '),
                b'"' => self.in_string = true,
                _ => {}
            }
        }
    }

    fn line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', self.depth * 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_on_lines_of_their_own() {
        let json = br#"{"a":{},"b":["x,{\"",1],"c":[]}"#;
        let shown = "{\n  \"a\": {},\n  \"b\": [\n    \"x,{\\\"\",\n    1\n  ],\n  \"c\": []\n}";
        assert_eq!(String::from_utf8_lossy(&indent(json)), shown);

        let (mut indenter, mut out) = (Indenter::default(), Vec::new());
        json.chunks(1).chain([&b"\n"[..]]).for_each(|piece| indenter.piece(piece, &mut out));
        assert_eq!(String::from_utf8_lossy(&out), shown, "in pieces");
    }
}
