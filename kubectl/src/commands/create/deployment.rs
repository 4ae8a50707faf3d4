//! `kubectl create deployment NAME --image=IMAGE -- COMMAND`.

use serde_json::{Value, json};

use super::{FLAGS, generated};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::value,
    },
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "deployment",
    aliases: &["deploy"],
    flags: &[FLAGS, &[value("image"), value("replicas").short('r'), value("port")], printers::FLAGS],
    sub: &[],
    run: action!(create),
};

/// A container's name after its image: `docker.io/lib/nginx:1@sha..` is `nginx`.
pub fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let plain = last.split(['@', ':']).next().unwrap_or(last);
    let cleaned: String =
        plain.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    cleaned.trim_matches('-').to_owned()
}

/// The name and the command after `--`.
pub fn name_and_command(context: &Context) -> Outcome<(String, Vec<String>)> {
    let args = &context.flags.args;
    let (names, command) = match context.flags.dash {
        Some(at) => args.split_at(at),
        None => (args.as_slice(), &[][..]),
    };
    match names {
        [name] => Ok((name.clone(), command.to_vec())),
        other => Err(context.flags.usage(&format!("exactly one NAME is required, got {}", other.len()))),
    }
}

async fn create(context: Context) -> Outcome {
    let flags = &context.flags;
    let (name, command) = name_and_command(&context)?;
    let images = flags.list("image");
    if images.is_empty() {
        return Err(Failure::new("required flag(s) \"image\" not set"));
    }
    if images.len() > 1 && !command.is_empty() {
        return Err(Failure::new("cannot specify multiple --image options and command"));
    }
    let replicas = flags.number("replicas")?.unwrap_or(1);
    if replicas < 0 {
        return Err(Failure::new("negative replicas is not valid"));
    }
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(index, image)| {
            let mut container = json!({"name": container_name(image), "image": image, "resources": {}});
            if !command.is_empty() {
                container["command"] = json!(command);
            }
            if let (0, Ok(Some(port))) = (index, flags.number("port")) {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        })
        .collect();
    flags.number("port")?;
    let labels = json!({"app": name});
    generated(
        &context,
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
            "status": {},
        }),
    )
    .await
}

#[cfg(test)]
mod tests {
    #[test]
    fn containers_are_named_after_their_images() {
        for (image, name) in [("nginx", "nginx"), ("a.b:5000/x/Nginx:1.2", "nginx"), ("my_app@sha256:1", "my-app")] {
            assert_eq!(super::container_name(image), name);
        }
    }
}
