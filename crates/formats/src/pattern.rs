//! Regular expressions as Go writes them, run by Rust's engine: both are linear in time. What differs is rewritten:
//! `\d`, `\w`, `\s` and `\b` are ASCII in Go, `{` may stand for itself, brackets and operators have no meaning in classes.

use std::sync::{Arc, LazyLock, OnceLock};

use regex::Regex;

/// The compiled form may take this much.
const SIZE_LIMIT_BYTES: usize = 16 << 20;

/// An expression, compiled when it is first used.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    compiled: Arc<OnceLock<Result<Regex, String>>>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// Of a text, which may be wrong.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: Arc::default() }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a part of the text matches. The error has Go's words.
    pub fn matches(&self, text: &str) -> Result<bool, String> {
        self.regex().map(|regex| regex.is_match(text))
    }

    /// The compiled expression. The error has Go's words, as far as they are known.
    pub fn regex(&self) -> Result<&Regex, String> {
        self.compiled.get_or_init(|| compile(&self.text)).as_ref().map_err(Clone::clone)
    }
}

/// Compiles what Go would.
pub fn compile(text: &str) -> Result<Regex, String> {
    if let Some(fault) = refused(text) {
        return Err(format!("error parsing regexp: {fault}"));
    }
    regex::RegexBuilder::new(&translate(text))
        .size_limit(SIZE_LIMIT_BYTES)
        .nest_limit(1000)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", explain(text, &error)))
}

// What Rust's engine takes and Go's does not.
fn refused(text: &str) -> Option<String> {
    static REPEAT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\{(\d+)(?:,(\d*))?\}").expect("a constant"));
    let mut class = false;
    let mut at = 0;
    // Where the repetition began that ends here.
    let mut repeated: Option<usize> = None;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let next = rest[c.len_utf8()..].chars().next();
        let last = repeated.take();
        let mut length = c.len_utf8();
        match (class, c) {
            (_, '\\') => {
                let escaped = next?;
                length += escaped.len_utf8();
                let octal = text[at + length..].starts_with(|d: char| ('0'..='7').contains(&d));
                if escaped.is_ascii_digit() && escaped != '0' && !octal {
                    return Some(format!("invalid escape sequence: `\\{escaped}`"));
                }
                if escaped == 'Q' && !class {
                    length = rest.find("\\E").map_or(rest.len(), |end| end + 2);
                }
            }
            (false, '[') => {
                class = true;
                // A bracket directly behind it is no end.
                length += usize::from(rest[1..].starts_with('^'));
                length += usize::from(rest[length..].starts_with(']'));
            }
            (true, '[') if next == Some(':') => length = rest.find(":]").map_or(1, |end| end + 2),
            (true, ']') => class = false,
            (true, _) => {}
            (false, '(') if next == Some('?') => {
                if let Some(fault) = group(rest) {
                    return Some(fault);
                }
                length = 2;
            }
            (false, '*' | '+' | '?' | '{') => {
                let counted = REPEAT.captures(rest);
                match (&counted, c) {
                    (Some(found), _) => {
                        length = found[0].len();
                        let over = |i| {
                            found.get(i).is_some_and(|m| m.as_str().parse::<u32>().map_or(!m.is_empty(), |n| n > 1000))
                        };
                        if over(1) || over(2) {
                            return Some(format!("invalid repeat count: `{}`", &found[0]));
                        }
                    }
                    (None, '{') => {
                        at += 1;
                        continue;
                    }
                    _ => {}
                }
                length += usize::from(rest[length..].starts_with('?'));
                if let Some(start) = last {
                    let both = &text[start..at + length];
                    return Some(format!("invalid nested repetition operator: `{both}`"));
                }
                repeated = Some(at);
            }
            _ => {}
        }
        at += length;
    }
    None
}

// Of `(?`: a name or flags that Go has.
fn group(rest: &str) -> Option<String> {
    if rest.starts_with("(?P<") || rest.starts_with("(?<") {
        let open = rest.find('<').map_or(0, |at| at + 1);
        let Some(close) = rest.find('>') else { return Some(format!("invalid named capture: `{rest}`")) };
        let name = &rest[open..close];
        let fits = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        return (!fits).then(|| format!("invalid named capture: `{}`", &rest[..=close]));
    }
    for (at, c) in rest.char_indices().skip(2) {
        match c {
            'i' | 'm' | 's' | 'U' | '-' => {}
            ':' | ')' => return None,
            _ => return Some(format!("invalid or unsupported Perl syntax: `{}`", &rest[..at + c.len_utf8()])),
        }
    }
    Some(format!("missing closing ): `{rest}`"))
}

fn explain(text: &str, error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    let said = last.strip_prefix("error: ").unwrap_or(last);
    match said {
        "unclosed group" => format!("missing closing ): `{text}`"),
        "unopened group" => format!("unexpected ): `{text}`"),
        "unclosed capture group name" => {
            format!("invalid named capture: `{}`", text.rfind("(?P<").map_or(text, |at| &text[at..]))
        }
        "unclosed character class" => {
            format!("missing closing ]: `{}`", text.rfind('[').map_or(text, |at| &text[at..]))
        }
        "repetition operator missing expression" => {
            let at = text.find(['*', '+', '?']).unwrap_or(0);
            format!("missing argument to repetition operator: `{}`", text.get(at..=at).unwrap_or_default())
        }
        "incomplete escape sequence, reached end of pattern prematurely" => {
            "trailing backslash at end of expression: ``".to_owned()
        }
        _ if said.contains("exceeds size limit") => "expression too large".to_owned(),
        _ if said.contains("escape") => {
            let at = text.find('\\').unwrap_or(0);
            format!("invalid escape sequence: `{}`", text[at..].chars().take(2).collect::<String>())
        }
        _ => format!("{said}: `{text}`"),
    }
}

fn translate(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 16);
    let mut class = false;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        match c {
            '\\' if i + 1 < chars.len() => {
                i += 1;
                if chars[i] == 'Q' && !class {
                    i = quoted(&chars, i + 1, &mut out);
                    continue;
                }
                let set = class && matches!(chars[i], 'd' | 'D' | 'w' | 'W' | 's' | 'S');
                i = escape(&chars, i, class, &mut out);
                // Behind a set a dash is a dash.
                if set && chars.get(i) == Some(&'-') && chars.get(i + 1) != Some(&']') {
                    out.push_str("\\-");
                    i += 1;
                }
                continue;
            }
            // Groups' names are not needed, and Go lets them repeat.
            '(' if !class && chars.get(i + 1) == Some(&'?') && name_length(&chars[i..]) > 0 => {
                i += name_length(&chars[i..]) - 1;
                out.push('(');
            }
            '[' if !class => {
                class = true;
                out.push('[');
                if chars.get(i + 1) == Some(&'^') {
                    i += 1;
                    out.push('^');
                }
                if chars.get(i + 1) == Some(&']') {
                    i += 1;
                    out.push_str("\\]");
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            // `[:alpha:]` within a class, as it is.
            '[' if chars.get(i + 1) == Some(&':') => {
                let rest = &chars[i..];
                let end = rest.windows(2).position(|pair| pair == [':', ']']).filter(|end| *end > 1);
                match end {
                    Some(end) => {
                        out.extend(&rest[..end + 2]);
                        i += end + 1;
                    }
                    None => out.push_str("\\["),
                }
            }
            '[' | '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            // `--` is an operator in Rust's classes: here it is a dash at the beginning, or the end of a range.
            '-' if class && chars.get(i + 1) == Some(&'-') && matches!(chars[i - 1], '[' | '^') => out.push_str("\\-"),
            '-' if class && chars.get(i + 1) == Some(&'-') => {
                i += 1;
                out.push_str("-\\-");
            }
            '{' if !class && !repetition(&chars[i..]) => out.push_str("\\{"),
            _ => out.push(c),
        }
        i += 1;
    }
    out
}

// How long `(?P<name>` is; 0 where there is none.
fn name_length(chars: &[char]) -> usize {
    let named = matches!(chars, ['(', '?', 'P', '<', ..] | ['(', '?', '<', ..]);
    if named { chars.iter().position(|c| *c == '>').map_or(0, |end| end + 1) } else { 0 }
}

fn repetition(chars: &[char]) -> bool {
    let end = chars.iter().position(|c| *c == '}');
    end.is_some_and(|end| {
        let inner: String = chars[1..end].iter().collect();
        let (low, high) = inner.split_once(',').unwrap_or((&inner, ""));
        !low.is_empty() && low.chars().chain(high.chars()).all(|c| c.is_ascii_digit())
    })
}

fn quoted(chars: &[char], mut i: usize, out: &mut String) -> usize {
    while i < chars.len() {
        if chars[i] == '\\' && chars.get(i + 1) == Some(&'E') {
            return i + 2;
        }
        out.push_str(&regex::escape(&chars[i].to_string()));
        i += 1;
    }
    i
}

// At the character behind a backslash; gives where to go on.
fn escape(chars: &[char], i: usize, class: bool, out: &mut String) -> usize {
    let set = |inside: &str, outside: &str, out: &mut String| out.push_str(if class { inside } else { outside });
    match chars[i] {
        'd' => set("0-9", "[0-9]", out),
        'w' => set("0-9A-Za-z_", "[0-9A-Za-z_]", out),
        's' => set("\\t\\n\\x0c\\r ", "[\\t\\n\\x0c\\r ]", out),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str("[^\\t\\n\\x0c\\r ]"),
        'b' if !class => out.push_str("(?-u:\\b)"),
        'B' if !class => out.push_str("(?-u:\\B)"),
        '<' | '>' => out.push(chars[i]),
        // Their braces are no repetition.
        c @ ('x' | 'p' | 'P') if chars.get(i + 1) == Some(&'{') => {
            let end = chars[i..].iter().position(|c| *c == '}').map_or(chars.len(), |end| i + end + 1);
            out.push('\\');
            out.push(c);
            out.extend(&chars[i + 1..end]);
            return end;
        }
        c @ '0'..='7' => {
            let digits: String = chars[i..].iter().take(3).take_while(|c| ('0'..='7').contains(*c)).collect();
            match u32::from_str_radix(&digits, 8) {
                Ok(code) if c == '0' || digits.len() > 1 => {
                    out.push_str(&format!("\\x{{{code:x}}}"));
                    return i + digits.len();
                }
                _ => {
                    out.push('\\');
                    out.push(c);
                }
            }
        }
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    i + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go() {
        for (pattern, text, want) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^\w+$", "a_B1", true),
            (r"^\w+$", "\u{e4}", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[\D]+$", "abc", true),
            (r"^[a[]+$", "a[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[&&a]+$", "&a", true),
            (r"^[+--]+$", "+,-", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{2}$", "aa", true),
            (r"^{a}$", "{a}", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[[:alpha:]_]+$", "1", false),
            (r"^[:/a]+$", "a:/", true),
            (r"^[^:/]+:$", "http:", true),
            (r"^[a[:]+$", "a[:", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^\/\-\_$", "/-_", true),
            (r"^\101$", "A", true),
            (r"^(?i)ABC$", "abc", true),
            (r"^(?P<x>a)$", "a", true),
            (r"^(?P<x>a)(?P<x>b)$", "ab", true),
            (r"^[\w-\d]+$", "a-1", true),
            (r"^\x{e4}\p{Greek}$", "\u{e4}\u{3b1}", true),
            (r"a.c", "a\nc", false),
            (r"^\<a\>$", "<a>", true),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-b.c", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), Ok(want), "{pattern} on {text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (pattern, want) in [
            ("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
            ("(?<!a)", "error parsing regexp: invalid named capture: `(?<!a)`"),
            ("(?x:a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?x`"),
            ("a{2}*?", "error parsing regexp: invalid nested repetition operator: `{2}*?`"),
            ("(a", "error parsing regexp: missing closing ): `(a`"),
            ("a)", "error parsing regexp: unexpected ): `a)`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
            ("+", "error parsing regexp: missing argument to repetition operator: `+`"),
            ("a**", "error parsing regexp: invalid nested repetition operator: `**`"),
            (r"\1", "error parsing regexp: invalid escape sequence: `\\1`"),
            (r"\y", "error parsing regexp: invalid escape sequence: `\\y`"),
            ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
            ("\\", "error parsing regexp: trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(compile(pattern).err().as_deref(), Some(want), "{pattern}");
        }
        assert!(compile("((((a{1000}){1000}){1000}){1000})").is_err(), "memory is bounded");
    }
}
