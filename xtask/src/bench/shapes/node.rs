//! Pod start latency on a cluster with a node: from the create request to the Ready condition, as a watcher sees it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::bench::connection::{Access, JSON};
use crate::bench::lines::Lines;
use crate::bench::objects;
use crate::bench::report::{Report, seconds};

const PODS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts pods one after another and tells how long each took.
pub(crate) async fn pods(access: &Access, image: &str, report: &mut Report) -> anyhow::Result<()> {
    let namespace = "bench-pods";
    let mut connection = access.http1().await?;
    objects::namespace(&mut connection, namespace).await?;
    let path = objects::pods(namespace);
    let mut times = Vec::new();
    for i in 0..PODS {
        let name = format!("start-{i}");
        let watch = format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=120");
        let mut events = Lines::new(access.http1().await?.send(Method::GET, &watch, None).await?.into_body());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}],
            },
        });
        let begin = Instant::now();
        connection.call(Method::POST, &path, Some((JSON, Bytes::from(pod.to_string())))).await?;
        let ready = async {
            loop {
                let line = events.next().await?.context("the watch ended")?;
                if is_ready(&serde_json::from_slice::<Value>(&line)?["object"]) {
                    return anyhow::Ok(begin.elapsed());
                }
            }
        };
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(time) => times.push(time?),
            Err(_) => bail!("pod {name} is not ready after {PATIENCE:?}"),
        }
        connection.call(Method::DELETE, &format!("{path}/{name}?gracePeriodSeconds=0"), None).await?;
    }
    connection.call(Method::DELETE, &format!("/api/v1/namespaces/{namespace}"), None).await?;
    times.sort_unstable();
    let values = vec![seconds("p50", times[PODS / 2]), seconds("slowest", times[PODS - 1])];
    report.line(&access.host(), "pod start, create to Ready", values);
    Ok(())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
