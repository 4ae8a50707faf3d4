//! `kubectl run`: a pod from the command line.

use serde_json::{Map, Value, json};

use super::{Command, create};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "run",
    aliases: &[],
    flags: &[create::FLAGS, FLAGS, printers::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    value("image"),
    value("image-pull-policy"),
    value("restart"),
    value("env").short('e'),
    value("labels").short('l'),
    value("annotations"),
    value("port"),
    value("overrides"),
    switch("command"),
    switch("expose"),
    switch("privileged"),
    switch("rm"),
    switch("attach"),
    switch("stdin").short('i'),
    switch("tty").short('t'),
    switch("quiet").short('q'),
];

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let Some((name, words)) = flags.args.split_first() else {
        return Err(flags.usage("NAME is required for run"));
    };
    let Some(image) = flags.get("image").filter(|image| !image.is_empty()) else {
        return Err(Failure::new("required flag(s) \"image\" not set"));
    };
    for flag in ["rm", "attach", "stdin", "tty", "expose"] {
        if flags.is(flag) {
            return Err(Failure::new(format!("--{flag} is not supported by run; create the pod and use exec or logs")));
        }
    }
    let pairs = |texts: Vec<String>| -> Map<String, Value> {
        texts.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.into())).collect()
    };
    let mut labels = pairs(flags.list("labels"));
    if labels.is_empty() {
        labels.insert("run".to_owned(), name.as_str().into());
    }
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !words.is_empty() {
        container[if flags.is("command") { "command" } else { "args" }] = json!(words);
    }
    let mut env = Vec::new();
    for variable in flags.all("env") {
        let Some((key, value)) = variable.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::new(format!("invalid env: {variable}")));
        };
        env.push(json!({"name": key, "value": value}));
    }
    if !env.is_empty() {
        container["env"] = Value::Array(env);
    }
    if let Some(port) = flags.number("port")? {
        container["ports"] = json!([{"containerPort": port}]);
    }
    if let Some(policy) = flags.get("image-pull-policy") {
        container["imagePullPolicy"] = policy.into();
    }
    if flags.is("privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    let mut metadata = json!({"name": name, "labels": labels});
    let annotations = pairs(flags.all("annotations").to_vec());
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": flags.or("restart", "Always")},
        "status": {},
    });
    if let Some(text) = flags.get("overrides") {
        let overrides: Value =
            serde_json::from_str(text).map_err(|error| Failure::new(format!("Invalid JSON Patch: {error}")))?;
        pod = machinery::patch::merge::apply(pod, overrides).map_err(|error| Failure::new(error.message))?;
    }
    create::generated_with(&context, pod, "created").await
}
