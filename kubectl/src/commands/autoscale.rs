//! `kubectl autoscale`: an autoscaler for a workload.

use http::Method;
use machinery::json::Fields;
use serde_json::{Value, json};

use super::{
    Command,
    apply::{with_annotation, write_query},
    create,
};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{Info, files, mapper::Resource, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "autoscale",
    aliases: &[],
    flags: &[create::FLAGS, FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] =
    &[value("min"), value("max"), value("cpu-percent"), value("cpu"), value("memory"), value("name")];

/// What is wanted of the autoscaler.
struct Wanted {
    min: i64,
    max: i64,
    percent: i64,
    /// The metrics of v2.
    metrics: Vec<Value>,
    /// Whether v1 can say the same.
    fits_v1: Result<bool, String>,
}

/// A percentage, or an amount.
#[derive(Debug, PartialEq)]
enum Target {
    Percent(i64),
    Amount(String),
}

/// Reads a target; `unit` is that of a number without one.
fn target(text: &str, resource: &str, unit: &str) -> Result<Target, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("empty input".into());
    }
    if let Some(percent) = text.strip_suffix('%') {
        let number = machinery::go::parse_int::<i32>(percent).ok().filter(|number| *number >= 0);
        return number
            .map(|number| Target::Percent(number.into()))
            .ok_or_else(|| format!("invalid percentage value: {percent}"));
    }
    let bare = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let text = bare.map_or_else(|| text.to_owned(), |number| format!("{number}{unit}"));
    let amount = machinery::quantity::Quantity::parse(&text);
    let amount = amount.map_err(|_| format!("invalid resource {resource} value: {text}"))?;
    Ok(Target::Amount(amount.canonical()))
}

fn metric(name: &str, target: &Target) -> Value {
    let target = match target {
        Target::Percent(percent) => json!({"type": "Utilization", "averageUtilization": percent}),
        Target::Amount(amount) => json!({"type": "AverageValue", "averageValue": amount}),
    };
    json!({"type": "Resource", "resource": {"name": name, "target": target}})
}

fn wanted(context: &Context) -> Outcome<Wanted> {
    let flags = &context.flags;
    if !flags.given("max") {
        return Err(Failure::new("required flag(s) \"max\" not set"));
    }
    let number = |name: &str| Ok::<i64, Failure>(flags.number(name)?.unwrap_or(-1));
    let (min, max, percent) = (number("min")?, number("max")?, number("cpu-percent")?);
    if flags.given("cpu-percent") {
        context.note(format_args!(
            "Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' \
             for utilization or '500m' for milliCPU)."
        ));
    }
    if max < 1 {
        return Err(Failure::new(format!("--max=MAXPODS is required and must be at least 1, max: {max}")));
    }
    if max < min {
        let text = format!("--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}");
        return Err(Failure::new(text));
    }
    let (cpu, memory) = (flags.or("cpu", ""), flags.or("memory", ""));
    if percent > 0 && !cpu.is_empty() {
        return Err(Failure::new("--cpu-percent and --cpu are mutually exclusive"));
    }
    let mut metrics = Vec::new();
    if percent > 0 {
        metrics.push(metric("cpu", &Target::Percent(percent)));
    }
    for (name, text, unit) in [("cpu", cpu, "m"), ("memory", memory, "Mi")] {
        if !text.is_empty() {
            metrics.push(metric(name, &target(text, name, unit).map_err(Failure::new)?));
        }
    }
    let of_cpu = target(cpu, "cpu", "m");
    let fits_v1 = of_cpu.map(|of| memory.is_empty() && (percent >= 0 || matches!(of, Target::Percent(_))));
    Ok(Wanted { min, max, percent, metrics, fits_v1 })
}

async fn run(context: Context) -> Outcome {
    let wanted = wanted(&context)?;
    let format = Format::of(&context)?;
    let (infos, mut failures) = select::infos(&context, &context.flags.args).await?;
    if infos.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to autoscale"));
    }
    for info in infos {
        failures.extend(one(&context, &format, &info, &wanted).await.err());
    }
    Failure::all(failures)
}

/// Whether a kind has a size that can be changed.
async fn has_scale(context: &Context, resource: &Resource) -> Outcome<bool> {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let list = context.json(Call::get(format!("{root}/{}", resource.api_version()))).await?;
    let scale = format!("{}/scale", resource.plural);
    Ok(list.list("resources").iter().any(|entry| entry.text("name") == scale))
}

async fn one(context: &Context, format: &Format, info: &Info, wanted: &Wanted) -> Outcome {
    let resource = &info.resource;
    if !has_scale(context, resource).await? {
        let (kind, plural) = (&resource.kind, resource.group_version_resource());
        let text = format!("could not find scale subresource for {plural} in discovery information");
        return Err(Failure::new(format!("cannot autoscale a {kind}: {text}")));
    }
    let mut spec = json!({
        "scaleTargetRef": {"kind": resource.kind, "name": info.name, "apiVersion": resource.api_version()},
        "maxReplicas": wanted.max,
    });
    if wanted.min > 0 {
        spec["minReplicas"] = wanted.min.into();
    }
    let mut of_v2 = spec.clone();
    if !wanted.metrics.is_empty() {
        of_v2["metrics"] = wanted.metrics.clone().into();
    }
    if made(context, format, info, "autoscaling/v2", of_v2).await.is_ok() {
        return Ok(());
    }
    match &wanted.fits_v1 {
        Ok(true) => {}
        not => {
            let why = not.as_ref().err().map_or("%!w(<nil>)", String::as_str);
            let text = "failed to create autoscaling/v2 HPA and the configuration is incompatible with autoscaling/v1";
            return Err(Failure::new(format!("{text}: {why}")));
        }
    }
    if wanted.percent >= 0 {
        spec["targetCPUUtilizationPercentage"] = wanted.percent.into();
    }
    made(context, format, info, "autoscaling/v1", spec).await
}

async fn made(context: &Context, format: &Format, info: &Info, version: &str, spec: Value) -> Outcome {
    let kind = "HorizontalPodAutoscaler";
    let unmatched = || Failure::new(format!("no matches for kind {kind:?} in version {version:?}"));
    let resource = context.mapper().await?.of_kind(version, kind).ok_or_else(unmatched)?;
    let (namespace, given) = context.namespace()?;
    let name = context.flags.or("name", &info.name).to_owned();
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    if given {
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    let info = Info { resource, namespace, name, object: object.clone(), source: String::new() };
    if dry_run(context)? == DryRun::Client {
        // As upstream's typed object is written.
        object["status"] = match version {
            "autoscaling/v2" => json!({"currentMetrics": null, "desiredReplicas": 0}),
            _ => json!({"currentReplicas": 0, "desiredReplicas": 0}),
        };
        return done(context, format, &info, &object, "created");
    }
    if context.flags.is("save-config") {
        object = with_annotation(&object);
    }
    let call = write_query(context, Call::send(Method::POST, info.collection(), &object), "kubectl-autoscale")?;
    let answer = context.json(call).await?;
    done(context, format, &info, &answer, "autoscaled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_percentages_or_amounts() {
        let amount = |text: &str| Ok(Target::Amount(text.to_owned()));
        for (text, resource, unit, want) in [
            ("70%", "cpu", "m", Ok(Target::Percent(70))),
            ("0%", "cpu", "m", Ok(Target::Percent(0))),
            ("500", "cpu", "m", amount("500m")),
            ("1000", "cpu", "m", amount("1")),
            ("1.5", "memory", "Mi", amount("1536Ki")),
            ("512", "memory", "Mi", amount("512Mi")),
            ("500m", "cpu", "m", amount("500m")),
            (" 2Gi ", "memory", "Mi", amount("2Gi")),
            ("-1%", "cpu", "m", Err("invalid percentage value: -1")),
            ("x%", "cpu", "m", Err("invalid percentage value: x")),
            ("many", "memory", "Mi", Err("invalid resource memory value: many")),
            ("", "cpu", "m", Err("empty input")),
        ] {
            assert_eq!(target(text, resource, unit), want.map_err(str::to_owned), "{text:?}");
        }
    }
}
