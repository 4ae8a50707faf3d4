//! The rows, made ready once: names become positions of fields, and each type knows whether anything is to be done at it or
//! below it, so that the walk steps over all else.

use crate::schema::{self, Field, Type};

use super::{Code, Fact, Here, Row, Step};

/// The rules of all types.
pub struct Rules {
    /// What holds of objects, by the types' numbers.
    pub(super) object: Vec<Option<Stop>>,
    /// What holds of changes.
    pub(super) change: Vec<Option<Stop>>,
}

/// What the walk does at a type.
#[derive(Default)]
pub(super) struct Stop {
    pub(super) acts: Vec<Act>,
    only: bool,
}

/// A step.
pub(super) enum Act {
    Code(Code),
    When(fn(&Here<'_, '_>) -> bool, Vec<Act>),
    Field {
        position: usize,
        field: &'static Field,
        facts: &'static [Fact],
        /// The rules in place of those of the field's type.
        inline: Option<Vec<Act>>,
        /// Whether the type of the field has rules, or types below it.
        walked: bool,
    },
}

impl Rules {
    /// Of rows, each type once. Panics where a row names what the schema table lacks.
    pub fn new(rows: &[&[Row]]) -> Self {
        let rows = rows.concat();
        Self { object: stops(&rows, |row| row.object), change: stops(&rows, |row| row.change) }
    }
}

fn stops(rows: &[Row], steps: fn(&Row) -> &'static [Step]) -> Vec<Option<Stop>> {
    let mut stops: Vec<Option<Stop>> = schema::all().iter().map(|_| None).collect();
    for row in rows.iter().filter(|row| !steps(row).is_empty()) {
        let Some(ty) = schema::named(row.package, row.name) else {
            panic!("rules: no type {}.{}", row.package, row.name)
        };
        let (acts, only) = compile(ty, steps(row));
        let twice = stops[ty.id.index()].replace(Stop { acts, only });
        assert!(twice.is_none(), "rules: {}.{} has two rows", row.package, row.name);
    }
    spread(&mut stops);
    let reached: Vec<bool> = stops.iter().map(Option::is_some).collect();
    for ty in schema::all() {
        if let Some(stop) = &mut stops[ty.id.index()] {
            mark(&mut stop.acts, &reached);
            if !stop.only {
                remaining(ty, &mut stop.acts, &reached);
            }
        }
    }
    stops
}

fn compile(ty: &'static Type, steps: &'static [Step]) -> (Vec<Act>, bool) {
    let act = |step: &'static Step| match step {
        Step::Code(code) => Some(Act::Code(*code)),
        Step::When(condition, steps) => Some(Act::When(*condition, compile(ty, steps).0)),
        Step::Only => None,
        Step::Field(name, facts) => {
            let Some(position) = ty.field_index(name) else { panic!("rules: {} has no field {name}", ty.name) };
            let field = &ty.fields[position];
            let inline = facts.iter().find_map(|fact| match fact {
                Fact::Is(steps) => Some(compile(field.shape.object().expect("only objects have steps"), steps).0),
                _ => None,
            });
            Some(Act::Field { position, field, facts, inline, walked: true })
        }
    };
    (steps.iter().filter_map(act).collect(), steps.iter().any(|step| matches!(step, Step::Only)))
}

/// Stops at the types below which there is one, up to the kinds (types may be recursive).
fn spread(stops: &mut [Option<Stop>]) {
    loop {
        let below = |field: &Field| field.shape.object().is_some_and(|part| stops[part.id.index()].is_some());
        let leads = |ty: &&Type| {
            stops[ty.id.index()].is_none() && ty.fields.iter().any(|field| !apart(ty, field) && below(field))
        };
        let new: Vec<usize> = schema::all().iter().filter(leads).map(|ty| ty.id.index()).collect();
        if new.is_empty() {
            return;
        }
        for index in new {
            stops[index] = Some(Stop::default());
        }
    }
}

/// What a kind's rules leave out, unless they mention it.
fn apart(ty: &Type, field: &Field) -> bool {
    ty.is_kind && matches!(field.name, "metadata" | "status")
}

fn mark(acts: &mut [Act], reached: &[bool]) {
    for act in acts {
        match act {
            Act::Code(_) => {}
            Act::When(_, acts) => mark(acts, reached),
            Act::Field { field, facts, inline, walked, .. } => {
                let opaque = inline.is_some() || facts.iter().any(|fact| matches!(fact, Fact::Opaque));
                *walked = !opaque && field.shape.object().is_some_and(|part| reached[part.id.index()]);
                if let Some(acts) = inline {
                    mark(acts, reached);
                }
            }
        }
    }
}

fn mentions(act: &Act, at: usize) -> bool {
    match act {
        Act::Code(_) => false,
        Act::When(_, acts) => acts.iter().any(|act| mentions(act, at)),
        Act::Field { position, .. } => *position == at,
    }
}

/// The fields that the row does not mention and below which there is something to do.
fn remaining(ty: &'static Type, acts: &mut Vec<Act>, reached: &[bool]) {
    for (position, field) in ty.fields.iter().enumerate() {
        let mentioned = acts.iter().any(|act| mentions(act, position));
        if !mentioned && !apart(ty, field) && field.shape.object().is_some_and(|part| reached[part.id.index()]) {
            acts.push(Act::Field { position, field, facts: &[], inline: None, walked: true });
        }
    }
}
