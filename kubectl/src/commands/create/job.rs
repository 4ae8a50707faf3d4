//! `kubectl create job NAME --image=IMAGE -- COMMAND`, or `--from=cronjob/NAME`.

use serde_json::json;

use super::{FLAGS, deployment::name_and_command, generated};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::value,
    },
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "job",
    aliases: &[],
    flags: &[FLAGS, &[value("image"), value("from")], printers::FLAGS],
    sub: &[],
    run: action!(create),
};

async fn create(context: Context) -> Outcome {
    let (name, command) = name_and_command(&context)?;
    let mut spec = match (context.flags.get("image"), context.flags.get("from")) {
        (Some(_), Some(_)) | (None, None) => return Err(Failure::new("either --image or --from must be specified")),
        (Some(image), None) => {
            let mut container = json!({"name": name, "image": image, "resources": {}});
            if !command.is_empty() {
                container["command"] = json!(command);
            }
            json!({"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}})
        }
        (None, Some(from)) => {
            let name = from.strip_prefix("cronjob/").or_else(|| from.strip_prefix("cj/"));
            let name = name.ok_or_else(|| Failure::new(format!("from must be an existing cronjob: {from}")))?;
            let namespace = context.namespace()?.0;
            let cronjob =
                context.json(Call::get(format!("/apis/batch/v1/namespaces/{namespace}/cronjobs/{name}"))).await?;
            cronjob["spec"]["jobTemplate"]["spec"].clone()
        }
    };
    if spec["template"]["metadata"].is_null() {
        spec["template"]["metadata"] = json!({});
    }
    generated(
        &context,
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec, "status": {}}),
    )
    .await
}
