//! `kubectl create service clusterip|nodeport|loadbalancer|externalname NAME`.

use machinery::names;
use serde_json::{Value, json};

use super::{FLAGS, exact_name, generated};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, value},
    },
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "service",
    aliases: &["svc"],
    flags: &[],
    sub: &[
        Command { name: "clusterip", aliases: &[], flags: ALL, sub: &[], run: action!(cluster_ip) },
        Command { name: "nodeport", aliases: &[], flags: ALL, sub: &[], run: action!(node_port) },
        Command { name: "loadbalancer", aliases: &[], flags: ALL, sub: &[], run: action!(load_balancer) },
        Command { name: "externalname", aliases: &[], flags: ALL, sub: &[], run: action!(external_name) },
    ],
    run: action!(which),
};

const ALL: &[&[Flag]] =
    &[FLAGS, &[value("tcp"), value("clusterip"), value("node-port"), value("external-name")], printers::FLAGS];

async fn which(context: Context) -> Outcome {
    Err(context.flags.usage("must be one of clusterip, nodeport, loadbalancer, externalname"))
}

fn ports(context: &Context) -> Outcome<Vec<Value>> {
    context
        .flags
        .list("tcp")
        .iter()
        .map(|text| {
            let mut parts = text.split(':');
            let number: u16 = machinery::go::parse_uint(parts.next().unwrap_or_default()).map_err(Failure::new)?;
            let target = parts.next().map_or(Ok(number.into()), target_port)?;
            let name = if text.contains(':') { text.replace(':', "-") } else { text.clone() };
            let mut entry = json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target});
            if let Some(node_port) = context.flags.number("node-port")?.filter(|port| *port > 0) {
                entry["nodePort"] = node_port.into();
            }
            Ok(entry)
        })
        .collect()
}

/// A number or the name of a container's port.
fn target_port(text: &str) -> Outcome<Value> {
    let (target, faults) = match machinery::go::parse_int::<i64>(text) {
        Ok(number) => (number.into(), names::port_num(number)),
        Err(_) => (text.into(), names::port_name(text)),
    };
    if faults.is_empty() { Ok(target) } else { Err(Failure::new(faults.join(","))) }
}

async fn create(context: Context, kind: &str) -> Outcome {
    let name = exact_name(&context)?;
    let ports = ports(&context)?;
    let cluster_ip = context.flags.or("clusterip", "");
    if ports.is_empty() && kind != "ExternalName" && cluster_ip != "None" {
        return Err(Failure::new("at least one tcp port specifier must be provided"));
    }
    let labels = json!({"app": name});
    let mut spec = json!({"type": kind, "selector": labels});
    if !ports.is_empty() {
        spec["ports"] = Value::Array(ports);
    }
    if !cluster_ip.is_empty() {
        spec["clusterIP"] = cluster_ip.into();
    }
    if kind == "ExternalName" {
        let external = context.flags.get("external-name");
        spec["externalName"] =
            external.ok_or_else(|| Failure::new("required flag(s) \"external-name\" not set"))?.into();
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"loadBalancer": {}},
    });
    generated(&context, object).await
}

async fn cluster_ip(context: Context) -> Outcome {
    create(context, "ClusterIP").await
}

async fn node_port(context: Context) -> Outcome {
    create(context, "NodePort").await
}

async fn load_balancer(context: Context) -> Outcome {
    create(context, "LoadBalancer").await
}

async fn external_name(context: Context) -> Outcome {
    create(context, "ExternalName").await
}
