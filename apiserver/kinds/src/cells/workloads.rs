//! Rows of controllers and their like.

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::time::human_duration;
use serde_json::Value;

use super::{age, condition, containers, count, deleting, labels, name, number, selector, since, text_or};

pub(crate) fn pod_template(template: &Value, _now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(template, "/template/spec/containers");
    vec![name(template), names, images, labels(template, "/template/metadata/labels")]
}

pub(crate) fn replication_controller(rc: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = replicas(rc, now);
    cells.push(labels(rc, "/spec/selector"));
    cells
}

pub(crate) fn replica_set(set: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = replicas(set, now);
    cells.push(selector(set, "/spec/selector", "<none>"));
    cells
}

fn replicas(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, "/spec/template/spec/containers");
    vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age(object, now),
        names,
        images,
    ]
}

pub(crate) fn deployment(deployment: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(deployment, "/spec/template/spec/containers");
    vec![
        name(deployment),
        format!("{}/{}", number(deployment, "/status/readyReplicas"), number(deployment, "/spec/replicas")).into(),
        number(deployment, "/status/updatedReplicas").into(),
        number(deployment, "/status/availableReplicas").into(),
        age(deployment, now),
        names,
        images,
        selector(deployment, "/spec/selector", ""),
    ]
}

pub(crate) fn stateful_set(set: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(set, "/spec/template/spec/containers");
    let ready = format!("{}/{}", number(set, "/status/readyReplicas"), number(set, "/spec/replicas"));
    vec![name(set), ready.into(), age(set, now), names, images]
}

pub(crate) fn daemon_set(set: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(set, "/spec/template/spec/containers");
    vec![
        name(set),
        number(set, "/status/desiredNumberScheduled").into(),
        number(set, "/status/currentNumberScheduled").into(),
        number(set, "/status/numberReady").into(),
        number(set, "/status/updatedNumberScheduled").into(),
        number(set, "/status/numberAvailable").into(),
        labels(set, "/spec/template/spec/nodeSelector"),
        age(set, now),
        names,
        images,
        selector(set, "/spec/selector", "<none>"),
    ]
}

pub(crate) fn controller_revision(revision: &Value, now: Timestamp) -> Vec<Value> {
    let controller = revision.sub("metadata").list("ownerReferences").iter().find(|o| o["controller"] == true);
    let controller = controller.map_or("<none>".to_owned(), |owner| {
        let kind = owner.text("kind").to_lowercase();
        match owner.text("apiVersion").split_once('/') {
            Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
            None => format!("{kind}/{}", owner.text("name")),
        }
    });
    vec![name(revision), controller.into(), number(revision, "/revision").into(), age(revision, now)]
}

pub(crate) fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(job, "/status/succeeded");
    let completions = match (job.at("/spec/completions").and_then(Value::as_i64), number(job, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let at = |name: &str| job.sub("status").text(name).parse::<Timestamp>().ok();
    let duration = at("startTime").map_or_else(String::new, |start| {
        human_duration(at("completionTime").unwrap_or(now).duration_since(start).as_secs())
    });
    let has = |kind: &str| condition(job, "/status/conditions", kind).is_some_and(|c| c["status"] == "True");
    let status = match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if deleting(job) => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let [names, images] = containers(job, "/spec/template/spec/containers");
    vec![
        name(job),
        status.into(),
        completions.into(),
        duration.into(),
        age(job, now),
        names,
        images,
        selector(job, "/spec/selector", "<none>"),
    ]
}

pub(crate) fn cron_job(job: &Value, now: Timestamp) -> Vec<Value> {
    let suspend = match job.at("/spec/suspend") {
        Some(Value::Bool(true)) => "True",
        Some(Value::Bool(false)) => "False",
        _ => "<unset>",
    };
    let last = match job.sub("status").text("lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => since(time, now),
    };
    let [names, images] = containers(job, "/spec/jobTemplate/spec/template/spec/containers");
    vec![
        name(job),
        job.sub("spec").text("schedule").into(),
        text_or(job, "/spec/timeZone", "<none>"),
        suspend.into(),
        count(job, "/status/active").into(),
        last.into(),
        age(job, now),
        names,
        images,
        selector(job, "/spec/jobTemplate/spec/selector", "<none>"),
    ]
}

pub(crate) fn pod_disruption_budget(budget: &Value, now: Timestamp) -> Vec<Value> {
    let amount = |path: &str| match budget.at(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => "N/A".into(),
    };
    vec![
        name(budget),
        amount("/spec/minAvailable").into(),
        amount("/spec/maxUnavailable").into(),
        number(budget, "/status/disruptionsAllowed").into(),
        age(budget, now),
    ]
}

pub(crate) fn horizontal_pod_autoscaler(hpa: &Value, now: Timestamp) -> Vec<Value> {
    let min = hpa.at("/spec/minReplicas").and_then(Value::as_i64).map_or("<unset>".to_owned(), |n| n.to_string());
    vec![
        name(hpa),
        format!("{}/{}", hpa.at("/spec/scaleTargetRef").text("kind"), hpa.at("/spec/scaleTargetRef").text("name"))
            .into(),
        metrics(hpa).into(),
        min.into(),
        number(hpa, "/spec/maxReplicas").into(),
        number(hpa, "/status/currentReplicas").into(),
        age(hpa, now),
    ]
}

/// What each metric is and should be, two of them.
fn metrics(hpa: &Value) -> String {
    let statuses = hpa.sub("status").list("currentMetrics");
    let all: Vec<String> = hpa
        .sub("spec")
        .list("metrics")
        .iter()
        .enumerate()
        .map(|(i, spec)| metric(spec, statuses.get(i).unwrap_or(&Value::Null)))
        .collect();
    match all.len() {
        0 => "<none>".into(),
        n if n > 2 => format!("{} + {} more...", all[..2].join(", "), n - 2),
        _ => all.join(", "),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let (part, named) = match spec.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".into(),
    };
    let target = |field: &str| spec.sub(part).sub("target").text(field).to_owned();
    let current = |field: &str| match status.sub(part).sub("current").text(field) {
        "" => "<unknown>".to_owned(),
        value => value.to_owned(),
    };
    let percent =
        |value: Option<&Value>, none: &str| value.and_then(Value::as_i64).map_or(none.to_owned(), |n| format!("{n}%"));
    let average = !target("averageValue").is_empty();
    let prefix = if named { format!("{}: ", spec.sub(part).text("name")) } else { String::new() };
    match (average, named) {
        (true, false) if part != "pods" => format!("{}/{} (avg)", current("averageValue"), target("averageValue")),
        (true, _) => format!("{prefix}{}/{}", current("averageValue"), target("averageValue")),
        (false, true) => {
            let now = percent(status.at(&format!("/{part}/current/averageUtilization")), "<unknown>");
            let wanted = percent(spec.at(&format!("/{part}/target/averageUtilization")), "<auto>");
            format!("{prefix}{now}/{wanted}")
        }
        (false, false) => format!("{}/{}", current("value"), target("value")),
    }
}
