//! The scheduler alone: pods wait before it starts, and no node does anything about those that it binds.

use std::time::Instant;

use serde_json::json;

use super::{NAMESPACE, Sizes};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::launch::{Launcher, Part};
use crate::bench::nodes::{Conduct, Setup};
use crate::bench::objects::{self, Template};
use crate::bench::report::{Report, rate, seconds};

/// Which pods wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    Plain,
    /// Spread over zones and nodes, and none beside another.
    Constrained,
}

/// Until the last one is bound. The rate is from the start of the process, which reads everything first.
pub(super) async fn waiting(launcher: &Launcher, sizes: &Sizes, pods: Pods, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, count, which) = match pods {
        Pods::Plain => (sizes.nodes, sizes.waiting, "without constraints"),
        Pods::Constrained => (sizes.nodes, sizes.constrained, "with spread and anti-affinity"),
    };
    let setup = Setup { count: nodes, conduct: Conduct::Leave, kubelets: false };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    let name = |i: usize| format!("waiting-7c9d6f5b84-{i:05}");
    let template = template(pods, &name(0));
    cluster.create(&objects::pods(NAMESPACE), count, |i| template.named(&name(i))).await?;
    cluster.settle().await?;
    let costs = cluster.begin();
    cluster.part(Part::Scheduler).await?;
    let progress = cluster.nodes.until(PATIENCE, |p| p.bound >= count).await?;
    let since = |at: Option<Instant>, then: Instant| at.map(|at| at.duration_since(then)).unwrap_or_default();
    let (first, last) = (since(progress.first_bound, costs.begin), since(progress.last_bound, costs.begin));
    let mut values =
        vec![rate("rate", count, last), rate("without its start", count, last - first), seconds("first bound", first)];
    values.extend(cluster.costs(&costs));
    report.line(&launcher.name, &format!("schedule {count} waiting pods {which}, {nodes} nodes"), values);
    Ok(())
}

fn template(pods: Pods, name: &str) -> Template {
    let mut pod = objects::pod_template("web");
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = NAMESPACE.into();
    if pods == Pods::Constrained {
        let selector = json!({"matchLabels": {"app": "web"}});
        let spread = |key: &str| json!({"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector});
        pod["spec"]["topologySpreadConstraints"] =
            json!([spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")]);
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector},
        ]}});
    }
    Template::of_object(&pod, name)
}
