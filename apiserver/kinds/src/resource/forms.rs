//! The forms of names that devices have.

use machinery::field::{Error, ErrorList, Path};
use machinery::names;

const POOL_MAX: usize = 253;
const ID_MAX: usize = 32;

fn each(at: &Path, value: &str, messages: Vec<String>) -> ErrorList {
    messages.into_iter().map(|message| Error::invalid(at, value, message)).collect()
}

/// Subdomains with slashes between them.
pub(super) fn pool_name(at: &Path, name: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.len() > POOL_MAX {
        errors.push(Error::too_long(at, POOL_MAX));
    }
    errors.extend(name.split('/').flat_map(|part| each(at, part, names::dns1123_subdomain(part))));
    errors
}

/// A name of an attribute or a capacity, with or without a domain.
pub(super) fn qualified_name(at: &Path, name: &str) -> ErrorList {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [name] => identifier(at, name),
        [domain, name] => {
            let mut errors = match *domain {
                "" => vec![Error::invalid(at, "", "the domain must not be empty")],
                domain => crate::storage_k8s::driver_name(at, domain),
            };
            errors.extend(match *name {
                "" => vec![Error::invalid(at, "", "the name must not be empty")],
                name => identifier(at, name),
            });
            errors
        }
        // Upstream lets more slashes pass.
        _ => ErrorList::new(),
    }
}

/// The same, with a domain.
pub(super) fn fully_qualified_name(at: &Path, name: &str) -> ErrorList {
    let mut errors = qualified_name(at, name);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(at, name, detail));
    }
    errors
}

fn identifier(at: &Path, id: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if id.len() > ID_MAX {
        errors.push(Error::too_long(at, ID_MAX));
    }
    errors.extend(each(at, id, names::c_identifier(id)));
    errors
}

/// The name of a resource that pods can ask for in place of a claim.
pub(super) fn extended_resource(name: &str) -> Vec<String> {
    if names::is_extended_resource(name) {
        Vec::new()
    } else {
        vec!["must be a valid extended resource name".to_owned()]
    }
}

/// A UUID, in lower case.
pub(super) fn uid(at: &Path, uid: &str) -> ErrorList {
    const NORMAL: &str = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                          hexadecimal characters";
    if let Err(why) = parse_uuid(uid) {
        return vec![Error::invalid(at, uid, format!("error validating uid: {why}"))];
    }
    if uid.len() != 36 || uid.bytes().any(|b| b.is_ascii_uppercase()) {
        return vec![Error::invalid(at, uid, NORMAL)];
    }
    ErrorList::new()
}

/// Any form that Go's `uuid` package reads: plain, in braces, as a URN, without hyphens.
fn parse_uuid(text: &str) -> Result<(), String> {
    const FORMAT: &str = "invalid UUID format";
    let body = match text.len() {
        36 => text,
        45 => match text.get(..9) {
            Some(prefix) if prefix.eq_ignore_ascii_case("urn:uuid:") => &text[9..],
            prefix => return Err(format!("invalid urn prefix: {:?}", prefix.unwrap_or_default())),
        },
        38 if text.starts_with('{') && text.ends_with('}') => &text[1..37],
        38 => return Err("invalid bracketed UUID format".to_owned()),
        32 => {
            let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
            return if hexadecimal { Ok(()) } else { Err(FORMAT.to_owned()) };
        }
        length => return Err(format!("invalid UUID length: {length}")),
    };
    let valid = body.bytes().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    if valid { Ok(()) } else { Err(FORMAT.to_owned()) }
}
