//! ServiceAccounts: metadata alone is checked; clients no longer set the list of secrets.

use machinery::json::Fields;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

/// ServiceAccounts.
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn warnings(&self, _: &WriteContext<'_>, account: &Value, _: Option<&Value>) -> Vec<String> {
        let annotation = account["metadata"].sub("annotations").text("kubernetes.io/enforce-mountable-secrets");
        if annotation.is_empty() {
            return Vec::new();
        }
        vec![
            "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets".to_owned(),
        ]
    }
}
