//! JSON indented by two spaces, as people read it: members keep their order, and no line break ends it.

/// Indents compact JSON.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let json = json.trim_ascii();
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, byte) in json.iter().enumerate() {
        if in_string {
            out.push(*byte);
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(*byte);
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(at.checked_sub(1).map(|before| json[before]), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    newline(&mut out, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte => {
                in_string = *byte == b'"';
                out.push(*byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_on_lines_of_their_own() {
        let json = br#"{"a":{},"b":["x,{\"",1],"c":[]}"#;
        let shown = "{\n  \"a\": {},\n  \"b\": [\n    \"x,{\\\"\",\n    1\n  ],\n  \"c\": []\n}";
        assert_eq!(String::from_utf8_lossy(&indent(json)), shown);
    }
}
