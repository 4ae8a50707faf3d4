//! `$(VAR)` in values, commands and sub-paths. Upstream: third_party/forked/golang/expansion/expand.go.

/// Replaces every `$(NAME)` that `lookup` knows; `$$` is a dollar sign, and anything else stays as written.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(offset) = text[at..].find('$') {
        let dollar = at + offset;
        out.push_str(&text[at..dollar]);
        match bytes.get(dollar + 1) {
            Some(b'$') => {
                out.push('$');
                at = dollar + 2;
            }
            Some(b'(') => match text[dollar + 2..].find(')') {
                Some(length) => {
                    let name = &text[dollar + 2..dollar + 2 + length];
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(&text[dollar..dollar + 3 + length]),
                    }
                    at = dollar + 3 + length;
                }
                None => {
                    out.push_str("$(");
                    at = dollar + 2;
                }
            },
            Some(_) | None => {
                out.push('$');
                at = dollar + 1;
            }
        }
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_upstream() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (input, expected) in [
            ("$(A)", "a"),
            ("x$(A)y$(EMPTY)z", "xayz"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("é$(A)$é", "éa$é"),
        ] {
            assert_eq!(expand(input, &lookup), expected, "{input}");
        }
    }
}
