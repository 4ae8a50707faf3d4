//! Component configuration files (`KubeletConfiguration` and its like): YAML or JSON with apiVersion and kind.

use std::path::Path;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads `path`, checks that it is a `kind`, and gives the rest of it to `T`.
///
/// apiVersion and kind are taken out first, so that `T` may deny unknown fields.
///
/// # Errors
/// The file can't be read, is neither YAML nor JSON, is of another kind, or does not fit `T`.
pub fn load<T: DeserializeOwned>(path: &Path, kind: &str) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to load {kind} file {}", path.display()))?;
    parse(&text, kind).with_context(|| format!("failed to load {kind} file {}", path.display()))
}

/// As [`load`], from text.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(text: &str, kind: &str) -> anyhow::Result<T> {
    let mut value: Value = serde_saphyr::from_str(text)?;
    let Some(map) = value.as_object_mut() else { bail!("not an object") };
    match map.remove("kind") {
        Some(Value::String(k)) if k == kind => {}
        Some(Value::String(k)) => bail!("no kind \"{k}\" is expected here, but {kind}"),
        _ => bail!("Object 'Kind' is missing"),
    }
    if map.remove("apiVersion").is_none() {
        bail!("Object 'apiVersion' is missing");
    }
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Some_ {
        max_pods: u32,
    }

    #[test]
    fn reads_the_kind_it_was_asked_for_and_no_other() {
        for (text, want) in [
            ("apiVersion: a/v1\nkind: Some\nmaxPods: 3\n", "3"),
            ("{\"apiVersion\": \"a/v1\", \"kind\": \"Some\", \"maxPods\": 4}", "4"),
            ("apiVersion: a/v1\nkind: Other\nmaxPods: 3\n", "no kind \"Other\" is expected here, but Some"),
            ("maxPods: 3\n", "Object 'Kind' is missing"),
            ("kind: Some\nmaxPods: 3\n", "Object 'apiVersion' is missing"),
        ] {
            let got = parse::<Some_>(text, "Some").map_or_else(|e| e.to_string(), |s| s.max_pods.to_string());
            assert_eq!(got, want, "{text}");
        }
        assert!(parse::<Some_>("apiVersion: a/v1\nkind: Some\nmaxPods: 3\nmaxPod: 3\n", "Some").is_err());
    }
}
