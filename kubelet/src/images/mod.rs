//! Images: had already, or pulled, or why not. Upstream: pkg/kubelet/images/image_manager.go.

pub(crate) mod credentials;
pub(crate) mod gc;
pub(crate) mod name;

use crate::{backoff::Backoff, cri::Runtime, events::Events, pod};
use component::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use proto::cri;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// A container's waiting reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// When it may be worth another try.
    pub(crate) until: Option<Timestamp>,
}

pub(crate) struct Images {
    runtime: Arc<dyn Runtime>,
    events: Events,
    clock: Clock,
    backoff: Mutex<Backoff>,
    /// Why the last pull failed, by back-off key.
    failures: Mutex<HashMap<String, String>>,
    /// `serializeImagePulls` is one at a time.
    parallel: Semaphore,
}

impl Images {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, events: Events, clock: Clock, parallel: usize) -> Self {
        Self {
            runtime,
            events,
            clock,
            backoff: Mutex::new(Backoff::new(10, 300)),
            failures: Mutex::default(),
            parallel: Semaphore::new(parallel.max(1)),
        }
    }

    /// The runtime's name for the image, pulled if the policy asks for it.
    pub(crate) async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        secrets: &[Arc<Secret>],
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<String, Refused> {
        let requested = container.image.as_deref().unwrap_or_default();
        let tell = |kind: &str, reason: &str, message: &str| {
            self.events.pod(pod, Some(&container.name), kind, reason, message)
        };
        let refuse = |reason: &'static str, message: String| Refused { reason, message, until: None };
        let image = match name::with_default_tag(requested) {
            Ok(image) => image,
            Err(fault) => {
                let message = format!(
                    "Failed to apply default image tag {requested:?}: couldn't parse image name {requested:?}: {fault}"
                );
                tell("Warning", "InspectFailed", &message);
                return Err(refuse("InvalidImageName", message));
            }
        };
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        if policy != "Always" {
            let found = self.runtime.image_status(&image).await.map_err(|error| {
                let message = format!("Failed to inspect image {:?}: {error}", "");
                tell("Warning", "InspectFailed", &message);
                refuse("ImageInspectError", message)
            })?;
            if let Some(found) = found {
                tell(
                    "Normal",
                    "Pulled",
                    &format!("Container image {requested:?} already present on machine and can be accessed by the pod"),
                );
                return Ok(found.id);
            }
            if policy == "Never" {
                let message = format!("Container image {requested:?} is not present with pull policy of Never");
                tell("Warning", "ErrImageNeverPull", &message);
                return Err(refuse("ErrImageNeverPull", message));
            }
        }
        self.pull(pod, container, requested, &image, secrets, sandbox).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        requested: &str,
        image: &str,
        secrets: &[Arc<Secret>],
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<String, Refused> {
        let tell = |kind: &str, reason: &str, message: &str| {
            self.events.pod(pod, Some(&container.name), kind, reason, message)
        };
        let key = format!("{}_{requested}", pod::uid(pod));
        if let Some(until) = self.backoff.lock().until(&key, self.clock.now()) {
            let message = format!("Back-off pulling image {requested:?}");
            tell("Normal", "BackOff", &message);
            let message = match self.failures.lock().get(&key) {
                Some(last) => format!("{message}: {last}"),
                None => message,
            };
            return Err(Refused { reason: "ImagePullBackOff", message, until: Some(until) });
        }
        self.failures.lock().remove(&key);
        tell("Normal", "Pulling", &format!("Pulling image {requested:?}"));
        let waited = Instant::now();
        let _slot = self.parallel.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        let mut credentials = credentials::for_image(image, secrets).into_iter().map(Some).collect::<Vec<_>>();
        if credentials.is_empty() {
            credentials.push(None);
        }
        let mut outcome = Ok(String::new());
        for auth in credentials {
            outcome = self.runtime.pull_image(image, auth, sandbox.clone()).await;
            if outcome.is_ok() {
                break;
            }
        }
        match outcome {
            Ok(reference) => {
                let size = self.runtime.image_status(&reference).await.ok().flatten().map_or(0, |i| i.size);
                let message = format!(
                    "Successfully pulled image {requested:?} in {} ({} including waiting). Image size: {size} bytes.",
                    milliseconds(started.elapsed()),
                    milliseconds(waited.elapsed())
                );
                tell("Normal", "Pulled", &message);
                Ok(reference)
            }
            Err(error) => {
                tell("Warning", "Failed", &format!("Failed to pull image {requested:?}: {error}"));
                let now = self.clock.now();
                self.backoff.lock().next(&key, now);
                let (reason, message) = known(requested, &error);
                self.failures.lock().insert(key, format!("{reason}: {message}"));
                Err(Refused { reason, message, until: None })
            }
        }
    }

    pub(crate) fn forget(&self, pod_uid: &str) {
        self.backoff.lock().forget_prefix(pod_uid);
        self.failures.lock().retain(|key, _| !key.starts_with(pod_uid));
    }
}

/// Failures for which the interface has words of its own.
fn known(image: &str, error: &crate::cri::Error) -> (&'static str, String) {
    for (reason, sentence) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = error.message.strip_prefix(reason) {
            return (reason, format!("image pull failed for {image} because {sentence}{rest}"));
        }
    }
    ("ErrImagePull", error.to_string())
}

/// A length of time in milliseconds as Go prints it: `312ms`, `1.25s`, `1m2.5s`.
fn milliseconds(length: Duration) -> String {
    let whole = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    machinery::duration::text(whole.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests;
