//! Field selectors: `metadata.name=a,status.phase!=Running`, with backslash before `,`, `=` and itself in values.

use super::Labels;
use std::fmt;

/// How a term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldOperator {
    /// `=` or `==`
    Equals,
    /// `!=`
    NotEquals,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldTerm {
    /// As in `metadata.name`.
    pub field: String,
    /// How.
    pub operator: FieldOperator,
    /// With what, unescaped.
    pub value: String,
}

/// All terms must hold; none at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    /// Sorted as they were written.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Selects every object.
    pub const fn everything() -> Self {
        FieldSelector { terms: Vec::new() }
    }

    /// Parses the text of `fieldSelector=`. The error has upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let (field, operator, value) =
                split_term(part).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            terms.push(FieldTerm { field: field.to_owned(), operator, value: unescape_value(value)? });
        }
        Ok(FieldSelector { terms })
    }

    /// Passes each term through `convert`, which may rename the field, drop the term (None) or refuse it.
    pub fn transform<E>(self, mut convert: impl FnMut(FieldTerm) -> Result<Option<FieldTerm>, E>) -> Result<Self, E> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in self.terms {
            terms.extend(convert(term)?);
        }
        Ok(FieldSelector { terms })
    }

    /// Whether fields are selected; a missing field counts as empty.
    pub fn matches(&self, fields: &(impl Labels + ?Sized)) -> bool {
        self.terms.iter().all(|t| {
            let equal = fields.value_of(&t.field).unwrap_or_default() == t.value;
            equal == (t.operator == FieldOperator::Equals)
        })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one value that a field must have.
    pub fn exact_match(&self, field: &str) -> Option<&str> {
        let term = self.terms.iter().find(|t| t.field == field && t.operator == FieldOperator::Equals)?;
        Some(&term.value)
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            terms.push(&text[start..i]);
            start = i + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    for (i, _) in term.char_indices() {
        let rest = &term[i..];
        for (sign, operator) in
            [("!=", FieldOperator::NotEquals), ("==", FieldOperator::Equals), ("=", FieldOperator::Equals)]
        {
            if let Some(value) = rest.strip_prefix(sign) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

fn unescape_value(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (true, '\\' | ',' | '=') => {
                out.push(c);
                escaped = false;
            }
            (true, c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
            (false, '\\') => escaped = true,
            // Upstream prints the character's number.
            (false, ',' | '=') => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            (false, c) => out.push(c),
        }
    }
    if escaped {
        return Err("invalid field selector: invalid escape sequence: \\".to_owned());
    }
    Ok(out)
}

/// The value as it is written in a selector.
pub fn escape_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.terms.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let sign = if t.operator == FieldOperator::Equals { "=" } else { "!=" };
            write!(f, "{}{sign}{}", t.field, escape_value(&t.value))?;
        }
        Ok(())
    }
}
