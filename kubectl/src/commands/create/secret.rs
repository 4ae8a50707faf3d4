//! `kubectl create secret generic|tls|docker-registry NAME`.

use base64::Engine;
use serde_json::{Map, Value, json};

use super::{FLAGS, configmap, exact_name, generated};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome, os_error},
        flags::{switch, value},
    },
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "secret", aliases: &[], flags: &[], sub: &[GENERIC, TLS, REGISTRY], run: action!(which) };

const GENERIC: Command = Command {
    name: "generic",
    aliases: &[],
    flags: &[FLAGS, configmap::SOURCES, &[value("type")], printers::FLAGS],
    sub: &[],
    run: action!(generic),
};

const TLS: Command = Command {
    name: "tls",
    aliases: &[],
    flags: &[FLAGS, &[value("cert"), value("key"), switch("append-hash")], printers::FLAGS],
    sub: &[],
    run: action!(tls),
};

const REGISTRY: Command = Command {
    name: "docker-registry",
    aliases: &[],
    flags: &[
        FLAGS,
        &[
            value("docker-server"),
            value("docker-username"),
            value("docker-password"),
            value("docker-email"),
            value("from-file"),
        ],
        printers::FLAGS,
    ],
    sub: &[],
    run: action!(registry),
};

async fn which(context: Context) -> Outcome {
    Err(context.flags.usage("must be one of generic, tls, docker-registry"))
}

fn secret(name: &str, kind: &str, data: Vec<(String, Vec<u8>)>) -> Value {
    let encode = |bytes: Vec<u8>| Value::String(base64::engine::general_purpose::STANDARD.encode(bytes));
    let data: Map<String, Value> = data.into_iter().map(|(key, bytes)| (key, encode(bytes))).collect();
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    if !data.is_empty() {
        object["data"] = Value::Object(data);
    }
    if !kind.is_empty() {
        object["type"] = kind.into();
    }
    object
}

async fn generic(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    let object = secret(&name, context.flags.or("type", ""), configmap::data(&context, "Secret")?);
    generated(&context, object).await
}

async fn tls(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    let (Some(cert), Some(key)) = (context.flags.get("cert"), context.flags.get("key")) else {
        return Err(Failure::new("key and cert must be specified"));
    };
    let read = |path: &str| {
        let failed = |error| Failure::new(format!("Cannot read file {path}, open {path}: {}", os_error(&error)));
        std::fs::read(path).map_err(failed)
    };
    let data = vec![("tls.crt".to_owned(), read(cert)?), ("tls.key".to_owned(), read(key)?)];
    generated(&context, secret(&name, "kubernetes.io/tls", data)).await
}

async fn registry(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    let flags = &context.flags;
    let config = if let Some(path) = flags.get("from-file") {
        let path = path.rsplit_once('=').map_or(path, |(_, path)| path);
        std::fs::read(path).map_err(|error| Failure::new(format!("open {path}: {}", os_error(&error))))?
    } else {
        let (user, password) = (flags.or("docker-username", ""), flags.or("docker-password", ""));
        if user.is_empty() || password.is_empty() {
            return Err(Failure::new(
                "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
            ));
        }
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut entry = json!({"username": user, "password": password, "auth": auth});
        if let Some(email) = flags.get("docker-email") {
            entry["email"] = email.into();
        }
        json!({"auths": {flags.or("docker-server", "https://index.docker.io/v1/"): entry}}).to_string().into_bytes()
    };
    generated(&context, secret(&name, "kubernetes.io/dockerconfigjson", vec![(".dockerconfigjson".to_owned(), config)]))
        .await
}
