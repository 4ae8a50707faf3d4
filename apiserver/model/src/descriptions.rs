//! The descriptions of types and fields, which `build.rs` took from the k8s-openapi package. They are unpacked while
//! documents are made, and then dropped: seven hundred kilobytes that an idle server does not need.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use parking_lot::Mutex;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zlib"));

/// A number that changes with the descriptions: what clients keep for ever under a hash is made of them.
pub const FINGERPRINT: &str = env!("FERRY_DESCRIPTIONS");

/// What a field of a published type is, for others than these documents; kept, since few are asked for.
pub fn described(ty: &str, field: &str) -> String {
    static KEPT: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    let described = || Texts::unpack().of(ty, Some(field)).unwrap_or_default().to_owned();
    KEPT.lock().entry(format!("{ty} {field}")).or_insert_with(described).clone()
}

/// Descriptions, unpacked.
pub struct Texts(HashMap<String, Described>);

#[derive(Default)]
struct Described {
    own: String,
    fields: HashMap<String, String>,
}

impl Texts {
    /// Unpacks all of them.
    pub fn unpack() -> Self {
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
    pub fn of(&self, ty: &str, field: Option<&str>) -> Option<&str> {
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
