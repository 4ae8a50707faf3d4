//! `/livez`, `/readyz`, `/healthz`: all checks or one, in upstream's words (`apiserver/pkg/server/healthz`).

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};
use machinery::status::StatusError;
use negotiation::Body;

use super::Call;
use super::general::{not_found, text};

/// A check's name and whether it holds.
type Check = (&'static str, bool);

/// The names of the checks; those of readiness alone are last.
const NAMES: &[&str] = &[
    "ping",
    "log",
    "tasks",
    "etcd",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/bootstrap-controller",
    "etcd-readiness",
    "informer-sync",
    "shutdown",
];
/// How many of them liveness has too.
const LIVE: usize = 7;

/// The names of a path's checks (`/livez` or `livez`).
pub(super) fn names(path: &str) -> impl Iterator<Item = &'static str> {
    let count = if path.ends_with("readyz") { NAMES.len() } else { LIVE };
    NAMES[..count].iter().copied()
}

/// `/livez` is that the process serves; `/readyz` that the store answers, the caches are fed and nothing drains.
async fn checks(call: &Call, path: &str) -> Vec<Check> {
    let server = &call.server;
    let fed = server.registry.feed().caught_up().await.is_ok();
    let troubled = component::supervisor::troubled();
    if !troubled.is_empty() {
        tracing::warn!(tasks = troubled.join(", "), "tasks panic again and again");
    }
    let booted = server.ready.load(Ordering::Acquire);
    let holds = |name: &str| match name {
        "ping" | "log" => true,
        "tasks" => troubled.is_empty(),
        "etcd" | "etcd-readiness" | "informer-sync" => fed,
        "shutdown" => !server.draining(),
        _ => booted,
    };
    names(path).map(|name| (name, holds(name))).collect()
}

/// Serves `/<path>` and `/<path>/<only>`.
pub(super) async fn serve(call: &Call, path: &str, only: &str) -> Result<Response<Body>, StatusError> {
    let checks = checks(call, path).await;
    if !only.is_empty() {
        return Ok(match checks.iter().find(|(name, _)| *name == only) {
            Some((_, true)) => text(StatusCode::OK, "ok".into()),
            Some((name, false)) => {
                tracing::info!(check = name, "{path} check failed");
                let why = format!("internal server error: {name}: reason withheld\n");
                text(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
            None => not_found(),
        });
    }
    let excluded: Vec<&str> = call.info.query.all("exclude").collect();
    let (good, out) = report(path, &checks, &excluded);
    if !good {
        let failed = checks.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect::<Vec<_>>().join(",");
        tracing::info!(failed, "{path} check failed");
    }
    Ok(match (good, call.info.query.has("verbose")) {
        (true, false) => text(StatusCode::OK, "ok".into()),
        (true, true) => text(StatusCode::OK, out),
        (false, _) => text(StatusCode::INTERNAL_SERVER_ERROR, out),
    })
}

/// Whether all checks that are not excluded hold, and the long answer.
fn report(path: &str, checks: &[Check], excluded: &[&str]) -> (bool, String) {
    let mut out = String::new();
    let mut good = true;
    for (name, holds) in checks {
        let line = match (holds, excluded.contains(name)) {
            (_, true) => format!("[+]{name} excluded: ok\n"),
            (true, _) => format!("[+]{name} ok\n"),
            (false, _) => {
                good = false;
                format!("[-]{name} failed: reason withheld\n")
            }
        };
        out.push_str(&line);
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !checks.iter().any(|(check, _)| check == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        out.push_str(&format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(", ")));
    }
    out.push_str(&format!("{path} check {}\n", if good { "passed" } else { "failed" }));
    (good, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_checks_do_not_fail_and_unknown_ones_are_warned_of() {
        let checks = [("ping", true), ("etcd", false)];
        assert_eq!(
            report("livez", &checks, &[]),
            (false, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n".into())
        );
        let expect = "[+]ping ok\n[+]etcd excluded: ok\n\
                      warn: some health checks cannot be excluded: no matches for \"foo\"\nreadyz check passed\n";
        assert_eq!(report("readyz", &checks, &["etcd", "foo"]), (true, expect.into()));
    }
}
