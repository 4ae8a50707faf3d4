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
    static PERL: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\(\?(?:[=!>#&|+0-9-]*[=!>#&|]|<[=!])").expect("a constant"));
    static REPEAT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\{(\d+)(?:,(\d*))?\}").expect("a constant"));
    let mut class = false;
    let mut escaped = false;
    let mut repeated: Option<usize> = None;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            repeated = None;
            if c.is_ascii_digit() && c != '0' && !text[at + 1..].starts_with(|d: char| ('0'..='7').contains(&d)) {
                return Some(format!("invalid escape sequence: `\\{c}`"));
            }
            continue;
        }
        match c {
            '\\' => escaped = true,
            '[' if !class => {
                class = true;
                repeated = None;
            }
            ']' if class => class = false,
            _ if class => {}
            '(' => {
                repeated = None;
                if let Some(found) = PERL.find(&text[at..]).filter(|m| m.start() == 0) {
                    return Some(format!("invalid or unsupported Perl syntax: `{}`", found.as_str()));
                }
            }
            '*' | '+' | '?' => match repeated {
                // `a**`; `a*?` is lazy.
                Some(start) if c != '?' || text[start..at].len() > 1 => {
                    return Some(format!("invalid nested repetition operator: `{}`", &text[start..=at]));
                }
                Some(_) => {}
                None => repeated = Some(at),
            },
            '{' => {
                if let Some(found) = REPEAT.captures(&text[at..]) {
                    let over = |i| found.get(i).is_some_and(|m| m.as_str().parse::<u32>().is_ok_and(|n| n > 1000));
                    if over(1) || over(2) {
                        return Some(format!("invalid repeat count: `{}`", &found[0]));
                    }
                }
                repeated = None;
            }
            _ => repeated = None,
        }
    }
    None
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
                i = escape(&chars, i, class, &mut out);
                continue;
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
            '[' if chars.get(i + 1) == Some(&':') => out.push('['),
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
        // `[:alpha:]` within a class, as it is.
        if class && c == '[' && chars.get(i) == Some(&':') {
            while i < chars.len() {
                out.push(chars[i]);
                i += 1;
                if chars[i - 1] == ']' {
                    break;
                }
            }
        }
    }
    out
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
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^\/\-\_$", "/-_", true),
            (r"^\101$", "A", true),
            (r"^(?i)ABC$", "abc", true),
            (r"^(?P<x>a)$", "a", true),
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
            ("(?<!a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?<!`"),
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
