//! `/livez`, `/readyz`, `/healthz`: all checks or one, in upstream's words (`apiserver/pkg/server/healthz`).

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};
use machinery::status::StatusError;
use negotiation::Body;

use super::Call;
use super::general::{not_found, text};

/// A check's name and whether it holds.
type Check = (&'static str, bool);

/// What a check asks of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// That it answers.
    Nothing,
    /// That no task panics again and again.
    Tasks,
    /// That the store answers and the caches have all that is in it.
    Fed,
    /// That the cluster's own objects are there and what Services hold is in order.
    Booted,
    /// That it is not about to end.
    Stays,
}

/// The names of the checks, what they ask, and whether they are of readiness alone; upstream's names in upstream's order, where
/// what they name is done here.
const CHECKS: &[(&str, Asks, bool)] = &[
    ("ping", Asks::Nothing, false),
    ("log", Asks::Nothing, false),
    ("tasks", Asks::Tasks, false),
    ("etcd", Asks::Fed, false),
    ("etcd-readiness", Asks::Fed, true),
    ("informer-sync", Asks::Fed, true),
    ("poststarthook/generic-apiserver-start-informers", Asks::Fed, false),
    ("poststarthook/start-apiextensions-informers", Asks::Fed, false),
    ("poststarthook/start-apiextensions-controllers", Asks::Fed, false),
    ("poststarthook/crd-informer-synced", Asks::Fed, false),
    ("poststarthook/start-system-namespaces-controller", Asks::Booted, false),
    ("poststarthook/start-cluster-authentication-info-controller", Asks::Booted, false),
    ("poststarthook/start-legacy-token-tracking-controller", Asks::Booted, false),
    ("poststarthook/start-service-ip-repair-controllers", Asks::Booted, false),
    ("poststarthook/rbac/bootstrap-roles", Asks::Booted, false),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Asks::Booted, false),
    ("poststarthook/bootstrap-controller", Asks::Booted, false),
    ("poststarthook/start-kubernetes-service-cidr-controller", Asks::Booted, false),
    ("shutdown", Asks::Stays, true),
];

/// The checks of a path (`/livez` or `livez`).
fn of_path(path: &str) -> impl Iterator<Item = (&'static str, Asks)> {
    let readiness = path.ends_with("readyz");
    CHECKS.iter().filter(move |(_, _, only)| readiness || !only).map(|(name, asks, _)| (*name, *asks))
}

/// The names of a path's checks.
pub(super) fn names(path: &str) -> impl Iterator<Item = &'static str> {
    of_path(path).map(|(name, _)| name)
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
    let holds = |asks| match asks {
        Asks::Nothing => true,
        Asks::Tasks => troubled.is_empty(),
        Asks::Fed => fed,
        Asks::Booted => booted,
        Asks::Stays => !server.draining(),
    };
    of_path(path).map(|(name, asks)| (name, holds(asks))).collect()
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
    for (name, holds) in checks.iter().filter(|(name, _)| !excluded.contains(name)) {
        call.server.metrics.slis.checked(name, path, *holds);
    }
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
