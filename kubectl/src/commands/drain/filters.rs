//! Which pods a drain deletes, leaves, or stops at; in upstream's order of filters.

use serde_json::Value;

/// What becomes of a pod.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It goes, perhaps with a warning.
    Delete(Option<String>),
    /// It stays, perhaps with a warning.
    Leave(Option<String>),
    /// The drain may not go on.
    Refuse(String),
}

/// The owner that controls it.
pub(super) fn controller(pod: &Value) -> Option<&Value> {
    pod["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// `owner_gone`: why the DaemonSet of a pod cannot be read, and whether because it is not there.
pub(super) fn verdict(
    pod: &Value,
    owner_gone: Option<(bool, String)>,
    skip_seconds: i64,
    given: &dyn Fn(&str) -> bool,
) -> Verdict {
    let metadata = &pod["metadata"];
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    if skip_seconds > 0 && deleted.is_some_and(|t| jiff::Timestamp::now().as_second() - t.as_second() > skip_seconds) {
        return Verdict::Leave(None);
    }
    let owner = controller(pod);
    if owner.is_some_and(|o| o["kind"] == "DaemonSet" && o["apiVersion"] == "apps/v1") && !ended {
        match owner_gone {
            Some((true, _)) if given("force") => {}
            Some((_, why)) => return Verdict::Refuse(why),
            None if !given("ignore-daemonsets") => {
                return Verdict::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".into());
            }
            None => return Verdict::Leave(Some("ignoring DaemonSet-managed Pods".into())),
        }
    }
    if metadata["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return Verdict::Leave(None);
    }
    let local = pod["spec"]["volumes"].as_array().is_some_and(|v| v.iter().any(|v| v.get("emptyDir").is_some()));
    if local && !ended && !given("delete-emptydir-data") {
        return Verdict::Refuse("Pods with local storage (use --delete-emptydir-data to override)".into());
    }
    if owner.is_none() && !ended {
        if !given("force") {
            return Verdict::Refuse("Pods that declare no controller (use --force to override)".into());
        }
        // The warnings of earlier filters are lost upstream too: the last one's word counts.
        return Verdict::Delete(Some("deleting Pods that declare no controller".into()));
    }
    Verdict::Delete(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_that_would_be_lost_stop_a_drain_unless_told_otherwise() {
        let owned = json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}});
        let daemon = json!({"metadata": {"ownerReferences": [
            {"kind": "DaemonSet", "apiVersion": "apps/v1", "controller": true}]}});
        let with_data = json!({"metadata": owned["metadata"], "spec": {"volumes": [{"emptyDir": {}}]}});
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        let check = |pod: &Value, flags: &[&str]| verdict(pod, None, 0, &|flag| flags.contains(&flag));
        let refused = |pod: &Value| matches!(check(pod, &[]), Verdict::Refuse(_));
        assert_eq!(check(&owned, &[]), Verdict::Delete(None));
        assert!(refused(&daemon) && refused(&with_data) && refused(&json!({"metadata": {}})));
        assert_eq!(check(&mirror, &[]), Verdict::Leave(None));
        let ignoring = Verdict::Leave(Some("ignoring DaemonSet-managed Pods".into()));
        assert_eq!(check(&daemon, &["ignore-daemonsets"]), ignoring);
        assert_eq!(check(&with_data, &["delete-emptydir-data"]), Verdict::Delete(None));
        assert!(matches!(check(&json!({"metadata": {}}), &["force"]), Verdict::Delete(Some(_))));
        assert_eq!(check(&json!({"metadata": {}, "status": {"phase": "Failed"}}), &[]), Verdict::Delete(None));
    }
}
