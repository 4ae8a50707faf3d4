//! Events. The core group only ever asked that they make sense; events.k8s.io wants every field that it has and none of the
//! old ones, and lets an update change nothing but the series. Faults are told by the stored fields' names, whichever
//! group was written to. Follows `pkg/apis/core/validation/events.go`.

use api::{rules, schema};
use jiff::Timestamp;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, same};
use serde_json::Value;
use writes::strategy::{Dependents, Strategy, WriteContext};

/// Longest of reportingInstance, action and reason.
const SHORT: usize = 128;
/// Longest message.
const NOTE: usize = 1024;

/// Events, as one of the two groups has them.
#[derive(Clone, Copy)]
pub enum Events {
    /// `v1`.
    Core,
    /// `events.k8s.io/v1`.
    Newer,
}

impl Strategy for Events {
    fn dependents(&self) -> Dependents {
        Dependents::None
    }

    fn validate(&self, _: &WriteContext<'_>, event: &Value) -> ErrorList {
        self.created(event)
    }

    fn validate_update(&self, _: &WriteContext<'_>, event: &Value, old: &Value) -> ErrorList {
        self.updated(event, old)
    }
}

impl Events {
    /// What this group calls a field of the stored kind.
    fn name(self, stored: &'static str) -> &'static str {
        match (self, stored) {
            (Events::Core, stored) => stored,
            (Events::Newer, "involvedObject") => "regarding",
            (Events::Newer, "message") => "note",
            (Events::Newer, "source") => "deprecatedSource",
            (Events::Newer, "firstTimestamp") => "deprecatedFirstTimestamp",
            (Events::Newer, "lastTimestamp") => "deprecatedLastTimestamp",
            (Events::Newer, "count") => "deprecatedCount",
            (Events::Newer, "reportingComponent") => "reportingController",
            (Events::Newer, stored) => stored,
        }
    }

    fn created(self, event: &Value) -> ErrorList {
        let mut errors = self.sensible(event);
        if matches!(self, Events::Core) {
            return errors;
        }
        series(event, &mut errors);
        if !event.has("eventTime") {
            errors.required(&Path::new("eventTime"), "");
        }
        let kind = event.text("type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
        }
        let source = event.sub(self.name("source"));
        for (field, given) in [
            ("firstTimestamp", event.has(self.name("firstTimestamp"))),
            ("lastTimestamp", event.has(self.name("lastTimestamp"))),
            ("count", event.int(self.name("count")).unwrap_or(0) != 0),
            ("source", !source.text("component").is_empty() || !source.text("host").is_empty()),
        ] {
            if given {
                errors.invalid(&Path::new(field), "", "needs to be unset");
            }
        }
        errors
    }

    fn updated(self, event: &Value, old: &Value) -> ErrorList {
        let mut errors = self.sensible(event);
        if matches!(self, Events::Core) {
            return errors;
        }
        if !same(event.sub("series"), old.sub("series")) {
            series(event, &mut errors);
        }
        let ty = schema::named("events.v1", "Event").expect("the table has events");
        let mut kept = |field: &'static str, said: &str| {
            errors.extend(rules::immutable(ty, self.name(field), event, old, &Path::new(said)));
        };
        // The reason is compared twice, as upstream.
        for field in [
            "involvedObject",
            "reason",
            "message",
            "source",
            "firstTimestamp",
            "lastTimestamp",
            "count",
            "reason",
            "type",
        ] {
            kept(field, field);
        }
        // Clients that write nanoseconds may come back with what a microsecond leaves of them.
        if micros(event.text("eventTime")) != micros(old.text("eventTime")) {
            kept("eventTime", "eventTime");
        }
        kept("action", "action");
        kept("related", "related");
        kept("reportingComponent", "reportingController");
        kept("reportingInstance", "reportingInstance");
        errors
    }

    /// That an event makes sense, in either group. One without an `eventTime` is of the old sort.
    fn sensible(self, event: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let namespace = meta::namespace(event);
        let involved = event.sub(self.name("involvedObject")).text("namespace");
        let new = event.has("eventTime");
        let matches = match (involved.is_empty(), new) {
            (true, false) => matches!(namespace, "" | "default"),
            (true, true) => matches!(namespace, "default" | "kube-system"),
            (false, false) => namespace == involved,
            (false, true) => true,
        };
        if !matches {
            let at = Path::new("involvedObject").child("namespace");
            errors.invalid(&at, involved, "does not match event.namespace");
        }
        if new {
            let controller = event.text(self.name("reportingComponent"));
            let at = Path::new(self.name("reportingComponent"));
            if controller.is_empty() {
                errors.required(&at, "");
            }
            errors.each(&at, controller, names::qualified_name(controller));
            for field in ["reportingInstance", "action", "reason"] {
                if event.text(field).is_empty() {
                    errors.required(&Path::new(field), "");
                }
                at_most(event.text(field), SHORT, field, &mut errors);
            }
            at_most(event.text(self.name("message")), NOTE, "message", &mut errors);
        }
        errors.each(&Path::new("namespace"), namespace, names::dns1123_subdomain(namespace));
        errors
    }
}

fn at_most(text: &str, most: usize, field: &str, errors: &mut ErrorList) {
    if text.len() > most {
        errors.invalid(&Path::new(field), "", format!("can have at most {most} characters"));
    }
}

fn series(event: &Value, errors: &mut ErrorList) {
    let Some(series) = event.sub("series") else { return };
    if series.int("count").unwrap_or(0) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if !series.has("lastObservedTime") {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

fn micros(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn newer() -> Value {
        json!({
            "metadata": {"namespace": "a", "name": "e"}, "eventTime": "2026-01-01T00:00:00.000001Z", "type": "Normal",
            "regarding": {"namespace": "a"}, "reason": "Tested", "action": "Test", "note": "n",
            "reportingController": "example.com/c", "reportingInstance": "i",
        })
    }

    #[test]
    fn old_events_only_need_a_namespace_that_matches() {
        let event = |namespace: &str, involved: &str| json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": involved}});
        assert_eq!(said(&Events::Core.created(&event("a", "a"))), [""; 0]);
        assert_eq!(said(&Events::Core.created(&event("default", ""))), [""; 0]);
        let no = |namespace, involved: &str| {
            let want =
                format!(r#"involvedObject.namespace: Invalid value: "{involved}": does not match event.namespace"#);
            assert_eq!(said(&Events::Core.created(&event(namespace, involved))), [want]);
        };
        no("a", "b");
        no("a", "");
    }

    #[test]
    fn an_event_with_a_time_says_who_did_what_and_why() {
        let event = json!({"metadata": {"namespace": "kube-system"}, "eventTime": "2026-01-01T00:00:00Z"});
        let missing =
            |errors: ErrorList| said(&errors).into_iter().filter(|e| e.ends_with("Required value")).collect::<Vec<_>>();
        let rest = ["reportingInstance: Required value", "action: Required value", "reason: Required value"];
        let core = missing(Events::Core.created(&event));
        assert_eq!(core[0], "reportingComponent: Required value");
        assert_eq!(core[1..], rest);
        let newer = missing(Events::Newer.updated(&event, &event));
        assert_eq!(newer[0], "reportingController: Required value");
        assert_eq!(newer[1..], rest);
        let long = json!({
            "metadata": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00Z", "reportingComponent": "c",
            "reportingInstance": "i".repeat(129), "action": "a", "reason": "r", "message": "m".repeat(1025),
        });
        assert_eq!(
            said(&Events::Core.created(&long)),
            [
                r#"reportingInstance: Invalid value: "": can have at most 128 characters"#,
                r#"message: Invalid value: "": can have at most 1024 characters"#
            ]
        );
    }

    #[test]
    fn the_newer_group_wants_no_old_fields() {
        assert_eq!(said(&Events::Newer.created(&newer())), [""; 0]);
        let mut event = newer();
        event["type"] = json!("Odd");
        event["deprecatedCount"] = json!(1);
        event["deprecatedSource"] = json!({"component": "c"});
        event["deprecatedFirstTimestamp"] = json!("2026-01-01T00:00:00Z");
        event["series"] = json!({"count": 1});
        assert_eq!(
            said(&Events::Newer.created(&event)),
            [
                r#"series.count: Invalid value: "": should be at least 2"#,
                "series.lastObservedTime: Required value",
                r#"type: Invalid value: "": has invalid value: Odd"#,
                r#"firstTimestamp: Invalid value: "": needs to be unset"#,
                r#"count: Invalid value: "": needs to be unset"#,
                r#"source: Invalid value: "": needs to be unset"#,
            ]
        );
    }

    #[test]
    fn an_update_in_the_newer_group_changes_the_series_alone() {
        let mut event = newer();
        event["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
        event["eventTime"] = json!("2026-01-01T00:00:00.0000019Z");
        assert_eq!(said(&Events::Newer.updated(&event, &newer())), [""; 0]);
        event["note"] = json!("other");
        event["reportingController"] = json!("d");
        assert_eq!(
            said(&Events::Newer.updated(&event, &newer())),
            [
                r#"message: Invalid value: "other": field is immutable"#,
                r#"reportingController: Invalid value: "d": field is immutable"#
            ]
        );
        let mut core = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "message": "m"});
        let old = core.clone();
        core["message"] = json!("n");
        core["count"] = json!(2);
        assert_eq!(said(&Events::Core.updated(&core, &old)), [""; 0]);
    }
}
