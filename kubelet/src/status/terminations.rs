//! How many containers have ended, by sort, exit code and reason. Upstream: pkg/kubelet/status/status_manager.go,
//! updateStatusInternal.

use component::metrics::Text;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Sort, exit code, reason.
type Series = (&'static str, i32, String);

#[derive(Default)]
pub(crate) struct Terminations(Mutex<BTreeMap<Series, u64>>);

impl Terminations {
    /// Counts the containers that have ended from one status of a pod to its next.
    pub(crate) fn count(&self, old: &PodStatus, new: &PodStatus) {
        for (sort, old, new) in [
            ("init_container", &old.init_container_statuses, &new.init_container_statuses),
            ("container", &old.container_statuses, &new.container_statuses),
            ("ephemeral_container", &old.ephemeral_container_statuses, &new.ephemeral_container_statuses),
        ] {
            for status in new.iter().flatten() {
                let before = old.iter().flatten().find(|old| old.name == status.name);
                if let Some(ended) = terminated(status).filter(|_| before.and_then(terminated).is_none()) {
                    let series = (sort, ended.exit_code, ended.reason.clone().unwrap_or_default());
                    *self.0.lock().entry(series).or_default() += 1;
                }
            }
        }
    }

    /// Writes the counters.
    pub(crate) fn metrics(&self, out: &mut Text) {
        let name = "kubelet_terminated_containers_total";
        out.head(name, "[ALPHA] Cumulative number of container terminations.", "counter");
        for ((sort, code, reason), count) in &*self.0.lock() {
            let values = [sort, &*code.to_string(), reason];
            out.line(name, &["container_type", "exit_code", "reason"], &values, *count as f64);
        }
    }
}

fn terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

#[cfg(test)]
mod tests {
    use crate::testing::TestNode;
    use serde_json::json;
    use std::time::Duration;
    use testkit_cri::Program;

    #[tokio::test(start_paused = true)]
    async fn each_end_is_counted_once() {
        let node = TestNode::new().await;
        {
            let mut world = node.runtime.world();
            world.images.insert("short:latest".into(), 1);
            world.programs.insert("short".into(), Program::ends(Duration::from_secs(3), 0));
            world.programs.insert("image:latest".into(), Program::ends(Duration::from_secs(5), 7));
        }
        let init = json!([{"name": "i", "image": "short"}]);
        node.pod("p", json!({"restartPolicy": "Never", "initContainers": init, "containers": [{"name": "c"}]}));
        node.until("it failed", |n| n.phase("p") == "Failed").await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let mut metrics = component::metrics::Text::default();
        node.agent.terminations.metrics(&mut metrics);
        let metrics = metrics.finish();
        let counted: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            counted,
            [
                "kubelet_terminated_containers_total{container_type=\"container\",exit_code=\"7\",reason=\"Error\"} 1",
                "kubelet_terminated_containers_total{container_type=\"init_container\",exit_code=\"0\",reason=\"Completed\"} 1",
            ]
        );
    }
}
