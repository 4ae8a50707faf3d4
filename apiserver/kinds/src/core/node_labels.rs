//! Labels of nodes that are on their way out, and who is told so: whoever selects by them (`pkg/api/node/util.go`).

use machinery::field::Path;
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

const DEPRECATED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What is said of that label.
pub fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(name, _)| *name == label).map(|(_, words)| *words)
}

/// Of a term that selects nodes; `values`: whether its values are looked at too.
pub fn of_term(term: &Value, values: bool, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for (i, expression) in term.list("matchExpressions").iter().enumerate() {
        let (at, key) = (at.child("matchExpressions").index(i), expression.text("key"));
        out.extend(deprecated(key).map(|words| format!("{}: {key} is {words}", at.child("key"))));
        for (i, value) in expression.texts("values").enumerate().filter(|_| values) {
            let at = at.child("values").index(i);
            out.extend(names::label_value(value).iter().map(|why| format!("{at}: {value} is invalid, {why}")));
        }
    }
    out
}

/// Of a label selector that selects nodes.
pub fn of_selector(selector: Option<&Value>, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for (i, expression) in selector.list("matchExpressions").iter().enumerate() {
        let (at, key) = (at.child("matchExpressions").index(i).child("key"), expression.text("key"));
        out.extend(deprecated(key).map(|words| format!("{at}: {key} is {words}")));
    }
    let labels = selector.entries("matchLabels").filter_map(|(key, _)| Some((key, deprecated(key)?)));
    out.extend(labels.map(|(key, words)| format!("{}: {words}", at.child("matchLabels").child(key))));
    out
}
