//! Taints of nodes, and what tolerates them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether `toleration` tolerates `taint`, for however long. The comparing operators are a feature of upstream's that is
/// off by default, without which they tolerate nothing.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    let effect = given(&toleration.effect).is_none_or(|e| e == taint.effect);
    let key = given(&toleration.key).is_none_or(|k| k == taint.key);
    effect
        && key
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        }
}

/// Whether all taints of these effects are tolerated.
pub(crate) fn all_tolerated(tolerations: &[Toleration], taints: &[Taint], effects: &[&str]) -> bool {
    let of_effect = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    taints.iter().filter(of_effect).all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_toleration_names_key_value_and_effect_or_leaves_them_open() {
        let taint: Taint = serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoExecute"})).unwrap();
        for (toleration, want) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"key": "k", "value": "v", "effect": "NoExecute"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "other"}), false),
            (json!({"key": "k"}), false),
            (json!({"key": "k", "operator": "Gt", "value": "v"}), false),
        ] {
            let parsed = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), want, "{toleration}");
            let taints = [taint.clone()];
            assert_eq!(all_tolerated(&[parsed], &taints, &["NoExecute"]), want, "{toleration}");
            assert!(all_tolerated(&[], &taints, &["NoSchedule"]));
        }
    }
}
