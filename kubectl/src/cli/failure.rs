//! What goes wrong, and how kubectl says it (`kubectl/pkg/cmd/util/helpers.go`). The exit code is 1 almost always.

use machinery::json::Fields;
use serde_json::Value;

/// See the module.
#[derive(Debug)]
pub enum Failure {
    /// The server's Status.
    Status {
        /// HTTP's code.
        code: u16,
        /// Such as `NotFound`.
        reason: String,
        /// The text.
        message: String,
        /// status.details.
        details: Value,
    },
    /// `error: ...`.
    Message(String),
    /// Printed as it is, with this exit code.
    Plain(String, i32),
    /// Several, a line each: plain ones are not led by `error:`.
    Many(Vec<Failure>),
}

/// What almost everything here returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// `error: ...`.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// As it is, exit code 1.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::Plain(message.into(), 1)
    }

    /// Nothing to say; the exit code says it.
    pub fn exit(code: i32) -> Self {
        Self::Plain(String::new(), code)
    }

    /// From the server's answer.
    pub fn from_status(code: u16, status: &Value) -> Self {
        Self::Status {
            code,
            reason: status.text("reason").to_owned(),
            message: status.text("message").to_owned(),
            details: status["details"].clone(),
        }
    }

    /// Whether the server said so.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Status { reason, .. } if reason == wanted)
    }

    /// Whether the server gave that cause.
    pub fn has_cause(&self, wanted: &str) -> bool {
        let Self::Status { details, .. } = self else { return false };
        details["causes"].as_array().is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == wanted))
    }

    /// Whether the server does not have it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    /// Says where the object came from (`AddSourceToErr`).
    pub fn at_source(self, verb: &str, source: &str) -> Self {
        if source.is_empty() {
            return self;
        }
        match self {
            Self::Status { code, reason, message, details } => {
                Self::Status { code, reason, message: format!("error when {verb} {source:?}: {message}"), details }
            }
            other => Self::Message(format!("error when {verb} {source:?}: {}", other.bare())),
        }
    }

    /// The text without a prefix.
    pub fn bare(&self) -> String {
        match self {
            Self::Status { message, .. } | Self::Message(message) | Self::Plain(message, _) => message.clone(),
            Self::Many(all) if all.len() > 1 => {
                format!("[{}]", all.iter().map(Self::bare).collect::<Vec<_>>().join(", "))
            }
            Self::Many(all) => all.iter().map(Self::bare).collect(),
        }
    }

    /// Says what was looked for, where the server could not list it (`resource.Selector`). `what` is the resource, such as
    /// `/v1, Resource=pods`.
    pub fn at_list(mut self, what: &str, labels: &str, fields: &str) -> Self {
        if let Self::Status { code: 400 | 404, message, .. } = &mut self {
            *message = match (labels, fields) {
                ("", "") => format!("Unable to list {what:?}: {message}"),
                _ => format!(
                    "Unable to find {what:?} that match label selector {labels:?}, field selector {fields:?}: {message}"
                ),
            };
        }
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Plain(_, code) => *code,
            _ => 1,
        }
    }

    /// All of them as one, or success.
    pub fn all(mut failures: Vec<Failure>) -> Outcome {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Many(failures)),
        }
    }
}

fn invalid(message: &str, details: &Value) -> String {
    let causes = details["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let what = if !details.text("kind").is_empty() || !details.text("name").is_empty() {
        format!("The {} {:?} is invalid", details.text("kind"), details.text("name"))
    } else if !message.is_empty() && causes.is_empty() {
        return format!("The request is invalid: {message}");
    } else {
        "The request is invalid".to_owned()
    };
    let lines: Vec<String> = causes
        .iter()
        .map(|cause| match cause["field"].as_str() {
            Some(field) => format!("{field}: {}", cause.text("message")),
            None => cause.text("message").to_owned(),
        })
        .collect();
    match lines.as_slice() {
        [] => what,
        [one] => format!("{what}: {one}"),
        several => format!("{what}: \n{}", several.iter().map(|line| format!("* {line}\n")).collect::<String>())
            .trim_end_matches('\n')
            .to_owned(),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { reason, message, details, .. } if reason == "Invalid" => {
                f.write_str(&invalid(message, details))
            }
            Self::Status { reason, message, .. } if reason.is_empty() => write!(f, "Error from server: {message}"),
            Self::Status { reason, message, .. } => write!(f, "Error from server ({reason}): {message}"),
            Self::Message(message) => write!(f, "error: {message}"),
            Self::Plain(message, _) => f.write_str(message),
            Self::Many(all) => {
                for (index, one) in all.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    match one {
                        Self::Message(message) => f.write_str(message)?,
                        one => write!(f, "{one}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// An error of the operating system in Go's words: `no such file or directory`.
pub fn os_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let Some((words, _)) = text.split_once(" (os error") else { return text };
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // Whoever read our output has enough: upstream ends silently, too.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::exit(0);
        }
        Self::Message(os_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn worded_as_kubectl_words_them() {
        let status = |reason: &str, message: &str, details: Value| {
            Failure::from_status(400, &json!({"reason": reason, "message": message, "details": details}))
        };
        for (failure, text) in [
            (
                status("NotFound", "pods \"a\" not found", Value::Null),
                "Error from server (NotFound): pods \"a\" not found",
            ),
            (status("", "boom", Value::Null), "Error from server: boom"),
            (
                status(
                    "Invalid",
                    "long",
                    json!({"kind": "Pod", "name": "a", "causes": [{"field": "spec.x", "message": "Required value"}]}),
                ),
                "The Pod \"a\" is invalid: spec.x: Required value",
            ),
            (
                status(
                    "Invalid",
                    "long",
                    json!({"kind": "Pod", "name": "a", "causes": [
                    {"field": "spec.x", "message": "Required value"}, {"field": "spec.y", "message": "Forbidden"}]}),
                ),
                "The Pod \"a\" is invalid: \n* spec.x: Required value\n* spec.y: Forbidden",
            ),
            (Failure::new("no"), "error: no"),
            (
                Failure::Many(vec![Failure::new("no"), status("NotFound", "pods \"a\" not found", Value::Null)]),
                "no\nError from server (NotFound): pods \"a\" not found",
            ),
            (
                status("AlreadyExists", "pods \"a\" already exists", Value::Null).at_source("creating", "a.yaml"),
                "Error from server (AlreadyExists): error when creating \"a.yaml\": pods \"a\" already exists",
            ),
        ] {
            assert_eq!(failure.to_string(), text);
        }
    }
}
