//! Image names, as far as a kubelet must understand them. Upstream: pkg/util/parsers, github.com/distribution/reference.

use regex::Regex;
use std::sync::LazyLock;

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
    let domain_part = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!("(?:{domain_part}(?:\\.{domain_part})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?");
    let name = format!("(?:{domain}/)?{part}(?:/{part})*");
    let tag = "[\\w][\\w.-]{0,127}";
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^({name})(?::({tag}))?(?:@({digest}))?$")).expect("a fixed expression")
});

/// The same image with `:latest` if it has neither tag nor digest.
pub(crate) fn with_default_tag(image: &str) -> Result<String, &'static str> {
    let Some(parts) = REFERENCE.captures(image) else {
        let lower = image.to_lowercase();
        return Err(if lower != image && REFERENCE.is_match(&lower) {
            "invalid reference format: repository name (library/NAME) must be lowercase"
        } else {
            "invalid reference format"
        });
    };
    if parts.get(2).is_none() && parts.get(3).is_none() { Ok(format!("{image}:latest")) } else { Ok(image.to_owned()) }
}

/// The registry's host and the repository in it.
pub(crate) fn repository(image: &str) -> (String, String) {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host.to_owned(), rest.to_owned()),
        Some(_) => ("docker.io".into(), name.to_owned()),
        None => ("docker.io".into(), format!("library/{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for (image, expected) in [
            ("busybox", Ok("busybox:latest".to_owned())),
            ("busybox:1", Ok("busybox:1".to_owned())),
            ("reg.example:5000/a/b", Ok("reg.example:5000/a/b:latest".to_owned())),
            (&digest, Ok(digest.clone())),
            ("", Err("invalid reference format")),
            ("a b", Err("invalid reference format")),
            ("docker.io/a:", Err("invalid reference format")),
        ] {
            assert_eq!(with_default_tag(image), expected, "{image}");
        }
        assert_eq!(repository("busybox:1"), ("docker.io".into(), "library/busybox".into()));
        assert_eq!(repository("reg.example:5000/a/b:2"), ("reg.example:5000".into(), "a/b".into()));
    }
}
