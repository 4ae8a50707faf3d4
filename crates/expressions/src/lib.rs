//! What expressions of webhooks and policies see (`apiserver/pkg/admission/plugin/cel/compile.go`, `composition.go`): the
//! objects as they are, the request and the namespace by their types; and, depending on the place, parameters, who may do
//! what, the policy's variables, and types to make objects and patches of.
//!
//! For the validation of webhooks and policies, for their evaluation, and for the controller that checks policies against
//! the types of the objects that they are about. It knows the types of expressions alone: no objects, no kinds.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::Program;
use cel::types::{Object, Type, UNBOUNDED};

/// What an expression sees beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Default)]
pub struct Sight<'v> {
    /// The type of `object` and `oldObject`, where one kind is meant; else they are anything.
    pub object: Option<&'v Type>,
    /// `params`.
    pub params: bool,
    /// Their type, where it is known.
    pub params_type: Option<&'v Type>,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
    /// The types `Object` and `JSONPatch`.
    pub made: bool,
    /// `variables`, where the policy has some.
    pub variables: Option<&'v Variables>,
}

impl Sight<'_> {
    /// Of webhooks.
    pub const AUTHORIZER: Sight<'static> =
        Sight { object: None, params: false, params_type: None, authorizer: true, made: false, variables: None };
}

/// The types of a policy's variables, those so far: each sees those before it.
pub type Variables = BTreeMap<String, Type>;

/// What an expression has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Wanted {
    Any,
    Bool,
    String,
    StringOrNull,
    Object,
    Patches,
}

impl Wanted {
    fn admits(self, ty: &Type) -> bool {
        let is_made = |ty: &Type, wanted: &str| matches!(ty, Type::Made(name) if **name == *wanted);
        match (self, ty) {
            (Wanted::Any, _) | (Wanted::Bool, Type::Bool) | (Wanted::String, Type::String(_)) => true,
            (Wanted::StringOrNull, Type::String(_) | Type::Null) => true,
            (Wanted::Object, ty) => is_made(ty, "Object"),
            (Wanted::Patches, Type::List(item, _)) => is_made(item, "JSONPatch"),
            _ => false,
        }
    }

    fn said(self) -> &'static str {
        match self {
            Wanted::Any => "any",
            Wanted::Bool => "bool",
            Wanted::String => "string",
            Wanted::StringOrNull => "one of [string null_type]",
            Wanted::Object => "Object",
            Wanted::Patches => "list(JSONPatch)",
        }
    }
}

/// Understands an expression that has to give something of a sort.
///
/// # Errors
/// What is wrong, in upstream's words.
pub fn compile(expression: &str, sight: Sight<'_>, wanted: Wanted) -> Result<Program, String> {
    let program = understand(expression, sight).map_err(|faults| format!("compilation failed: {faults}"))?;
    if wanted.admits(&program.result) {
        return Ok(program);
    }
    Err(format!("must evaluate to {} but got {}", wanted.said(), declared_name(&program.result)))
}

/// Understands an expression, whatever it gives.
///
/// # Errors
/// Its faults, in cel-go's words.
pub fn understand(expression: &str, sight: Sight<'_>) -> Result<Program, String> {
    let mut seen = SEEN.clone();
    for name in ["object", "oldObject"] {
        seen.push((name.to_owned(), sight.object.cloned().unwrap_or(Type::ANY)));
    }
    if sight.params {
        seen.push(("params".to_owned(), sight.params_type.cloned().unwrap_or(Type::ANY)));
    }
    if sight.authorizer {
        seen.push(("authorizer".to_owned(), Type::Opaque("kubernetes.authorization.Authorizer")));
        seen.push(("authorizer.requestResource".to_owned(), Type::Opaque("kubernetes.authorization.ResourceCheck")));
    }
    if let Some(variables) = sight.variables {
        let object = Object { name: "kubernetes.variables".to_owned(), fields: variables.clone() };
        seen.push(("variables".to_owned(), Type::Object(Arc::new(object))));
    }
    Program::compile_with(expression, &seen, sight.made)
}

/// A type as cel-go's own String names it, not as its checker's faults do.
fn declared_name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::List(item, _) => format!("list({})", declared_name(item)),
        Type::Map(key, value, _) => format!("map({}, {})", declared_name(key), declared_name(value)),
        Type::Optional(inner) => format!("optional_type({})", declared_name(inner)),
        other => other.to_string(),
    }
}

/// The type of a variable with that result, as other expressions see it: what has no data type is anything.
pub fn of_variable(result: &Type) -> Type {
    match result {
        Type::List(item, _) => Type::list(of_variable(item), UNBOUNDED),
        Type::Map(key, value, _) => Type::Map(Arc::new(of_variable(key)), Arc::new(of_variable(value)), UNBOUNDED),
        Type::Null | Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration => {
            result.clone()
        }
        Type::String(_) => Type::String(UNBOUNDED),
        Type::Bytes(_) => Type::Bytes(UNBOUNDED),
        _ => Type::ANY,
    }
}

/// What all expressions see of the same type.
static SEEN: LazyLock<Vec<(String, Type)>> = LazyLock::new(|| {
    let seen = [("namespaceObject", namespace()), ("request", request())];
    seen.map(|(name, ty)| (name.to_owned(), ty)).into()
});

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(field, ty)| ((*field).to_owned(), ty.clone())).collect();
    Type::Object(Arc::new(Object { name: format!("kubernetes.{name}"), fields }))
}

const TEXT: Type = Type::String(UNBOUNDED);

fn texts() -> Type {
    Type::list(TEXT, UNBOUNDED)
}

fn map_of(value: Type) -> Type {
    Type::Map(Arc::new(TEXT), Arc::new(value), UNBOUNDED)
}

fn request() -> Type {
    let kind = object("GroupVersionKind", &[("group", TEXT), ("version", TEXT), ("kind", TEXT)]);
    let resource = object("GroupVersionResource", &[("group", TEXT), ("version", TEXT), ("resource", TEXT)]);
    let user = [("username", TEXT), ("uid", TEXT), ("groups", texts()), ("extra", map_of(texts()))];
    object(
        "AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", TEXT),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", TEXT),
            ("name", TEXT),
            ("namespace", TEXT),
            ("operation", TEXT),
            ("userInfo", object("UserInfo", &user)),
            ("dryRun", Type::Bool),
            ("options", Type::ANY),
        ],
    )
}

fn namespace() -> Type {
    let condition = object(
        "NamespaceCondition",
        &[
            ("status", TEXT),
            ("type", TEXT),
            ("lastTransitionTime", Type::Timestamp),
            ("message", TEXT),
            ("reason", TEXT),
        ],
    );
    let metadata = [
        ("name", TEXT),
        ("generateName", TEXT),
        ("namespace", TEXT),
        ("labels", map_of(TEXT)),
        ("annotations", map_of(TEXT)),
        ("UID", TEXT),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", TEXT),
        ("finalizers", texts()),
    ];
    let status = [("conditions", Type::list(condition, UNBOUNDED)), ("phase", TEXT)];
    object(
        "Namespace",
        &[
            ("metadata", object("NamespaceMetadata", &metadata)),
            ("spec", object("NamespaceSpec", &[("finalizers", texts())])),
            ("status", object("NamespaceStatus", &status)),
        ],
    )
}
