//! After the last container: volumes and groups go; after the pod has left the API, everything.

use super::Worker;
use crate::{container::config::pod_log_dir, cri::observe, pod, volumes};
use k8s_openapi::api::core::v1::Pod;
use std::{fs, path::PathBuf, sync::Arc};

impl Worker {
    /// Takes away what a pod that has ended does not need. What its logs and statuses are read from stays. False: not all could go.
    pub(super) async fn clean_up(&mut self, pod: &Arc<Pod>) -> bool {
        let agent = self.agent.clone();
        let uid = pod::uid(pod).to_owned();
        agent.tokens.forget(&uid);
        agent.images.forget(&uid);
        let folder = volumes::pod_dir(&agent.config.root_dir, &uid);
        let cgroups = agent.cgroups.clone();
        let work = move || -> std::io::Result<()> {
            volumes::mount::unmount_below(&folder)?;
            for name in ["volumes", "volume-subpaths"] {
                remove(folder.join(name))?;
            }
            cgroups.remove_pod(&uid)
        };
        match self.tasks.blocking("clean-up after pods", work).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(pod = pod::format(pod), %error, "cannot clean up after a pod");
                false
            }
            Err(_) => false,
        }
    }

    /// The pod is gone from the API and nothing of it runs: takes its containers, logs and folders away. True once done.
    pub(super) async fn bury(&mut self, pod: &Arc<Pod>, observed: &observe::Pod) -> bool {
        self.probes.stop();
        if !self.clean_up(pod).await {
            return false;
        }
        let agent = self.agent.clone();
        for sandbox in &observed.sandboxes {
            if let Err(error) = agent.runtime.remove_sandbox(&sandbox.id).await
                && !error.is_not_found()
            {
                tracing::warn!(pod = pod::format(pod), %error, "cannot remove a sandbox");
                return false;
            }
        }
        let mut links = Vec::new();
        if let Some(folder) = &agent.config.container_log_dir {
            links.extend(observed.containers.iter().map(|container| {
                let (name, namespace) = (pod::name(pod), pod::namespace(pod));
                folder.join(format!("{name}_{namespace}_{}-{}.log", container.name, container.id))
            }));
        }
        let logs = PathBuf::from(pod_log_dir(&agent.config.file.pod_logs_dir, pod));
        let (root, uid) = (agent.config.root_dir.clone(), pod::uid(pod).to_owned());
        let removed = self.tasks.blocking("clean-up after pods", move || {
            links.into_iter().for_each(|link| drop(fs::remove_file(link)));
            remove(logs).and_then(|()| volumes::remove_pod_dir(&root, &uid))
        });
        if let Err(error) = removed.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            tracing::warn!(pod = pod::format(pod), %error, "cannot remove a pod's folders");
        }
        agent.admitted.lock().remove(pod::uid(pod));
        agent.objects.unregister(pod::uid(pod));
        agent.pods.lock().remove(pod::uid(pod));
        true
    }
}

fn remove(folder: PathBuf) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
