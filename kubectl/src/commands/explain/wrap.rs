//! Wrapping words at a width, as kubectl's library does it (go-wordwrap): words longer than a line stay whole, spaces at a
//! break vanish, line breaks of the text stay.

/// The text with lines of at most `limit` characters, where words allow.
pub(super) fn wrap(limit: usize, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / limit.max(1));
    // Characters of the line so far; the word and the spaces before it that are not yet in it.
    let (mut line, mut word, mut spaces) = (0, String::new(), String::new());
    let length = |text: &str| text.chars().count();
    for c in text.chars() {
        if c == '\n' {
            if !word.is_empty() || line + length(&spaces) <= limit {
                out.push_str(&spaces);
            }
            out.push_str(&word);
            out.push('\n');
            (line, word, spaces) = (0, String::new(), String::new());
        } else if c.is_whitespace() && c != '\u{a0}' {
            if spaces.is_empty() || !word.is_empty() {
                line += length(&spaces) + length(&word);
                out.push_str(&spaces);
                out.push_str(&word);
                (word, spaces) = (String::new(), String::new());
            }
            spaces.push(c);
        } else {
            word.push(c);
            let size = length(&word);
            if line + size + length(&spaces) > limit && size < limit {
                out.push('\n');
                line = 0;
                spaces.clear();
            }
        }
    }
    if !word.is_empty() || line + length(&spaces) <= limit {
        out.push_str(&spaces);
    }
    out + &word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_at_spaces_and_long_ones_stay_whole() {
        assert_eq!(wrap(10, "aaa bbb ccc ddd"), "aaa bbb\nccc ddd");
        assert_eq!(wrap(5, "abcdefgh ij"), "abcdefgh\nij");
        assert_eq!(wrap(10, "a\n\n  b  c"), "a\n\n  b  c");
        assert_eq!(wrap(10, "one two\n"), "one two\n");
    }
}
