//! `kubectl top node|pod`: what is used of processors and memory, from the metrics API.

use jiff::{SignedDuration, Timestamp};
use machinery::{
    json::Fields,
    quantity::{Format as Notation, Quantity},
    selector::{FieldSelector, LabelSelector},
};
use serde_json::Value;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::table::Writer,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "top",
    aliases: &[],
    flags: &[],
    sub: &[
        Command {
            name: "node",
            aliases: &["nodes", "no"],
            flags: &[COMMON, NODE],
            sub: &[],
            run: super::action!(node),
        },
        Command { name: "pod", aliases: &["pods", "po"], flags: &[COMMON, POD], sub: &[], run: super::action!(pod) },
    ],
    run: super::action!(which),
};

const COMMON: &[Flag] = &[
    value("selector").short('l'),
    value("sort-by"),
    switch("no-headers"),
    switch("use-protocol-buffers"),
    switch("show-swap"),
];
const NODE: &[Flag] = &[switch("show-capacity")];
const POD: &[Flag] =
    &[value("field-selector"), switch("containers"), switch("all-namespaces").short('A'), switch("sum")];

const API: &str = "/apis/metrics.k8s.io/v1beta1";
const UNKNOWN: &str = "<unknown>";
/// How long a pod may be without figures before that is strange.
const DELAY: SignedDuration = SignedDuration::from_mins(2);

async fn which(context: Context) -> Outcome {
    Err(context.flags.usage(&match context.flags.args.as_slice() {
        [] => "must be one of node, pod".to_owned(),
        words => format!("unknown command {:?}", words.join(" ")),
    }))
}

/// The figures of one line.
#[derive(Clone, Debug, Default)]
struct Used {
    cpu: Amount,
    memory: Amount,
    swap: Amount,
}

/// An amount, where it is known.
type Amount = Option<Quantity>;

impl Used {
    fn of(usage: &Value) -> Self {
        let amount = |name: &str| Quantity::from_value(&usage[name]);
        Self { cpu: amount("cpu"), memory: amount("memory"), swap: amount("swap") }
    }

    fn sum<'u>(all: impl IntoIterator<Item = &'u Used>) -> Self {
        let add = |sum: Amount, one: &Amount| match (sum, one) {
            (Some(sum), Some(one)) => Some(sum.add(one)),
            (sum, one) => sum.or_else(|| one.clone()),
        };
        all.into_iter().fold(Self::default(), |sum, one| Self {
            cpu: add(sum.cpu, &one.cpu),
            memory: add(sum.memory, &one.memory),
            swap: add(sum.swap, &one.swap),
        })
    }

    fn amounts(&self, swap: bool) -> Vec<(bool, Quantity)> {
        let zero = |amount: &Amount| amount.clone().unwrap_or_else(Quantity::zero);
        let mut all = vec![(true, zero(&self.cpu)), (false, zero(&self.memory))];
        all.extend(swap.then(|| (false, zero(&self.swap))));
        all
    }

    /// `120m`, `34Mi`.
    fn cells(&self, swap: bool) -> Vec<String> {
        self.amounts(swap).iter().map(|(cpu, amount)| shown(*cpu, amount)).collect()
    }
}

fn shown(cpu: bool, amount: &Quantity) -> String {
    if cpu { format!("{}m", amount.milli_value()) } else { format!("{}Mi", amount.value() / (1 << 20)) }
}

/// Largest first, or by name.
fn sort<T>(items: &mut [T], by: &str, used: impl Fn(&T) -> Used, name: impl Fn(&T) -> (String, String)) {
    let largest = |amount: Amount| std::cmp::Reverse(amount.map_or(0, |amount| amount.milli_value()));
    match by {
        "cpu" => items.sort_by_key(|item| largest(used(item).cpu)),
        "memory" => items.sort_by_key(|item| largest(used(item).memory)),
        _ => items.sort_by_key(name),
    }
}

/// What is wrong with the line, and the one name in it.
fn checked<'c>(context: &'c Context, usage: &str, selected: bool, both: &str) -> Outcome<Option<&'c str>> {
    let flags = &context.flags;
    let name = match flags.args.as_slice() {
        [] => None,
        [name] => Some(name.as_str()),
        _ => return Err(flags.usage(usage)),
    };
    if !matches!(flags.or("sort-by", ""), "" | "cpu" | "memory") {
        return Err(Failure::new("--sort-by accepts only cpu or memory"));
    }
    if name.is_some() && selected {
        return Err(Failure::new(both));
    }
    LabelSelector::parse(flags.or("selector", "")).map_err(Failure::new)?;
    Ok(name)
}

async fn available(context: &Context) -> Outcome {
    let groups = context.json(Call::get("/apis")).await?;
    let ours = |group: &&Value| group.text("name") == "metrics.k8s.io";
    let versions = groups.list("groups").iter().filter(ours).flat_map(|group| group.list("versions"));
    match versions.into_iter().any(|version| version.text("version") == "v1beta1") {
        true => Ok(()),
        false => Err(Failure::new("Metrics API not available")),
    }
}

/// The figures of one object, or of those selected.
async fn measured(context: &Context, collection: &str, name: Option<&str>) -> Outcome<Vec<Value>> {
    if let Some(name) = name {
        return Ok(vec![context.json(Call::get(format!("{collection}/{}", crate::cli::context::encode(name)))).await?]);
    }
    let mut list = context.json(selected(context, collection)).await?;
    Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

fn selected(context: &Context, collection: &str) -> Call {
    let flags = &context.flags;
    Call::get(collection)
        .query_if("labelSelector", flags.or("selector", ""))
        .query_if("fieldSelector", flags.or("field-selector", ""))
}

fn name_of(object: &Value) -> (String, String) {
    (String::new(), object["metadata"].text("name").to_owned())
}

/// A line whose last column is as wide as the others, as Go's writer leaves it.
fn line(writer: &mut Writer, mut cells: Vec<String>) {
    cells.push(String::new());
    writer.row(cells);
}

async fn node(context: Context) -> Outcome {
    let flags = &context.flags;
    let both = "only one of NAME or --selector can be provided";
    let name = checked(&context, "node [NAME | -l label]", flags.given("selector"), both)?;
    available(&context).await?;
    let mut metrics = measured(&context, &format!("{API}/nodes"), name).await?;
    if metrics.is_empty() {
        return Err(Failure::new("metrics not available yet"));
    }
    let nodes = measured(&context, "/api/v1/nodes", name).await?;
    let of = if flags.is("show-capacity") { "capacity" } else { "allocatable" };
    let swap = flags.is("show-swap");
    sort(&mut metrics, flags.or("sort-by", ""), |m| Used::of(&m["usage"]), name_of);
    let mut writer = Writer::default();
    if !flags.is("no-headers") {
        let swap = if swap { &["SWAP(bytes)", "SWAP(%)"][..] } else { &[] };
        let names = ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"];
        line(&mut writer, names.iter().chain(swap).map(|name| (*name).to_owned()).collect());
    }
    for metric in &metrics {
        let node = nodes.iter().find(|node| name_of(node) == name_of(metric));
        let status = node.map_or(&Value::Null, |node| &node["status"]);
        let mut cells = vec![name_of(metric).1];
        for (at, (cpu, used)) in Used::of(&metric["usage"]).amounts(swap).into_iter().enumerate() {
            let there_is = match at {
                0 => Quantity::from_value(&status[of]["cpu"]),
                1 => Quantity::from_value(&status[of]["memory"]),
                _ => match status["nodeInfo"]["swap"]["capacity"].as_i64() {
                    Some(capacity) => Some(Quantity::new(capacity, Notation::BinarySi)),
                    None => {
                        cells.extend([UNKNOWN.to_owned(), UNKNOWN.to_owned()]);
                        continue;
                    }
                },
            };
            cells.push(shown(cpu, &used));
            if let Some(there_is) = there_is {
                let part =
                    if there_is.is_zero() { 0.0 } else { used.milli_value() as f64 / there_is.milli_value() as f64 };
                cells.push(format!("{}%", (part * 100.0) as i64));
            }
        }
        line(&mut writer, cells);
    }
    let silent = nodes.iter().filter(|node| !metrics.iter().any(|metric| name_of(metric) == name_of(node)));
    for node in silent {
        let unknown = if swap { 6 } else { 4 };
        let cells = std::iter::once(name_of(node).1).chain(std::iter::repeat_n(UNKNOWN.to_owned(), unknown));
        line(&mut writer, cells.collect());
    }
    context.print(&writer.flush())
}

/// A pod's containers.
fn containers(metrics: &Value) -> Vec<(String, Used)> {
    let of = |container: &Value| (container.text("name").to_owned(), Used::of(&container["usage"]));
    metrics.list("containers").iter().map(of).collect()
}

fn of_pod(metrics: &Value) -> Used {
    Used::sum(containers(metrics).iter().map(|(_, used)| used))
}

async fn pod(context: Context) -> Outcome {
    let flags = &context.flags;
    let selected = flags.given("selector") || flags.given("field-selector");
    let name = checked(&context, "pod [NAME | -l label]", selected, "only one of NAME or selector can be provided")?;
    FieldSelector::parse(flags.or("field-selector", "")).map_err(Failure::new)?;
    available(&context).await?;
    let (all, namespace) = (flags.is("all-namespaces"), context.namespace()?.0);
    let within = if all { String::new() } else { format!("/namespaces/{namespace}") };
    let mut metrics = measured(&context, &format!("{API}{within}/pods"), name).await?;
    if metrics.is_empty() {
        explain(&context, &format!("/api/v1/namespaces/{namespace}/pods")).await?;
        match all {
            true => context.note(format_args!("No resources found")),
            false => context.note(format_args!("No resources found in {namespace} namespace.")),
        }
        return Ok(());
    }
    let (by, swap) = (flags.or("sort-by", ""), flags.is("show-swap"));
    let place = |m: &Value| {
        let metadata = &m["metadata"];
        (if all { metadata.text("namespace").to_owned() } else { String::new() }, metadata.text("name").to_owned())
    };
    sort(&mut metrics, by, of_pod, place);
    let each = flags.is("containers");
    let mut writer = Writer::default();
    let before: Vec<&str> = [all.then_some("NAMESPACE"), each.then_some("POD")].into_iter().flatten().collect();
    let columns: Vec<&str> = before
        .into_iter()
        .chain(["NAME", "CPU(cores)", "MEMORY(bytes)"])
        .chain(swap.then_some("SWAP(bytes)"))
        .collect();
    if !flags.is("no-headers") {
        line(&mut writer, columns.iter().map(|name| (*name).to_owned()).collect());
    }
    for metric in &metrics {
        let (namespace, name) = place(metric);
        let mut lines = vec![(name.clone(), of_pod(metric))];
        if each {
            lines = containers(metric);
            sort(&mut lines, by, |(_, used)| used.clone(), |(name, _)| (String::new(), name.clone()));
        }
        for (shown, used) in lines {
            let first = [all.then(|| namespace.clone()), each.then(|| name.clone()), Some(shown)];
            line(&mut writer, first.into_iter().flatten().chain(used.cells(swap)).collect());
        }
    }
    if flags.is("sum") {
        // Without headers upstream counts the columns of the figures alone.
        let width = if flags.is("no-headers") { if swap { 4 } else { 3 } } else { columns.len() };
        let empty = |number: usize| std::iter::repeat_n(String::new(), number);
        let rule = || "________".to_owned();
        line(&mut writer, empty(width - 2).chain([rule(), rule()]).collect());
        let all: Vec<Used> = metrics.iter().map(of_pod).collect();
        line(&mut writer, empty(width - 2).chain(Used::sum(&all).cells(swap)).collect());
    }
    context.print(&writer.flush())
}

/// Why there are no figures: there are no pods, they are too young, or something is wrong.
async fn explain(context: &Context, collection: &str) -> Outcome {
    let pods = context.json(selected(context, collection)).await?;
    let pods = pods.list("items");
    if pods.is_empty() {
        return Ok(());
    }
    for pod in pods {
        let metadata = &pod["metadata"];
        let made: Option<Timestamp> = metadata.text("creationTimestamp").parse().ok();
        let age = made.map_or(SignedDuration::ZERO, |made| Timestamp::now().duration_since(made));
        if age > DELAY {
            let age = machinery::duration::text(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            let (namespace, name) = (metadata.text("namespace"), metadata.text("name"));
            return Err(Failure::new(format!("Metrics not available for pod {namespace}/{name}, age: {age}")));
        }
    }
    Err(Failure::new("metrics not available yet"))
}
