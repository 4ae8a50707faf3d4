//! `kubectl taint`: what pods a node repels. Follows `kubectl/pkg/cmd/taint`.

use machinery::json::Fields;
use serde_json::{Value, json};

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::select,
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "taint", aliases: &[], flags: &[FLAGS, printers::FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] = &[
    switch("overwrite"),
    switch("all"),
    value("selector").short('l'),
    value("field-manager"),
    optional("validate", "strict"),
    optional("dry-run", "unchanged"),
];

#[derive(Clone, Debug, PartialEq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    /// `key=value:Effect`, `key:Effect`, `key`.
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid taint spec: {text}{why}");
        let (pair, effect) = text.split_once(':').unwrap_or((text, ""));
        if effect.contains(':') {
            return Err(invalid(""));
        }
        if text.contains(':') && !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
        }
        let (key, value) = if text.contains(':') { pair.split_once('=').unwrap_or((pair, "")) } else { (pair, "") };
        if value.contains('=') {
            return Err(invalid(""));
        }
        let complaints = [machinery::names::label_value(value), machinery::names::qualified_name(key)];
        match complaints.iter().find(|c| !c.is_empty()) {
            Some(complaints) => Err(invalid(&format!(", {}", complaints.join("; ")))),
            None => Ok(Self { key: key.into(), value: value.into(), effect: effect.into() }),
        }
    }

    fn of(value: &Value) -> Self {
        Self {
            key: value.text("key").to_owned(),
            value: value.text("value").to_owned(),
            effect: value.text("effect").to_owned(),
        }
    }

    fn matches(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }
}

/// Taints to be added, and those to be removed (without effect: all of that key).
fn parse(words: &[String]) -> Result<(Vec<Taint>, Vec<Taint>), String> {
    let (mut add, mut remove) = (Vec::<Taint>::new(), Vec::new());
    for word in words {
        if let Some(word) = word.strip_suffix('-') {
            remove.push(Taint::parse(word)?);
            continue;
        }
        let taint = Taint::parse(word)?;
        if taint.effect.is_empty() {
            return Err(format!("invalid taint spec: {word}"));
        }
        if add.iter().any(|other| other.matches(&taint)) {
            let Taint { key, value, effect } = taint;
            return Err(format!("duplicated taints with the same key and effect: {{{key} {value} {effect} <nil>}}"));
        }
        add.push(taint);
    }
    Ok((add, remove))
}

/// The node's taints after the change, and what was done.
fn change(
    old: &[Value],
    add: &[Taint],
    remove: &[Taint],
    overwrite: bool,
) -> Result<(Vec<Value>, &'static str), Vec<String>> {
    let fresh = |t: &Taint| match t.value.is_empty() {
        true => json!({"key": t.key, "effect": t.effect}),
        false => json!({"key": t.key, "value": t.value, "effect": t.effect}),
    };
    let mut taints: Vec<Value> = add.iter().map(fresh).collect();
    taints.extend(old.iter().filter(|o| !add.iter().any(|a| a.matches(&Taint::of(o)))).cloned());
    let added = taints.len() != old.len();
    let (mut deleted, mut missing) = (false, Vec::new());
    for gone in remove {
        let before = taints.len();
        taints.retain(|t| {
            let taint = Taint::of(t);
            !(taint.key == gone.key && (gone.effect.is_empty() || taint.effect == gone.effect))
        });
        deleted = before != taints.len();
        if !deleted {
            let effect = if gone.effect.is_empty() { String::new() } else { format!(":{}", gone.effect) };
            missing.push(format!("taint \"{}{effect}\" not found", gone.key));
        }
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    Ok((
        taints,
        match (added, deleted) {
            _ if overwrite => "modified",
            (true, true) => "modified",
            (true, false) => "tainted",
            _ => "untainted",
        },
    ))
}

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let is_taint = |word: &String| word.contains(['=', ':']) || word.ends_with('-');
    let at = flags.args.iter().position(is_taint).unwrap_or(flags.args.len());
    let (resources, words) = flags.args.split_at(at);
    if let Some(late) = words.iter().find(|word| !is_taint(word)) {
        return Err(Failure::new(format!("all resources must be specified before taint changes: {late}")));
    }
    let Some(kind) = resources.first() else {
        return Err(Failure::new("one or more resources must be specified as <resource> <name>"));
    };
    if words.is_empty() {
        return Err(Failure::new("at least one taint update is required"));
    }
    let (add, remove) = parse(words).map_err(|why| flags.usage(&why))?;
    let kind = kind.to_lowercase();
    if context.mapper().await?.require(&kind)?.kind != "Node" {
        return Err(Failure::new(format!("invalid resource type {kind}, only node types are supported")));
    }
    let clash: Vec<String> = remove
        .iter()
        .filter(|r| add.iter().any(|a| a.key == r.key && (r.effect.is_empty() || a.effect == r.effect)))
        .map(|r| format!("{}={}", r.key, r.effect))
        .collect();
    if !clash.is_empty() {
        let all = clash.join(", ");
        let message = format!("can not both modify and remove the following taint(s) in the same command: {all}");
        return Err(Failure::new(message));
    }
    let every = flags.is("all") || flags.given("selector");
    if flags.is("all") && flags.given("selector") {
        return Err(Failure::new("setting 'all' parameter with a non empty selector is prohibited"));
    }
    if !every && resources.len() < 2 {
        let message = "at least one resource name must be specified since 'all' parameter is not set";
        return Err(Failure::new(message));
    }
    let (format, dry) = (Format::of(&context)?, dry_run(&context)?);
    let (infos, mut failures) = select::infos(&context, resources).await?;
    for info in infos {
        let outcome = async {
            let old = info.object["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let there: Vec<&str> =
                add.iter().filter(|a| old.iter().any(|o| a.matches(&Taint::of(o)))).map(|a| a.key.as_str()).collect();
            if !flags.is("overwrite") && !there.is_empty() {
                return Err(Failure::new(format!(
                    "node {} already has {} taint(s) with same effect(s) and --overwrite is false",
                    info.name,
                    there.join(",")
                )));
            }
            let (taints, operation) = change(&old, &add, &remove, flags.is("overwrite"))
                .map_err(|missing| Failure::new(missing.join(", ")))?;
            let mut object = info.object.clone();
            if dry == DryRun::Client {
                object["spec"]["taints"] = taints.into();
            } else {
                // The list has no merge key for strategic patches: it is replaced as a whole.
                let taints = if taints.is_empty() { Value::Null } else { taints.into() };
                let body = json!({"spec": {"taints": taints}});
                let call = Call::patch(info.path(), "application/strategic-merge-patch+json", &body);
                object = context.json(super::apply::write_query(&context, call, "kubectl-taint")?).await?;
            }
            done(&context, &format, &info, &object, operation)
        };
        failures.extend(outcome.await.err());
    }
    Failure::all(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn taints_are_read_as_kubectl_reads_them() {
        let (add, remove) = parse(&words("a=b:NoSchedule c:NoExecute d- e:NoSchedule-")).unwrap();
        assert_eq!((add.len(), remove.len(), remove[1].effect.as_str()), (2, 2, "NoSchedule"));
        for (text, why) in [
            ("a", "invalid taint spec: a"),
            ("a=b:Never", "invalid taint effect: Never, unsupported taint effect"),
            ("a:NoSchedule a=x:NoSchedule", "duplicated taints with the same key and effect: {a x NoSchedule <nil>}"),
        ] {
            assert_eq!(parse(&words(text)).unwrap_err(), why);
        }
    }

    #[test]
    fn a_change_says_what_it_did() {
        let old = [json!({"key": "a", "value": "1", "effect": "NoSchedule"})];
        let of = |text: &str| {
            let (add, remove) = parse(&words(text)).unwrap();
            change(&old, &add, &remove, false).map(|(taints, what)| (taints.len(), what))
        };
        assert_eq!(of("b:NoExecute"), Ok((2, "tainted")));
        assert_eq!(of("a-"), Ok((0, "untainted")));
        assert_eq!(of("b:NoExecute a-"), Ok((1, "modified")));
        assert_eq!(of("x:NoSchedule-"), Err(vec!["taint \"x:NoSchedule\" not found".to_owned()]));
    }
}
