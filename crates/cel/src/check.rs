//! Types and worst-case costs of an expression, in one walk (cel-go's `checker`).

use std::sync::Arc;

use super::ast::{Expr, Field, Kind, Literal, Macro, Op};
use super::lex::Fault;
use super::signatures::{self, NAMESPACES};
use super::types::{Bound, Type, UNBOUNDED, known, substitute, unify};

/// What is known of an expression.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) ty: Type,
    pub(super) cost: u64,
    /// How large the value is at most.
    size: u64,
}

pub(super) struct Checker {
    scope: Vec<(String, Type)>,
    pub(super) faults: Vec<Fault>,
    /// Variables that were used, of those given.
    pub(super) used: Vec<String>,
    given: usize,
    /// Whether the next list may mix types.
    mixed: bool,
    /// Whether there are types to make objects of.
    pub(super) made: bool,
}

/// `ceil(size * factor)`.
pub(super) fn factor(size: u64, factor: f64) -> u64 {
    if size == UNBOUNDED { UNBOUNDED } else { (size as f64 * factor).ceil() as u64 }
}

/// The cost of going over a text once, of each character.
pub(super) const TRAVERSAL: f64 = 0.1;
/// The cost of a regular expression, of each character.
pub(super) const REGEX: f64 = 0.25;

const TYPE_NAMES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "dyn"];

impl Checker {
    pub(super) fn new(variables: &[(String, Type)]) -> Self {
        Self {
            scope: variables.to_vec(),
            faults: Vec::new(),
            used: Vec::new(),
            given: variables.len(),
            mixed: false,
            made: false,
        }
    }

    fn fault(&mut self, at: usize, text: String) -> Info {
        self.faults.push((at, text));
        Info { ty: Type::ANY, cost: 0, size: UNBOUNDED }
    }

    pub(super) fn infer(&mut self, expr: &Expr) -> Info {
        match &expr.kind {
            Kind::Literal(literal) => literal_info(literal),
            Kind::Ident(name) => self.ident(expr.at, name),
            Kind::Select(operand, field, optional) => self.select(expr.at, operand, field, *optional),
            Kind::Has(operand, field) => {
                let found = self.select(expr.at, operand, field, false);
                Info { ty: Type::Bool, cost: found.cost.saturating_sub(1), size: 1 }
            }
            Kind::Call(name, target, args) => self.call(expr.at, name, target.as_deref(), args),
            Kind::List(items) => {
                let mixed = std::mem::take(&mut self.mixed);
                let mut cost = 10_u64;
                let mut item: Option<Type> = None;
                for (inner, optional) in items {
                    let info = self.infer(inner);
                    cost = cost.saturating_add(info.cost);
                    let ty = unwrapped(info.ty, *optional);
                    item = Some(if mixed { Type::ANY } else { self.joined(inner.at, item, ty) });
                }
                let size = items.len() as u64;
                Info { ty: Type::list(item.unwrap_or(Type::NOTHING), size), cost, size }
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, fields) => self.object(expr.at, name, fields),
            Kind::Macro(m) => self.comprehension(expr.at, m),
        }
    }

    // Elements of a literal have one type.
    fn joined(&mut self, at: usize, so_far: Option<Type>, ty: Type) -> Type {
        match so_far {
            None => ty,
            Some(Type::Dyn(0)) => ty,
            Some(first) if first.is_dyn() || ty.is_dyn() => Type::ANY,
            Some(first) if unify(&first, &ty, &mut Bound::new()) => known(first, &ty),
            Some(first) => {
                self.fault(at, format!("expected type '{first}' but found '{ty}'"));
                first
            }
        }
    }

    fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Info {
        let (mut cost, mut keys, mut values) = (30_u64, None, None);
        for (key, value, optional) in entries {
            let (k, v) = (self.infer(key), self.infer(value));
            cost = cost.saturating_add(k.cost).saturating_add(v.cost);
            keys = Some(self.joined(key.at, keys, k.ty));
            let ty = unwrapped(v.ty, *optional);
            values = Some(self.joined(value.at, values, ty));
        }
        let size = entries.len() as u64;
        let [key, value] = [keys, values].map(|ty| Arc::new(ty.unwrap_or(Type::ANY)));
        Info { ty: Type::Map(key, value, size), cost, size }
    }

    fn object(&mut self, at: usize, name: &str, fields: &[Field]) -> Info {
        let Some(ty) = Type::made(name).filter(|_| self.made) else {
            return self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        };
        let mut cost = 40_u64;
        for field in fields {
            let given = self.infer(&field.value);
            cost = cost.saturating_add(given.cost);
            let given = unwrapped(given.ty, field.optional);
            match Type::made_field(name, &field.name) {
                None => drop(self.fault(field.at, format!("undefined field '{}'", field.name))),
                Some(wanted) if !unify(&wanted, &given, &mut Bound::new()) => {
                    let text =
                        format!("expected type of field '{}' is '{wanted}' but provided type is '{given}'", field.name);
                    self.fault(field.at, text);
                }
                Some(_) => {}
            }
        }
        Info { ty, cost, size: UNBOUNDED }
    }

    fn ident(&mut self, at: usize, name: &str) -> Info {
        if let Some(i) = self.scope.iter().rposition(|(known, _)| known == name) {
            if i < self.given && !self.used.iter().any(|u| u == name) {
                self.used.push(name.to_owned());
            }
            let ty = self.scope[i].1.clone();
            let size = ty.max_size();
            return Info { ty, cost: 1, size };
        }
        if TYPE_NAMES.contains(&name) {
            return Info { ty: Type::Type, cost: 1, size: 1 };
        }
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn select(&mut self, at: usize, operand: &Expr, field: &str, optional: bool) -> Info {
        // A type's qualified name.
        if let Kind::Ident(first) = &operand.kind
            && self.scope.iter().all(|(name, _)| name != first)
            && matches!((first.as_str(), field), ("net", "IP" | "CIDR") | ("kubernetes", "Quantity" | "URL" | "Semver"))
        {
            return Info { ty: Type::Type, cost: 1, size: 1 };
        }
        // A variable with a qualified name.
        if let Kind::Ident(first) = &operand.kind
            && let Some(name) =
                self.scope.iter().map(|(name, _)| name).find(|name| is_qualified(name, first, field)).cloned()
        {
            return self.ident(at, &name);
        }
        let inner = self.infer(operand);
        let cost = inner.cost.saturating_add(1);
        let (base, in_optional) = match &inner.ty {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &base {
            Type::Dyn(_) => Some(Type::ANY),
            Type::Object(object) => object.fields.get(field).cloned(),
            Type::Map(_, value, _) => Some((**value).clone()),
            Type::Made(name) => Type::made_field(name, field),
            _ => {
                return self.fault(at, format!("type '{}' does not support field selection", inner.ty));
            }
        };
        match found {
            None => self.fault(at, format!("undefined field '{field}'")),
            Some(ty) => {
                let size = ty.max_size();
                let ty = if optional || in_optional { Type::Optional(Arc::new(ty)) } else { ty };
                Info { ty, cost, size }
            }
        }
    }

    fn call(&mut self, at: usize, name: &str, target: Option<&Expr>, args: &[Expr]) -> Info {
        // `sets.contains(a, b)` has no target.
        if let Some(Expr { kind: Kind::Ident(first), .. }) = target
            && NAMESPACES.contains(&first.as_str())
            && (self.made || first != "jsonpatch")
            && self.scope.iter().all(|(known, _)| known != first)
        {
            return self.call(at, &format!("{first}.{name}"), None, args);
        }
        let mut infos = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            self.mixed = name == "format" && matches!(arg.kind, Kind::List(_));
            infos.push(self.infer(arg));
        }
        let all = signatures::of(name);
        if all.is_empty() {
            return self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        let mut result: Option<Type> = None;
        for signature in all {
            if signature.member != target.is_some() || signature.args.len() != infos.len() {
                continue;
            }
            let mut bound = Bound::new();
            if signature.args.iter().zip(&infos).all(|(wanted, given)| unify(wanted, &given.ty, &mut bound)) {
                let ty = substitute(&signature.result, &bound);
                result = Some(match result {
                    Some(before) if before != ty => Type::ANY,
                    _ => ty,
                });
            }
        }
        let Some(ty) = result else {
            let types: Vec<String> =
                infos.iter().skip(usize::from(target.is_some())).map(|i| i.ty.to_string()).collect();
            let types = types.join(", ");
            let applied = if target.is_some() { format!("{}.({types})", infos[0].ty) } else { format!("({types})") };
            return self.fault(at, format!("found no matching overload for '{name}' applied to '{applied}'"));
        };
        if self.faults.is_empty()
            && let Some(literal) = args.last().filter(|arg| wrong_literal(name, arg))
        {
            return self.fault(literal.at, format!("invalid {name} argument"));
        }
        let (cost, size) = call_cost(name, &infos, &ty);
        Info { ty, cost, size }
    }

    fn comprehension(&mut self, at: usize, m: &Macro) -> Info {
        let range = self.infer(&m.range);
        if matches!(m.op, Op::OptMap | Op::OptFlatMap) {
            return self.optional(m, &range);
        }
        if m.op == Op::Bind {
            self.scope.push((m.var.clone(), range.ty));
            let body = self.infer(&m.body);
            self.scope.pop();
            // Beside both there is the empty list that the macro goes over when it is expanded.
            let cost = range.cost.saturating_add(body.cost).saturating_add(10);
            return Info { cost, ..body };
        }
        let (first, second) = match (&range.ty, &m.var2) {
            (Type::List(item, _), None) => ((**item).clone(), Type::ANY),
            (Type::List(item, _), Some(_)) => (Type::Int, (**item).clone()),
            (Type::Map(key, value, _), _) => ((**key).clone(), (**value).clone()),
            (Type::Dyn(_), _) => (Type::ANY, Type::ANY),
            (other, _) => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return self.fault(m.range.at, text);
            }
        };
        let depth = self.scope.len();
        self.scope.push((m.var.clone(), first));
        self.scope.extend(m.var2.iter().map(|name| (name.clone(), second.clone())));
        let filter = m.filter.as_ref().map(|filter| self.infer(filter));
        let body = self.infer(&m.body);
        self.scope.truncate(depth);
        let item = match m.op {
            Op::Filter => range.ty.clone(),
            _ => Type::list(body.ty.clone(), UNBOUNDED),
        };
        // Told of the operators that the macro expands to.
        let conditional = |ty: &Type| match m.op {
            Op::ExistsOne => ("_?_:_", format!("({ty}, int, int)")),
            _ => ("_?_:_", format!("({ty}, {item}, {item})")),
        };
        let condition = filter.as_ref().map(|info| (&info.ty, conditional(&info.ty))).or(match m.op {
            Op::All => Some((&body.ty, ("_&&_", format!("(bool, {})", body.ty)))),
            Op::Exists => Some((&body.ty, ("_||_", format!("(bool, {})", body.ty)))),
            Op::ExistsOne | Op::Filter => Some((&body.ty, conditional(&body.ty))),
            _ => None,
        });
        if let Some((ty, (name, applied))) = condition
            && !ty.is_dyn()
            && *ty != Type::Bool
        {
            let text = format!("found no matching overload for '{name}' applied to '{applied}'");
            return self.fault(at, text);
        }
        // What the expansion does beside the body, for each element.
        let (around, base) = match m.op {
            Op::All => (3, 1),
            Op::Exists => (4, 1),
            Op::ExistsOne => (2, 2),
            Op::Filter => (13, 11),
            Op::Map => (12, 11),
            _ => (34, 31),
        };
        let step = body.cost.saturating_add(filter.map_or(0, |info| info.cost)).saturating_add(around);
        let cost = range.cost.saturating_add(base).saturating_add(range.size.saturating_mul(step));
        let ty = match m.op {
            Op::All | Op::Exists | Op::ExistsOne => return Info { ty: Type::Bool, cost, size: 1 },
            Op::Map => Type::list(body.ty, range.size),
            Op::Filter => match &range.ty {
                Type::Map(key, ..) => Type::List(key.clone(), range.size),
                other => other.clone(),
            },
            Op::TransformMap => {
                let key = match &range.ty {
                    Type::Map(key, ..) => key.clone(),
                    _ => Arc::new(Type::Int),
                };
                Type::Map(key, Arc::new(body.ty), range.size)
            }
            _ => body.ty,
        };
        Info { ty, cost, size: range.size }
    }

    fn optional(&mut self, m: &Macro, range: &Info) -> Info {
        let inner = match &range.ty {
            Type::Optional(inner) => (**inner).clone(),
            _ => Type::ANY,
        };
        self.scope.push((m.var.clone(), inner));
        let body = self.infer(&m.body);
        self.scope.pop();
        let cost = range.cost.saturating_mul(2).saturating_add(body.cost).saturating_add(3);
        let ty = if m.op == Op::OptFlatMap { body.ty } else { Type::Optional(Arc::new(body.ty)) };
        Info { ty, cost, size: body.size }
    }
}

/// Whether a variable's name is that of a field's: `authorizer.requestResource`.
pub(super) fn is_qualified(name: &str, first: &str, field: &str) -> bool {
    name.split_once('.') == Some((first, field))
}

// Constants that could never be read.
fn wrong_literal(name: &str, arg: &Expr) -> bool {
    let Kind::Literal(Literal::String(text)) = &arg.kind else { return false };
    match name {
        "matches" => formats::pattern::compile(text).is_err(),
        "duration" => super::parse_duration(text).is_none(),
        "timestamp" => super::parse_timestamp(text).is_none(),
        _ => false,
    }
}

fn unwrapped(ty: Type, optional: bool) -> Type {
    match ty {
        Type::Optional(inner) if optional => (*inner).clone(),
        other => other,
    }
}

fn literal_info(literal: &Literal) -> Info {
    let (ty, size) = match literal {
        Literal::Null => (Type::Null, 1),
        Literal::Bool(_) => (Type::Bool, 1),
        Literal::Int(_) => (Type::Int, 1),
        Literal::Uint(_) => (Type::Uint, 1),
        Literal::Double(_) => (Type::Double, 1),
        Literal::String(text) => {
            let size = text.chars().count() as u64;
            (Type::String(size), size)
        }
        Literal::Bytes(bytes) => (Type::Bytes(bytes.len() as u64), bytes.len() as u64),
    };
    Info { ty, cost: 0, size }
}

fn element_cost(list: &Info) -> u64 {
    match &list.ty {
        Type::List(item, _) => match **item {
            Type::String(max) | Type::Bytes(max) => factor(max, TRAVERSAL).saturating_add(1),
            _ => 1,
        },
        _ => 1,
    }
}

// The cost of a call with its arguments, and the size of what it gives.
fn call_cost(name: &str, args: &[Info], result: &Type) -> (u64, u64) {
    let size = |i: usize| args.get(i).map_or(0, |a| a.size);
    let sum = args.iter().fold(0_u64, |sum, a| sum.saturating_add(a.cost));
    let text = |size: u64, times: f64| factor(size, times * TRAVERSAL);
    let by_type = match result {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration | Type::Null => 1,
        other => other.max_size(),
    };
    let (own, out) = match name {
        "_&&_" | "_||_" => (0, 1),
        "_?_:_" => {
            let branches = args[1].cost.max(args[2].cost);
            return (args[0].cost.saturating_add(branches), size(1).max(size(2)));
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => match args[0].ty {
            Type::String(_) => (text(size(0), 1.0), 1),
            _ => (size(0).saturating_mul(element_cost(&args[0])), by_type),
        },
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" => (text(size(0), 1.0), size(0)),
        "replace" => (text(size(0), 2.0), size(0).saturating_add(1).saturating_mul(size(2).max(1))),
        "split" => (text(size(0), 2.0), size(0)),
        "join" => {
            let total = size(0).saturating_mul(element_cost(&args[0]).saturating_mul(10).saturating_add(size(1)));
            (text(total, 1.0), total)
        }
        "find" | "findAll" | "matches" => {
            let own = text(size(0).saturating_add(1), 1.0).saturating_mul(factor(size(1), REGEX));
            (own, if name == "matches" { 1 } else { size(0) })
        }
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" | "isURL" => {
            (text(size(0), 1.0), by_type)
        }
        "ip" => {
            (if args[0].ty.is_dyn() || matches!(args[0].ty, Type::String(_)) { text(size(0), 1.0) } else { 1 }, by_type)
        }
        "ip.isCanonical" => (text(size(0), 2.0), 1),
        "startsWith" | "endsWith" => (text(size(1), 1.0), 1),
        "format" | "bytes" | "strings.quote" => (text(size(0), 1.0), UNBOUNDED),
        "string" if matches!(args[0].ty, Type::Bytes(_)) => (text(size(0), 1.0), size(0)),
        "contains" => (text(size(0), 1.0).saturating_mul(text(size(1), 1.0)), 1),
        "@in" => (if matches!(args[1].ty, Type::Map(..)) { 1 } else { size(1) }, 1),
        "sets.contains" | "sets.intersects" => (size(0).saturating_mul(size(1)), 1),
        "sets.equivalent" => (size(0).saturating_mul(size(1)).saturating_mul(2), 1),
        "_+_" => match result {
            Type::String(_) | Type::Bytes(_) => {
                let total = size(0).saturating_add(size(1));
                (text(total, 1.0), total)
            }
            Type::List(..) => (1, size(0).saturating_add(size(1))),
            _ => (1, 1),
        },
        "_==_" | "_!=_" => (text(size(0).min(size(1)), 1.0), 1),
        "_<_" | "_<=_" | "_>_" | "_>=_" if matches!(args[0].ty, Type::String(_) | Type::Bytes(_)) => {
            (text(size(0).min(size(1)), 1.0), 1)
        }
        "distinct" | "sort" => (size(0).saturating_mul(size(0)), size(0)),
        "slice" | "reverse" | "flatten" => (size(0), size(0)),
        "or" | "orValue" => (1, size(0).max(size(1))),
        _ => (1, by_type),
    };
    (sum.saturating_add(own), out)
}
