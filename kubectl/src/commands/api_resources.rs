//! `kubectl api-resources` and `kubectl api-versions`.

use super::Command;
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::table::Writer,
};

const FLAGS: &[Flag] = &[
    value("api-group"),
    switch("namespaced"),
    value("verbs"),
    value("categories"),
    value("output").short('o'),
    switch("no-headers"),
    switch("cached"),
    value("sort-by"),
];

/// The table row.
pub const RESOURCES: Command =
    Command { name: "api-resources", aliases: &[], flags: &[FLAGS], sub: &[], run: super::action!(resources) };

/// The table row.
pub const VERSIONS: Command =
    Command { name: "api-versions", aliases: &[], flags: &[], sub: &[], run: super::action!(versions) };

async fn resources(context: Context) -> Outcome {
    let flags = &context.flags;
    let output = flags.or("output", "");
    if !matches!(output, "" | "wide" | "name") {
        return Err(Failure::new(format!("--output {output} is not available")));
    }
    let mapper = context.mapper().await?;
    let (verbs, categories) = (flags.list("verbs"), flags.list("categories"));
    let mut shown: Vec<_> = mapper
        .resources
        .iter()
        .filter(|resource| {
            resource.preferred
                && !resource.verbs.is_empty()
                && (!flags.given("api-group") || flags.or("api-group", "") == resource.group)
                && (!flags.given("namespaced") || flags.is("namespaced") == resource.namespaced)
                && verbs.iter().all(|verb| resource.verbs.contains(verb))
                && categories.iter().all(|category| resource.categories.contains(category))
        })
        .collect();
    match flags.or("sort-by", "") {
        "" => shown.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        "name" => shown.sort_by(|a, b| a.plural.cmp(&b.plural)),
        "kind" => shown.sort_by(|a, b| a.kind.cmp(&b.kind)),
        _ => return Err(Failure::new("--sort-by accepts only name or kind")),
    }
    if output == "name" {
        return context
            .print(&shown.iter().map(|resource| format!("{}\n", resource.plural_group())).collect::<String>());
    }
    let mut writer = Writer::default();
    if !flags.is("no-headers") {
        let mut line = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if output == "wide" {
            line.extend(["VERBS", "CATEGORIES"]);
        }
        writer.row(line.into_iter().map(str::to_owned).collect());
    }
    for resource in shown {
        let mut line = vec![
            resource.plural.clone(),
            resource.short_names.join(","),
            resource.api_version(),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if output == "wide" {
            line.push(resource.verbs.join(","));
            line.push(resource.categories.join(","));
        }
        writer.row(line);
    }
    context.print(&writer.flush())
}

async fn versions(context: Context) -> Outcome {
    let mapper = context.mapper().await?;
    let mut all: Vec<String> = mapper.resources.iter().map(|resource| resource.api_version()).collect();
    all.sort();
    all.dedup();
    context.print(&all.into_iter().map(|version| format!("{version}\n")).collect::<String>())
}
