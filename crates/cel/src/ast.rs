//! What an expression is. Macros stay what they are: they are cheaper to run and to count than their expansions.

/// A node; `at` is the place in the text that faults are told at, in characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// See the type.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A variable, or a type's name.
    Ident(String),
    /// `a.b`; `a.?b` is optional.
    Select(Box<Expr>, String, bool),
    /// `has(a.b)`.
    Has(Box<Expr>, String),
    /// A function or operator, by its name in messages (`_+_`), with or without a target.
    Call(String, Option<Box<Expr>>, Vec<Expr>),
    /// `[a, ?b]`.
    List(Vec<(Expr, bool)>),
    /// `{a: b, ?c: d}`.
    Map(Vec<(Expr, Expr, bool)>),
    /// `Type{a: b, ?c: d}`: the type's name, and fields with the places that faults of them are told at.
    Struct(String, Vec<Field>),
    /// `range.all(x, body)` and the like.
    Macro(Macro),
}

/// A field of an object that an expression makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where its faults are told.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: Expr,
    /// Whether the value is an optional, and the field left out where it has none.
    pub optional: bool,
}

/// A macro over the elements of a list, or the keys of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Macro {
    /// Which.
    pub op: Op,
    /// What it goes over; for the optional ones the optional.
    pub range: Box<Expr>,
    /// The variable; with two, the index or key.
    pub var: String,
    /// The second variable, for the value.
    pub var2: Option<String>,
    /// The condition of those that have a second argument.
    pub filter: Option<Box<Expr>>,
    /// What is evaluated for each element.
    pub body: Box<Expr>,
}

/// The macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformMap,
    TransformMapEntry,
    OptMap,
    OptFlatMap,
    /// `cel.bind(x, value, body)`: the range is the value.
    Bind,
}

impl Expr {
    /// How deep it is nested.
    pub(super) fn depth(&self) -> usize {
        let inner: Vec<&Expr> = match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select(operand, ..) | Kind::Has(operand, _) => vec![operand],
            Kind::Call(_, target, args) => target.as_deref().into_iter().chain(args).collect(),
            Kind::List(items) => items.iter().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            Kind::Struct(_, fields) => fields.iter().map(|field| &field.value).collect(),
            Kind::Macro(m) => {
                [Some(&m.range), m.filter.as_ref(), Some(&m.body)].into_iter().flatten().map(|e| &**e).collect()
            }
        };
        1 + inner.into_iter().map(Expr::depth).max().unwrap_or(0)
    }
}
