//! Conditions: Go's `%q` for their texts, and how upstream sets one among the others (`meta.SetStatusCondition`).

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// A string as Go's `%q` prints it; Kubernetes' names need no more than this.
pub(crate) fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Puts a condition in the place of the one of its type. Its time of transition is the one before's unless the status
/// is another one now.
pub(crate) fn set(conditions: &mut Vec<Condition>, mut new: Condition, now: Timestamp) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        None => {
            new.last_transition_time = Time(now);
            conditions.push(new);
        }
        Some(old) => {
            new.last_transition_time =
                if old.status == new.status { old.last_transition_time.clone() } else { Time(now) };
            *old = new;
        }
    }
}
