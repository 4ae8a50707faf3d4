//! Which names a definition gets, and whether it is established. Pure: the definition and what the others of its group
//! have in, its status out. Follows `apiextensions-apiserver/pkg/controller/{status,establish}`; what upstream writes in
//! two steps is one here, since the resource is served before either is seen.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::conditions::{self, Condition};
use super::definition::condition;

const NAMES_ACCEPTED: &str = "NamesAccepted";
const ESTABLISHED: &str = "Established";

/// Resources and kinds that the other definitions of a group have.
#[derive(Debug, Default)]
pub struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    /// By all definitions of the group, the one in question included: what it has already it may keep.
    pub fn by<'d>(definitions: impl IntoIterator<Item = &'d Value>) -> Self {
        let mut taken = Self::default();
        for definition in definitions {
            let names = &definition["status"]["acceptedNames"];
            let mut add = |name: &Value, kind: bool| {
                if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
                    if kind { &mut taken.kinds } else { &mut taken.resources }.insert(name.to_string());
                }
            };
            add(&names["plural"], false);
            add(&names["singular"], false);
            names["shortNames"].as_array().into_iter().flatten().for_each(|name| add(name, false));
            add(&names["kind"], true);
            add(&names["listKind"], true);
        }
        taken
    }
}

/// Puts accepted names and conditions into the status; returns whether the definition may be served.
pub fn decide(definition: &mut Value, taken: &Taken, now: &str) -> bool {
    let wanted = definition["spec"]["names"].clone();
    let had = definition["status"]["acceptedNames"].clone();
    let mut accepted = had.clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut refused: Option<(&str, String)> = None;
    for (field, reason, names) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        match conflict(&wanted[field], &had[field], names) {
            Some(why) => refused = Some((reason, why)),
            None => set(&mut accepted, field, &wanted[field]),
        }
    }
    set(&mut accepted, "categories", &wanted["categories"]);
    let named = match &refused {
        None => Condition::of(NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found"),
        Some((reason, why)) => Condition::of(NAMES_ACCEPTED, "False", reason, why),
    };
    let good = refused.is_none();
    let before = condition(definition, ESTABLISHED).map(|c| c["status"] == "True");
    definition["status"]["acceptedNames"] = accepted;
    conditions::set(definition, &named, now);
    match (before, good) {
        (Some(true), _) => {}
        (_, true) if !ca_bundle_is_valid(definition) => {
            let why = "The conversion webhook CABundle is invalid";
            conditions::set(definition, &Condition::of(ESTABLISHED, "False", "InvalidCABundle", why), now);
        }
        (_, true) => {
            let why = "the initial names have been accepted";
            conditions::set(definition, &Condition::of(ESTABLISHED, "True", "InitialNamesAccepted", why), now);
        }
        (None, false) => {
            let why = "not all names are accepted";
            conditions::set(definition, &Condition::of(ESTABLISHED, "False", "NotAccepted", why), now);
        }
        (Some(false), false) => {}
    }
    good || before == Some(true)
}

/// Why wanted names cannot be had, unless they are had already.
fn conflict(wanted: &Value, had: &Value, taken: &HashSet<String>) -> Option<String> {
    let in_use = |name: &&str| taken.contains(*name);
    let message = |name: &str| format!("{} is already in use", machinery::go::quote(name));
    match wanted {
        Value::Array(wanted) => {
            let mine = |name: &&str| had.as_array().is_some_and(|had| had.iter().any(|h| h == name));
            let wanted = wanted.iter().filter_map(Value::as_str);
            let mut all: Vec<String> = wanted.filter(|n| !mine(n)).filter(in_use).map(message).collect();
            all.dedup();
            match all.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                _ => Some(format!("[{}]", all.join(", "))),
            }
        }
        Value::String(name) if had != name => Some(name.as_str()).filter(in_use).map(message),
        _ => None,
    }
}

fn set(names: &mut Value, field: &str, value: &Value) {
    match value {
        Value::Null => {
            if let Some(names) = names.as_object_mut() {
                names.remove(field);
            }
        }
        value => names[field] = value.clone(),
    }
}

fn ca_bundle_is_valid(definition: &Value) -> bool {
    use base64::Engine;
    let bundle = &definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"];
    let Some(text) = bundle.as_str().filter(|text| !text.is_empty()) else { return true };
    let Ok(pem) = base64::engine::general_purpose::STANDARD.decode(text) else { return false };
    pem.trim_ascii().is_empty() || component::tls::certificates(&pem).is_ok_and(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        let names = json!({ "plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short });
        json!({ "spec": { "group": "example.com", "names": names } })
    }

    fn summary(definition: &Value, kind: &str) -> String {
        let found = condition(definition, kind).expect("set");
        format!("{} {}: {}", found["status"], found["reason"], found["message"]).replace('"', "")
    }

    #[test]
    fn free_names_are_accepted_and_taken_ones_are_not() {
        let mut first = definition("widgets", "Widget", &["w"]);
        assert!(decide(&mut first, &Taken::default(), "2026-01-01T00:00:00Z"));
        assert_eq!(summary(&first, NAMES_ACCEPTED), "True NoConflicts: no conflicts found");
        assert_eq!(summary(&first, ESTABLISHED), "True InitialNamesAccepted: the initial names have been accepted");
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);

        let mut second = definition("gadgets", "Widget", &["g", "w"]);
        let taken = Taken::by([&first, &second]);
        assert!(!decide(&mut second, &taken, "2026-01-01T00:00:00Z"));
        let expect = r"False ListKindConflict: \WidgetList\ is already in use";
        assert_eq!(summary(&second, NAMES_ACCEPTED), expect, "the last conflict is told");
        assert_eq!(summary(&second, ESTABLISHED), "False NotAccepted: not all names are accepted");
        assert_eq!(second["status"]["acceptedNames"], json!({ "plural": "gadgets" }));

        // What is had is kept, and once the other is gone everything is accepted.
        let taken = Taken::by([&first, &second]);
        assert!(decide(&mut first, &taken, "2026-01-01T00:00:01Z"));
        let taken = Taken::by([&second]);
        assert!(decide(&mut second, &taken, "2026-01-01T00:00:02Z"));
        assert_eq!(summary(&second, NAMES_ACCEPTED), "True NoConflicts: no conflicts found");
    }

    #[test]
    fn an_established_definition_stays_so_when_a_name_is_refused() {
        let mut mine = definition("widgets", "Widget", &[]);
        assert!(decide(&mut mine, &Taken::default(), "2026-01-01T00:00:00Z"));
        let mut other = definition("gadgets", "Gadget", &["g"]);
        assert!(decide(&mut other, &Taken::by([&mine]), "2026-01-01T00:00:00Z"));
        mine["spec"]["names"]["shortNames"] = json!(["g", "x"]);
        let taken = Taken::by([&mine, &other]);
        assert!(decide(&mut mine, &taken, "2026-01-01T00:00:00Z"));
        assert!(summary(&mine, NAMES_ACCEPTED).starts_with("False ShortNamesConflict"));
        assert!(summary(&mine, ESTABLISHED).starts_with("True"));
        assert_eq!(mine["status"]["acceptedNames"]["shortNames"], json!([]));
    }
}
