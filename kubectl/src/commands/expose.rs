//! `kubectl expose`: a Service for a workload.

use serde_json::{Map, Value, json};

use super::{Command, create, logs::selector_of};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, value},
    },
    printers,
    resource_builder::{Info, files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "expose",
    aliases: &[],
    flags: &[create::FLAGS, FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    value("port"),
    value("target-port"),
    value("protocol"),
    value("type"),
    value("name"),
    value("selector"),
    value("labels").short('l'),
    value("cluster-ip"),
    value("external-ip"),
    value("load-balancer-ip"),
    value("session-affinity"),
];

async fn run(context: Context) -> Outcome {
    let (infos, failures) = select::infos(&context, &context.flags.args).await?;
    Failure::all(failures)?;
    for mut info in infos {
        if info.object["metadata"]["uid"].is_null() {
            info.object = info.read(&context).await?;
        }
        let service = service(&context, &info)?;
        create::generated_with(&context, service, "exposed").await?;
    }
    Ok(())
}

fn pairs(text: &str) -> Value {
    let map: Map<String, Value> =
        text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.into())).collect();
    Value::Object(map)
}

fn service(context: &Context, info: &Info) -> Outcome<Value> {
    let flags = &context.flags;
    let object = &info.object;
    if !matches!(info.resource.kind.as_str(), "Pod" | "Service" | "ReplicationController" | "Deployment" | "ReplicaSet")
    {
        return Err(Failure::new(format!("cannot expose a {}", info.resource.kind)));
    }
    let selector = match flags.get("selector") {
        Some(text) => text.to_owned(),
        None if info.resource.kind == "Pod" => {
            let labels = super::get::labels(object, "labels");
            if labels.is_empty() {
                return Err(Failure::new(
                    "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed",
                ));
            }
            labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
        }
        None => selector_of(object).filter(|text| !text.is_empty()).ok_or_else(|| {
            Failure::new("couldn't retrieve selectors via --selector flag or introspection: no selector found")
        })?,
    };
    let spec = if object["spec"]["template"].is_null() { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let mut found: Vec<(i64, String)> = Vec::new();
    if info.resource.kind == "Service" {
        for port in object["spec"]["ports"].as_array().into_iter().flatten() {
            found.push((port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or("TCP").to_owned()));
        }
    }
    for container in spec["containers"].as_array().into_iter().flatten() {
        for port in container["ports"].as_array().into_iter().flatten() {
            found.push((
                port["containerPort"].as_i64().unwrap_or(0),
                port["protocol"].as_str().unwrap_or("TCP").to_owned(),
            ));
        }
    }
    let numbers: Vec<(i64, String)> = match flags.get("port") {
        Some(text) => text
            .split(',')
            .map(|part| {
                let number = machinery::go::atoi(part).map_err(Failure::new)?;
                let known = found.iter().find(|(port, _)| *port == number).map(|(_, protocol)| protocol.clone());
                Ok((number, known.unwrap_or_else(|| "TCP".to_owned())))
            })
            .collect::<Outcome<_>>()?,
        None => found,
    };
    if numbers.is_empty() {
        return Err(Failure::new("couldn't find port via --port flag or introspection"));
    }
    let several = numbers.len() > 1;
    let ports: Vec<Value> = numbers
        .iter()
        .enumerate()
        .map(|(index, (number, protocol))| {
            let target = flags.get("target-port").map_or_else(
                || Value::from(*number),
                |text| text.parse::<u16>().map_or_else(|_| Value::from(text), Value::from),
            );
            let mut port = json!({
                "port": number,
                "protocol": flags.or("protocol", protocol),
                "targetPort": target,
            });
            if several {
                port["name"] = format!("port-{}", index + 1).into();
            }
            port
        })
        .collect();
    let labels = match flags.get("labels") {
        Some(text) => pairs(text),
        None => object["metadata"]["labels"].clone(),
    };
    let mut metadata = json!({"name": flags.or("name", &info.name)});
    if labels.as_object().is_some_and(|map| !map.is_empty()) {
        metadata["labels"] = labels;
    }
    let mut spec = json!({"selector": pairs(&selector), "ports": ports});
    for (flag, field) in [
        ("type", "type"),
        ("cluster-ip", "clusterIP"),
        ("load-balancer-ip", "loadBalancerIP"),
        ("session-affinity", "sessionAffinity"),
    ] {
        if let Some(value) = flags.get(flag) {
            spec[field] = value.into();
        }
    }
    if let Some(external) = flags.get("external-ip") {
        spec["externalIPs"] = json!([external]);
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}
