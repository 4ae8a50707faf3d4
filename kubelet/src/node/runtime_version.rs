//! The container runtime's version as the node shows it: a semantic version whole, of any other (distributions add theirs:
//! `1.6.20~ds1`) the numbers. Upstream: kuberuntime_manager.go, newRuntimeVersion.

/// What cannot be read as a version is shown as it came.
pub(crate) fn shown(version: &str) -> String {
    let text = version.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let numbers = text[..end].trim_end_matches('.');
    let parts: Vec<&str> = numbers.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return version.to_owned();
    }
    let extra = &text[numbers.len()..];
    if parts.len() == 3 && semantic(extra) { format!("{numbers}{extra}") } else { numbers.to_owned() }
}

/// `-pre.release+meta.data`, either or both.
fn semantic(extra: &str) -> bool {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let (before, meta) = extra.split_once('+').unwrap_or((extra, ""));
    (before.is_empty() || before.starts_with('-')) && word(before) && word(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_semantic_versions_add() {
        for (given, expected) in [
            ("1.6.20~ds1", "1.6.20"),
            ("v1.7.27", "1.7.27"),
            ("2.1.0-rc.1+build.5", "2.1.0-rc.1+build.5"),
            ("1.30", "1.30"),
            ("1.6.20.m", "1.6.20"),
            ("1.2.3.4-5", "1.2.3.4"),
            ("deadbeef", "deadbeef"),
        ] {
            assert_eq!(shown(given), expected, "{given}");
        }
    }
}
