//! The descriptions of types and fields, which `build.rs` took from the k8s-openapi package. They are unpacked while
//! documents are made, and then dropped: seven hundred kilobytes that an idle server does not need.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zlib"));

/// The values of a text type, by the package that uses it and its Go name.
static VALUES: LazyLock<HashMap<(&str, &str), Vec<&str>>> = LazyLock::new(|| {
    let lines = include_str!("enums.txt").lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(ty, values)| Some((ty.split_once(' ')?, values.split(',').collect()))).collect()
});

/// The values that a text of this Go type can have, where upstream says which.
pub(super) fn values(package: &'static str, go_type: &'static str) -> Option<&'static [&'static str]> {
    VALUES.get(&(package, go_type)).map(Vec::as_slice)
}

/// Descriptions, unpacked.
pub(super) struct Texts(HashMap<String, Described>);

#[derive(Default)]
struct Described {
    own: String,
    fields: HashMap<String, String>,
}

impl Texts {
    pub(super) fn unpack() -> Self {
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the build packed it");
        let mut types = HashMap::new();
        let mut open: Option<(String, Described)> = None;
        for line in text.lines() {
            let (name, text) = line.split_once('\t').unwrap_or((line, ""));
            match (name.strip_prefix('>'), &mut open) {
                (Some(name), _) => {
                    types.extend(open.replace((name.into(), Described { own: plain(text), fields: HashMap::new() })));
                }
                (None, Some((_, described))) => drop(described.fields.insert(name.into(), plain(text))),
                (None, None) => {}
            }
        }
        types.extend(open);
        Self(types)
    }

    /// What a type is, or a field of it.
    pub(super) fn of(&self, ty: &str, field: Option<&str>) -> Option<&str> {
        // Lists of kinds are one type there, which describes none of them; these two are alike everywhere.
        let described = match field {
            Some("apiVersion" | "kind") => self.0.get(ty).or_else(|| self.0.get("io.k8s.api.core.v1.Pod"))?,
            _ => self.0.get(ty)?,
        };
        let text = match field {
            Some(field) => described.fields.get(field)?,
            None => &described.own,
        };
        Some(text.as_str()).filter(|t| !t.is_empty())
    }
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                _ => '\\',
            },
            other => other,
        });
    }
    out
}
