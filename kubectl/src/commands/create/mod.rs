//! `kubectl create`: objects of manifests, and generators for common kinds, one file each.

mod configmap;
mod deployment;
mod job;
mod namespace;
mod rbac;
mod secret;
mod service;
mod serviceaccount;

use http::Method;
use machinery::json::Fields;
use serde_json::Value;

use super::{
    Command,
    apply::{ANNOTATION, with_annotation, write_query},
};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{Info, files},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "create",
    aliases: &[],
    flags: &[FLAGS, &[value("selector").short('l'), value("raw"), switch("edit")], printers::FLAGS, files::FLAGS],
    sub: &[
        configmap::COMMAND,
        deployment::COMMAND,
        job::COMMAND,
        namespace::COMMAND,
        secret::COMMAND,
        service::COMMAND,
        serviceaccount::COMMAND,
        rbac::ROLE,
        rbac::CLUSTER_ROLE,
        rbac::ROLE_BINDING,
        rbac::CLUSTER_ROLE_BINDING,
    ],
    run: super::action!(run),
};

/// Flags of everything that creates.
pub const FLAGS: &[Flag] =
    &[optional("dry-run", "unchanged"), optional("validate", "strict"), value("field-manager"), switch("save-config")];

async fn run(context: Context) -> Outcome {
    if !files::given(&context) {
        return Err(Failure::new("must specify one of -f and -k"));
    }
    if !context.flags.args.is_empty() {
        return Err(context.flags.usage(&format!("Unexpected args: [{}]", context.flags.args.join(" "))));
    }
    let format = Format::of(&context)?;
    let selector = machinery::selector::LabelSelector::parse(context.flags.or("selector", "")).map_err(Failure::new)?;
    let mut failures = Vec::new();
    for info in files::infos(&context).await? {
        let outcome = match info {
            Ok(info) if !selector.matches(&super::get::labels(&info.object, "labels")) => Ok(()),
            Ok(info) => post(&context, &format, info).await,
            Err(failure) => Err(failure),
        };
        failures.extend(outcome.err());
    }
    Failure::all(failures)
}

async fn post(context: &Context, format: &Format, info: Info) -> Outcome {
    let annotated = context.flags.is("save-config") || !info.object["metadata"]["annotations"][ANNOTATION].is_null();
    let object = if annotated { with_annotation(&info.object) } else { info.object.clone() };
    let made = if dry_run(context)? == DryRun::Client {
        object
    } else {
        let call = write_query(context, Call::send(Method::POST, info.collection(), &object), "kubectl-create")?;
        context.json(call).await.map_err(|failure| failure.at_source("creating", &info.source))?
    };
    done(context, format, &info, &made, "created")
}

/// Creates what a generator made; the namespace is the one in use.
pub async fn generated(context: &Context, object: Value) -> Outcome {
    // Most generators say what failed, and then what the server said.
    let what = match object.text("kind") {
        kind @ ("ConfigMap" | "Deployment" | "ServiceAccount" | "Job" | "RoleBinding" | "ClusterRoleBinding") => {
            format!("{}:", kind.to_lowercase())
        }
        "Secret" => "secret".to_owned(),
        "Service" => format!("{} service:", object.sub("spec").text("type")),
        _ => return generated_with(context, object, "created").await,
    };
    generated_with(context, object, "created").await.map_err(|failure| match failure {
        Failure::Status { message, .. } => Failure::new(format!("failed to create {what} {message}")),
        other => other,
    })
}

/// The same, with another word for it.
pub async fn generated_with(context: &Context, mut object: Value, done_word: &str) -> Outcome {
    let format = Format::of(context)?;
    let (api_version, kind) = (object.text("apiVersion").to_owned(), object.text("kind").to_owned());
    let mapper = context.mapper().await?;
    let resource = mapper
        .of_kind(&api_version, &kind)
        .ok_or_else(|| Failure::new(format!("no matches for kind {kind:?} in version {api_version:?}")))?;
    let (namespace, given) = context.namespace()?;
    let namespace = if resource.namespaced { namespace } else { String::new() };
    // On paper the namespace shows only where it was asked for.
    if resource.namespaced && (given || dry_run(context)? != DryRun::Client) {
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    let name = object["metadata"].text("name").to_owned();
    let info = Info { resource, namespace, name, object: object.clone(), source: String::new() };
    if context.flags.is("save-config") {
        object = with_annotation(&object);
    }
    let made = if dry_run(context)? == DryRun::Client {
        object
    } else {
        let call = write_query(context, Call::send(Method::POST, info.collection(), &object), "kubectl-create")?;
        context.json(call).await?
    };
    done(context, &format, &info, &made, done_word)
}

/// The one word a generator takes as the name.
pub fn exact_name(context: &Context) -> Outcome<String> {
    match context.flags.args.as_slice() {
        [name] => Ok(name.clone()),
        other => Err(context.flags.usage(&format!("exactly one NAME is required, got {}", other.len()))),
    }
}
