//! Probes and lifecycle hooks.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use model::check::Faults;
use serde_json::Value;

use super::containers::port_number;

const SIGNALS: &str = "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGRTMAX SIGRTMAX-1 SIGRTMAX-10 SIGRTMAX-11 SIGRTMAX-12 SIGRTMAX-13 SIGRTMAX-14 SIGRTMAX-2 SIGRTMAX-3 SIGRTMAX-4 SIGRTMAX-5 SIGRTMAX-6 SIGRTMAX-7 SIGRTMAX-8 SIGRTMAX-9 SIGRTMIN SIGRTMIN+1 SIGRTMIN+10 SIGRTMIN+11 SIGRTMIN+12 SIGRTMIN+13 SIGRTMIN+14 SIGRTMIN+15 SIGRTMIN+2 SIGRTMIN+3 SIGRTMIN+4 SIGRTMIN+5 SIGRTMIN+6 SIGRTMIN+7 SIGRTMIN+8 SIGRTMIN+9 SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ";

pub(super) fn probe(probe: &Value, kind: &str, grace: Option<i64>, at: &Path, errors: &mut ErrorList) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, at, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.nonnegative(&at.child(field), probe.int(field).unwrap_or(0));
    }
    let own_grace = probe.int("terminationGracePeriodSeconds");
    if let Some(seconds) = own_grace.filter(|s| *s <= 0) {
        errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if let Some(seconds) = own_grace {
            let detail = "must not be set for readinessProbes";
            errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, detail);
        }
    } else if probe.int("successThreshold").unwrap_or(0) != 1 {
        errors.invalid(&at.child("successThreshold"), probe.int("successThreshold").unwrap_or(0), "must be 1");
    }
}

pub(super) fn lifecycle(lifecycle: &Value, grace: Option<i64>, os: &str, at: &Path, errors: &mut ErrorList) {
    for hook in ["postStart", "preStop"] {
        if let Some(action) = lifecycle.sub(hook) {
            handler(action, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &at.child(hook), errors);
        }
    }
    let Some(signal) = lifecycle.sub("stopSignal").and_then(Value::as_str) else { return };
    let at = at.child("stopSignal");
    match os {
        "" => errors.forbidden(&at, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !["SIGKILL", "SIGTERM"].contains(&signal) => {
            errors.unsupported(&at, signal, &["SIGKILL", "SIGTERM"]);
        }
        "linux" => {
            let known: Vec<&str> = SIGNALS.split(' ').collect();
            if !known.contains(&signal) {
                errors.unsupported(&at, signal, &known);
            }
        }
        _ => {}
    }
}

// Exactly one of the kinds.
fn handler(action: &Value, kinds: &[&str], grace: Option<i64>, at: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for kind in kinds {
        let Some(inner) = action.sub(kind) else { continue };
        let at = at.child(kind);
        if found {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" if inner.list("command").is_empty() => errors.required(&at.child("command"), ""),
            "httpGet" => http_get(inner, &at, errors),
            "tcpSocket" | "grpc" => port(inner.sub("port"), &at.child("port"), errors),
            "sleep" => {
                let seconds = inner.int("seconds").unwrap_or(0);
                if let Some(grace) = grace.filter(|g| seconds < 0 || seconds > *g) {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.invalid(&at, seconds, detail);
                }
            }
            _ => {}
        }
    }
    if !found {
        errors.required(at, "must specify a handler type");
    }
}

fn http_get(get: &Value, at: &Path, errors: &mut ErrorList) {
    if get.text("path").is_empty() {
        errors.required(&at.child("path"), "");
    }
    port(get.sub("port"), &at.child("port"), errors);
    let scheme = get.text("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.unsupported(&at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in get.list("httpHeaders") {
        let name = header.text("name");
        errors.each(&at.child("httpHeaders"), name, names::http_header_name(name));
    }
}

fn port(port: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    match port {
        Some(Value::String(name)) => errors.each(at, name, names::port_name(name)),
        other => port_number(other.and_then(Value::as_i64).unwrap_or(0), at, errors),
    }
}
