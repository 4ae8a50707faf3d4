//! Text shared by conditions and events: Go's `%q`.

/// A string as Go's `%q` prints it; Kubernetes' names need no more than this.
pub(crate) fn quote(text: &str) -> String {
    format!("{text:?}")
}
