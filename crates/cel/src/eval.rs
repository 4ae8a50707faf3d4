//! Running an expression. Every step is counted and the count is bounded, and with it time and memory
//! (cel-go's `interpreter/runtimecost.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Expr, Kind, Literal, Macro, Op};
use super::check::{REGEX, TRAVERSAL, factor};
use super::functions;
use super::signatures::NAMESPACES;
use super::value::{Key, Value, find};

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// It would take too long.
    Cost,
    /// In cel-go's words.
    Fault(String),
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EvalError::Cost => "operation cancelled: actual cost limit exceeded",
            EvalError::Fault(text) => text,
        })
    }
}

type Outcome = Result<Value, EvalError>;

pub(super) struct Run<'v> {
    scope: Vec<(&'v str, Value)>,
    pub(super) spent: u64,
    limit: u64,
}

fn fault<T>(text: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Fault(text.into()))
}

const NO_OVERLOAD: &str = "no such overload";

impl<'v> Run<'v> {
    pub(super) fn new(limit: u64) -> Self {
        Self { scope: Vec::new(), spent: 0, limit }
    }

    pub(super) fn bind(&mut self, name: &'v str, value: Value) {
        self.scope.push((name, value));
    }

    fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit { Err(EvalError::Cost) } else { Ok(()) }
    }

    pub(super) fn eval(&mut self, expr: &'v Expr) -> Outcome {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => {
                self.spend(1)?;
                match self.scope.iter().rev().find(|(known, _)| known == name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => Ok(Value::Type(name.as_str().into())),
                }
            }
            Kind::Struct(_, fields) => {
                self.spend(40)?;
                let mut out = std::collections::BTreeMap::new();
                for field in fields {
                    let value = self.eval(&field.value)?;
                    let value = match value {
                        Value::Optional(inner) if field.optional => inner.map(|inner| (*inner).clone()),
                        value => Some(value),
                    };
                    if let Some(value) = value {
                        out.insert(super::value::Key::String(field.name.as_str().into()), value);
                    }
                }
                Ok(Value::Map(Arc::new(out.into())))
            }
            Kind::Select(operand, field, optional) => {
                if let Kind::Ident(first) = &operand.kind
                    && let Some((_, value)) =
                        self.scope.iter().rev().find(|(name, _)| super::check::is_qualified(name, first, field))
                {
                    let value = value.clone();
                    self.spend(1)?;
                    return Ok(value);
                }
                if let Kind::Ident(first) = &operand.kind
                    && matches!(first.as_str(), "net" | "kubernetes")
                    && self.scope.iter().all(|(name, _)| name != first)
                {
                    return Ok(Value::Type(format!("{first}.{field}").into()));
                }
                let operand = self.eval(operand)?;
                self.spend(1)?;
                index(&operand, &Value::from(field.as_str()), *optional)
            }
            Kind::Has(operand, field) => {
                let operand = match self.eval(operand)? {
                    Value::Optional(Some(inner)) => (*inner).clone(),
                    Value::Optional(None) => return Ok(Value::Bool(false)),
                    other => other,
                };
                match operand {
                    Value::Map(map) => {
                        let there = map.contains_key(&Key::String(field.as_str().into()));
                        Ok(Value::Bool(there || map.other().is_some()))
                    }
                    _ => fault(NO_OVERLOAD),
                }
            }
            Kind::Call(name, target, args) => self.call(name, target.as_deref(), args),
            Kind::List(items) => {
                self.spend(10)?;
                let mut out = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match self.eval(item)? {
                        Value::Optional(inner) if *optional => out.extend(inner.map(|v| (*v).clone())),
                        value => out.push(value),
                    }
                }
                Ok(Value::list(out))
            }
            Kind::Map(entries) => {
                self.spend(30)?;
                let mut out = BTreeMap::new();
                for (key, value, optional) in entries {
                    let Some(key) = self.eval(key)?.key() else { return fault("unsupported key type") };
                    let value = match self.eval(value)? {
                        Value::Optional(Some(inner)) if *optional => (*inner).clone(),
                        Value::Optional(None) if *optional => continue,
                        value => value,
                    };
                    if out.insert(key, value).is_some() {
                        return fault("Failed with repeated key");
                    }
                }
                Ok(Value::Map(Arc::new(out.into())))
            }
            Kind::Macro(m) => self.comprehension(m),
        }
    }

    fn call(&mut self, name: &'v str, target: Option<&'v Expr>, args: &'v [Expr]) -> Outcome {
        match (name, args) {
            ("_&&_", [left, right]) => return self.logical(left, right, false),
            ("_||_", [left, right]) => return self.logical(left, right, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => fault(NO_OVERLOAD),
                };
            }
            _ => {}
        }
        let mut full = name.to_owned();
        let mut values = Vec::with_capacity(args.len() + 1);
        if let Some(target) = target {
            match &target.kind {
                Kind::Ident(first)
                    if NAMESPACES.contains(&first.as_str()) && self.scope.iter().all(|(known, _)| known != first) =>
                {
                    full = format!("{first}.{name}");
                }
                _ => values.push(self.eval(target)?),
            }
        }
        if let ("or" | "orValue", [Value::Optional(Some(inner))]) = (name, values.as_slice()) {
            self.spend(1)?;
            let inner = inner.clone();
            return Ok(if name == "or" { Value::Optional(Some(inner)) } else { (*inner).clone() });
        }
        for arg in args {
            values.push(self.eval(arg)?);
        }
        self.spend(call_cost(&full, &values))?;
        match (full.as_str(), values.as_slice()) {
            ("_[_]", [container, key]) => index(container, key, false),
            ("_[?_]", [container, key]) => index(container, key, true),
            (name, values) => {
                let out = functions::call(name, values).map_err(EvalError::Fault)?;
                if name == "join" || name == "replace" || name == "format" {
                    self.spend(factor(out.size(), TRAVERSAL))?;
                }
                Ok(out)
            }
        }
    }

    // An error on one side does not matter when the other decides.
    fn logical(&mut self, left: &'v Expr, right: &'v Expr, decides: bool) -> Outcome {
        let left = self.truth(left);
        if matches!(left, Ok(b) if b == decides) || left == Err(EvalError::Cost) {
            return left.map(Value::Bool);
        }
        let right = self.truth(right);
        match (left, right) {
            (_, Ok(b)) if b == decides => Ok(Value::Bool(b)),
            (_, Err(EvalError::Cost)) => Err(EvalError::Cost),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Ok(Value::Bool(!decides)),
        }
    }

    fn truth(&mut self, expr: &'v Expr) -> Result<bool, EvalError> {
        match self.eval(expr)? {
            Value::Bool(b) => Ok(b),
            _ => fault(NO_OVERLOAD),
        }
    }

    fn comprehension(&mut self, m: &'v Macro) -> Outcome {
        let range = self.eval(&m.range)?;
        if matches!(m.op, Op::OptMap | Op::OptFlatMap) {
            let inner = match range {
                Value::Optional(Some(inner)) => (*inner).clone(),
                Value::Optional(None) => return Ok(Value::Optional(None)),
                _ => return fault(NO_OVERLOAD),
            };
            self.scope.push((&m.var, inner));
            let out = self.eval(&m.body);
            self.scope.pop();
            return if m.op == Op::OptMap { out.map(|v| Value::Optional(Some(Arc::new(v)))) } else { out };
        }
        if m.op == Op::Bind {
            self.scope.push((&m.var, range));
            let out = self.eval(&m.body);
            self.scope.pop();
            return out;
        }
        let pairs: Vec<(Value, Value)> = match &range {
            Value::List(list) => {
                list.items.iter().enumerate().map(|(i, item)| (Value::Int(i as i64), item.clone())).collect()
            }
            Value::Map(map) => map.iter().map(|(key, value)| (key.clone().into(), value.clone())).collect(),
            _ => return fault(NO_OVERLOAD),
        };
        let is_map = matches!(range, Value::Map(_));
        let mut fold = Fold::default();
        for (first, second) in pairs {
            let depth = self.scope.len();
            match &m.var2 {
                Some(var2) => {
                    self.scope.push((&m.var, first.clone()));
                    self.scope.push((var2, second.clone()));
                }
                None => self.scope.push((&m.var, if is_map { first.clone() } else { second.clone() })),
            }
            let element = if is_map { first.clone() } else { second };
            let done = self.step(m, first, element, &mut fold);
            self.scope.truncate(depth);
            if done? {
                break;
            }
        }
        fold.result(m.op)
    }

    // Whether the rest does not matter.
    fn step(&mut self, m: &'v Macro, key: Value, element: Value, fold: &mut Fold) -> Result<bool, EvalError> {
        if let Some(filter) = &m.filter
            && !self.truth(filter)?
        {
            self.spend(2)?;
            return Ok(false);
        }
        match m.op {
            Op::All | Op::Exists => {
                self.spend(3)?;
                let decides = m.op == Op::Exists;
                match self.truth(&m.body) {
                    Ok(b) if b == decides => {
                        fold.decided = true;
                        return Ok(true);
                    }
                    Ok(_) => {}
                    Err(EvalError::Cost) => return Err(EvalError::Cost),
                    Err(error) => fold.error = fold.error.take().or(Some(error)),
                }
            }
            Op::ExistsOne => {
                self.spend(2)?;
                fold.count += usize::from(self.truth(&m.body)?);
            }
            Op::Filter => {
                self.spend(12)?;
                if self.truth(&m.body)? {
                    fold.items.push(element);
                }
            }
            Op::Map => {
                self.spend(12)?;
                fold.items.push(self.eval(&m.body)?);
            }
            Op::TransformMap => {
                self.spend(32)?;
                let Some(key) = key.key() else { return fault("unsupported key type") };
                fold.map.insert(key, self.eval(&m.body)?);
            }
            _ => {
                self.spend(32)?;
                let Value::Map(entries) = self.eval(&m.body)? else { return fault(NO_OVERLOAD) };
                for (key, value) in entries.iter() {
                    if fold.map.insert(key.clone(), value.clone()).is_some() {
                        return fault("insert failed: key already exists");
                    }
                }
            }
        }
        Ok(false)
    }
}

#[derive(Default)]
struct Fold {
    decided: bool,
    error: Option<EvalError>,
    count: usize,
    items: Vec<Value>,
    map: BTreeMap<Key, Value>,
}

impl Fold {
    fn result(self, op: Op) -> Outcome {
        match (op, self.error) {
            (Op::All | Op::Exists, Some(error)) if !self.decided => Err(error),
            (Op::All, _) => Ok(Value::Bool(!self.decided)),
            (Op::Exists, _) => Ok(Value::Bool(self.decided)),
            (Op::ExistsOne, _) => Ok(Value::Bool(self.count == 1)),
            (Op::Map | Op::Filter, _) => Ok(Value::list(self.items)),
            _ => Ok(Value::Map(Arc::new(self.map.into()))),
        }
    }
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(text) => Value::from(text.as_str()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

// A field, an entry or an element; in optionals the result is one, and what is absent is none.
fn index(container: &Value, key: &Value, optional: bool) -> Outcome {
    let (container, optional) = match container {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => (&**inner, true),
        other => (other, optional),
    };
    let found = match container {
        Value::List(list) => {
            let at = match key {
                Value::Int(i) => Some(*i),
                Value::Uint(u) => i64::try_from(*u).ok(),
                Value::Double(d) if d.fract() == 0.0 => Some(*d as i64),
                _ => return fault(NO_OVERLOAD),
            };
            let item = at.and_then(|at| list.items.get(usize::try_from(at).ok()?));
            item.cloned().ok_or_else(|| format!("index out of bounds: {}", functions::text(key)))
        }
        Value::Map(map) => {
            let Some(key) = key.key() else { return fault(NO_OVERLOAD) };
            find(map, &key)
                .or(map.other())
                .cloned()
                .ok_or_else(|| format!("no such key: {}", functions::text(&key.into())))
        }
        _ => return fault(NO_OVERLOAD),
    };
    match (found, optional) {
        (Ok(value), true) => Ok(Value::Optional(Some(Arc::new(value)))),
        (Err(_), true) => Ok(Value::Optional(None)),
        (Ok(value), false) => Ok(value),
        (Err(text), false) => fault(text),
    }
}

fn call_cost(name: &str, args: &[Value]) -> u64 {
    let size = |i: usize| args.get(i).map_or(0, Value::size);
    let text = |size: u64, times: f64| factor(size, times * TRAVERSAL);
    match name {
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => match args.first() {
            Some(Value::List(list)) => list.items.iter().map(|item| 1 + text(item.size(), 1.0)).sum(),
            _ => text(size(0), 1.0),
        },
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR" | "ip" | "quantity"
        | "isQuantity" | "semver" | "isSemver" | "isURL" | "format" | "bytes" | "string" | "strings.quote" => {
            text(size(0), 1.0)
        }
        "replace" | "split" | "ip.isCanonical" => text(size(0), 2.0),
        "find" | "findAll" | "matches" => text(size(0) + 1, 1.0).saturating_mul(factor(size(1), REGEX)),
        "startsWith" | "endsWith" => text(size(0), 1.0),
        "contains" => text(size(0), 1.0).saturating_mul(text(size(1), 1.0)),
        "@in" if matches!(args.get(1), Some(Value::List(_))) => size(1),
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2),
        "distinct" | "sort" => size(0).saturating_mul(size(0)),
        "slice" | "reverse" | "flatten" | "join" => size(0),
        "lists.range" => match args.first() {
            Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0),
            _ => 1,
        },
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => text(size(0).min(size(1)), 1.0),
        "_+_" => match args.first() {
            Some(Value::String(_) | Value::Bytes(_)) => text(size(0) + size(1), 1.0),
            // Concatenation copies here, unlike upstream: a tenth of a step an element keeps it bounded.
            Some(Value::List(_)) => 1 + text(size(0) + size(1), 1.0),
            _ => 1,
        },
        _ => 1,
    }
}
