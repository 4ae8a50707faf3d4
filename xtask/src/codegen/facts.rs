//! What the packages do not say: `facts.txt`, applied onto the table.
//!
//! ```text
//! @core.v1
//! PodSpec                      a type; one that the packages lack is added, with its words (`kind`, `atomic`)
//!  order: volumes initContainers ...   fields in this order
//!  replicas *                  a field's flags, replaced (`-`: none)
//!  name s:v1.Kind 2/1 != list:set in:X   a field that has more to correct, or that the packages lack: its whole line
//!  -field                      a field that is not in the table
//! -Type                        a type that is not in the table
//! ```

use anyhow::{Context, bail};

use super::table::{Field, Table, Type};

pub(super) fn apply(table: &mut Table, facts: &str) -> anyhow::Result<()> {
    let (mut package, mut name) = (String::new(), String::new());
    for line in facts.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(alias) = line.strip_prefix('@') {
            package = alias.to_owned();
        } else if let Some(fact) = line.strip_prefix(' ') {
            let ty = table.0.get_mut(&(package.clone(), name.clone())).with_context(|| line.to_owned())?;
            field(ty, fact).with_context(|| format!("{package}.{name}:{line}"))?;
        } else if let Some(gone) = line.strip_prefix('-') {
            table.0.remove(&(package.clone(), gone.to_owned())).with_context(|| line.to_owned())?;
        } else {
            let mut words = line.split(' ').map(str::to_owned);
            name = words.next().unwrap_or_default();
            let words: Vec<String> = words.collect();
            let ty = table.0.entry((package.clone(), name.clone())).or_default();
            if !words.is_empty() {
                ty.words = words;
            }
        }
    }
    Ok(())
}

fn field(ty: &mut Type, fact: &str) -> anyhow::Result<()> {
    if let Some(order) = fact.strip_prefix("order: ") {
        let order: Vec<&str> = order.split(' ').collect();
        let rank = |f: &Field| order.iter().position(|name| *name == f.name);
        if let Some(missing) = ty.fields.iter().find(|f| rank(f).is_none()) {
            bail!("{} has no place", missing.name);
        }
        ty.fields.sort_by_key(rank);
        return Ok(());
    }
    let words: Vec<&str> = fact.split(' ').collect();
    if let [gone] = words[..] {
        let gone = gone.strip_prefix('-').context("a name alone")?;
        ty.fields.retain(|f| f.name != gone);
        return Ok(());
    }
    let name = words[0];
    let known = ty.fields.iter().position(|f| f.name == name);
    if let (Some(at), [_, flags]) = (known, &words[..]) {
        ty.fields[at].flags = flags.trim_start_matches('-').to_owned();
        return Ok(());
    }
    let [_, shape, number, rest @ ..] = &words[..] else { bail!("too short") };
    let mut new = Field {
        name: name.into(),
        shape: (*shape).into(),
        number: (*number).into(),
        flags: String::new(),
        marks: Vec::new(),
        inlined: String::new(),
    };
    for word in rest {
        match word.split_once(':') {
            Some(("in", structs)) => new.inlined = structs.into(),
            Some(_) => new.marks.push((*word).into()),
            None => new.flags = (*word).into(),
        }
    }
    match known {
        Some(at) => ty.fields[at] = new,
        None => ty.fields.push(new),
    }
    Ok(())
}
