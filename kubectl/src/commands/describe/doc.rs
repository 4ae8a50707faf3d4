//! The text that `describe` builds: lines with levels of indentation, labels over several lines, conditions, events.

use serde_json::Value;

use crate::printers::{table::age, tabs};

/// See the module.
#[derive(Default)]
pub struct Doc(String);

/// A value as Go prints it with `%v`; nothing for what is missing.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As Go's RFC1123Z: `Mon, 02 Jan 2006 15:04:05 -0700`.
pub fn long_time(value: &Value) -> String {
    let Some(at) = value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) else {
        return "Mon, 01 Jan 0001 00:00:00 +0000".to_owned();
    };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

const SKIPPED_ANNOTATIONS: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration"];
const MAX_ANNOTATION: usize = 140;

impl Doc {
    /// A line at a level.
    pub fn line(&mut self, level: usize, line: &str) {
        self.raw(&"  ".repeat(level));
        self.raw(line);
        self.raw("\n");
    }

    /// Text as it is.
    pub fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// `Name:<tab>value`.
    pub fn pair(&mut self, level: usize, name: &str, value: &str) {
        self.line(level, &format!("{name}:\t{value}"));
    }

    /// A pair unless the value is empty.
    pub fn pair_if(&mut self, level: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.pair(level, name, value);
        }
    }

    /// Labels, one a line.
    pub fn labels(&mut self, title: &str, labels: &Value) {
        self.raw(&format!("{title}:\t"));
        let Some(map) = labels.as_object().filter(|map| !map.is_empty()) else {
            self.raw("<none>\n");
            return;
        };
        for (index, (key, value)) in map.iter().enumerate() {
            let indent = if index == 0 { "" } else { "\t" };
            self.raw(&format!("{indent}{key}={}\n", text(value)));
        }
    }

    /// Annotations, one a line, long ones folded and cut.
    pub fn annotations(&mut self, title: &str, annotations: &Value) {
        self.raw(&format!("{title}:\t"));
        let shown: Vec<_> = annotations
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !SKIPPED_ANNOTATIONS.contains(&key.as_str()))
            .collect();
        if shown.is_empty() {
            self.raw("<none>\n");
            return;
        }
        for (index, (key, value)) in shown.into_iter().enumerate() {
            let indent = if index == 0 { "" } else { "\t" };
            let value = text(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > MAX_ANNOTATION || value.contains('\n') {
                self.raw(&format!("{indent}{key}:\n"));
                for line in value.split('\n') {
                    self.raw(&format!("\t  {}\n", shorten(line)));
                }
            } else {
                self.raw(&format!("{indent}{key}: {value}\n"));
            }
        }
    }

    /// Name, namespace, labels and annotations.
    pub fn conditions(&mut self, conditions: &Value) {
        let Some(all) = conditions.as_array().filter(|all| !all.is_empty()) else { return };
        self.line(0, "Conditions:\n  Type\tStatus\tReason");
        self.line(1, "----\t------\t------");
        for condition in all {
            let of = |key: &str| text(&condition[key]);
            self.line(1, &format!("{} \t{}\t{}", of("type"), of("status"), of("reason")));
        }
    }

    /// Events about the object.
    pub fn events(&mut self, events: Option<Vec<Value>>) {
        let Some(mut events) = events else { return };
        if events.is_empty() {
            self.line(0, "Events:\t<none>");
            return;
        }
        let last = |event: &Value| {
            ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]
                .iter()
                .find_map(|pointer| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned))
                .unwrap_or_default()
        };
        events.sort_by_key(last);
        self.raw("\u{c}");
        self.line(0, "Events:\n  Type\tReason\tAge\tFrom\tMessage");
        self.line(1, "----\t------\t----\t----\t-------");
        for event in events {
            let since = |value: &Value| value.as_str().map_or_else(|| "<unknown>".to_owned(), age);
            let first =
                if event["eventTime"].is_null() { since(&event["firstTimestamp"]) } else { since(&event["eventTime"]) };
            let count = event["count"].as_i64().unwrap_or(0);
            let interval = if event["series"].is_object() {
                let series = &event["series"];
                format!("{} (x{} over {first})", since(&series["lastObservedTime"]), text(&series["count"]))
            } else if count > 1 {
                format!("{} (x{count} over {first})", since(&event["lastTimestamp"]))
            } else {
                first
            };
            let source = event["source"]["component"].as_str().filter(|s| !s.is_empty());
            let source = source.or(event["reportingComponent"].as_str()).unwrap_or_default();
            let mut message = text(&event["message"]).trim().to_owned();
            if let Some(path) = event["involvedObject"]["fieldPath"].as_str().filter(|path| !path.is_empty()) {
                message = format!("{path}: {message}");
            }
            self.line(
                1,
                &format!("{}\t{}\t{interval}\t{source}\t{message}", text(&event["type"]), text(&event["reason"])),
            );
        }
    }

    /// The text with its tabs.
    pub fn with_tabs(self) -> String {
        self.0
    }

    /// The aligned text.
    pub fn finish(self) -> String {
        tabs::align(&self.0)
    }
}

fn shorten(line: &str) -> String {
    let max = MAX_ANNOTATION - 2;
    if line.chars().count() > max { line.chars().take(max).chain("...".chars()).collect() } else { line.to_owned() }
}
