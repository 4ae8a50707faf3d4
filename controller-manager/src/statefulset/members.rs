//! Doing what was decided about a StatefulSet's pods and claims, with upstream's events.

use std::sync::Arc;

use anyhow::anyhow;
use controller::object_reference;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use super::{
    Shell, Written, claims, identity,
    sync::{Plan, Step},
};
use crate::util::{key, key::Key, pod_control::slow_start};

/// How often a pod is mended on a fresh copy before the key is retried.
const MEND_TRIES: usize = 4;

/// The members of one set.
pub(crate) struct Members<'a> {
    pub(crate) shell: &'a Shell,
    pub(crate) key: &'a Key,
    pub(crate) set: &'a StatefulSet,
}

impl Members<'_> {
    /// Carries out the plan. True if the pod that it replaces was deleted.
    pub(crate) async fn carry_out(&self, plan: &Plan) -> (bool, anyhow::Result<()>) {
        for phase in &plan.phases {
            let failure = match plan.in_order {
                true => self.one_by_one(phase).await.err(),
                false => slow_start(phase.len(), |i| self.steps(&phase[i])).await.1,
            };
            if let Some(error) = failure {
                return (false, Err(error));
            }
        }
        match &plan.replace {
            Some(pod) => {
                let deleted = self.delete(pod).await;
                (deleted.is_ok(), deleted)
            }
            None => (false, Ok(())),
        }
    }

    async fn one_by_one(&self, phase: &[Vec<Step>]) -> anyhow::Result<()> {
        for steps in phase {
            self.steps(steps).await?;
        }
        Ok(())
    }

    async fn steps(&self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            match step {
                Step::Create(pod) => self.create(pod).await?,
                Step::Delete(pod) => self.delete(pod).await?,
                Step::EnsureClaims(pod) => {
                    self.ensure_claims(pod).await?;
                    let settled = self.settle_claims(pod).await;
                    self.report_failure("Update", pod, settled)?;
                }
                Step::Mend(pod) => self.mend(pod).await?,
                Step::SettleClaims(pod) => self.settle_claims(pod).await?,
            }
        }
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.shell.context.client.clone(), &self.key.namespace)
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.shell.context.client.clone(), &self.key.namespace)
    }

    fn say(&self, kind: &str, reason: &str, message: String) {
        self.shell.context.recorder.event(&object_reference(self.set), kind, reason, message);
    }

    fn report(&self, verb: &str, pod: &Pod, failure: Option<&anyhow::Error>) {
        let (pod, set) = (key::name(&pod.metadata), &self.key.name);
        match failure {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.say("Normal", &format!("Successful{verb}"), message);
            }
            Some(error) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {}", words(error));
                self.say("Warning", &format!("Failed{verb}"), message);
            }
        }
    }

    fn report_failure<T>(&self, verb: &str, pod: &Pod, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.inspect_err(|error| self.report(verb, pod, Some(error)))
    }

    async fn create(&self, pod: &Pod) -> anyhow::Result<()> {
        let ensured = self.ensure_claims(pod).await;
        self.report_failure("Create", pod, ensured)?;
        let created = self.pods().create(&PostParams::default(), pod).await;
        if let Err(error) = &created
            && client::is_already_exists(error)
        {
            return created.map(drop).map_err(Into::into);
        }
        if let Ok(created) = &created {
            self.shell.written.note(self.key, Written::Pod as usize, &created.metadata);
        }
        let settled = self.settle_claims(pod).await;
        self.report_failure("Update", pod, settled)?;
        let created = created.map(drop).map_err(Into::into);
        self.report("Create", pod, created.as_ref().err());
        created
    }

    /// That it is gone already is as good.
    async fn delete(&self, pod: &Pod) -> anyhow::Result<()> {
        match self.pods().delete(key::name(&pod.metadata), &DeleteParams::default()).await {
            Err(error) if !client::is_not_found(&error) => {
                let error = error.into();
                self.report("Delete", pod, Some(&error));
                Err(error)
            }
            _ => {
                self.report("Delete", pod, None);
                Ok(())
            }
        }
    }

    async fn mend(&self, pod: &Arc<Pod>) -> anyhow::Result<()> {
        let mut pod = (**pod).clone();
        for attempt in 1.. {
            if !self.mended(&mut pod).await? {
                return Ok(());
            }
            let error = match self.pods().replace(key::name(&pod.metadata), &PostParams::default(), &pod).await {
                Ok(written) => {
                    self.shell.written.note(self.key, Written::Pod as usize, &written.metadata);
                    break;
                }
                Err(error) => error,
            };
            if attempt == MEND_TRIES || !client::is_conflict(&error) {
                let error = error.into();
                self.report("Update", &pod, Some(&error));
                return Err(error);
            }
            pod = self.pods().get(key::name(&pod.metadata)).await?;
        }
        self.report("Update", &pod, None);
        Ok(())
    }

    /// Makes the pod what it should be, and its claims. False if it was that already.
    async fn mended(&self, pod: &mut Pod) -> anyhow::Result<bool> {
        let ordinal = identity::ordinal(pod).unwrap_or(-1);
        let mut changed = false;
        if !identity::identity_matches(self.set, pod) {
            identity::update_identity(self.set, pod, ordinal);
            changed = true;
        }
        if !identity::storage_matches(self.set, pod) {
            identity::update_storage(self.set, pod, ordinal);
            changed = true;
            let ensured = self.ensure_claims(pod).await;
            self.report_failure("Update", pod, ensured)?;
        }
        if self.shell.claims_of(self.set, pod).any(|claim| !claims::owners_match(&claim, self.set, pod)) {
            let settled = self.settle_claims(pod).await;
            self.report_failure("Update", pod, settled)?;
            changed = true;
        }
        Ok(changed)
    }

    /// Makes the claims of the pod that are not there. All are tried; each failure is told.
    async fn ensure_claims(&self, pod: &Pod) -> anyhow::Result<()> {
        let mut failures = vec![];
        for claim in claims::wanted(self.set, identity::ordinal(pod).unwrap_or(-1)) {
            let name = key::name(&claim.metadata);
            match self.shell.claims.get(Some(&self.key.namespace), name) {
                Some(there) if there.metadata.deletion_timestamp.is_some() => {
                    failures.push(format!("pvc {name} is being deleted"));
                }
                Some(_) => {}
                None => {
                    if let Err(error) = self.create_claim(pod, &claim).await {
                        failures.push(format!("failed to create PVC {name}: {}", client::message(&error)));
                    }
                }
            }
        }
        match failures.as_slice() {
            [] => Ok(()),
            [only] => Err(anyhow!(only.clone())),
            _ => Err(anyhow!("[{}]", failures.join(", "))),
        }
    }

    async fn create_claim(&self, pod: &Pod, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let created = self.claims().create(&PostParams::default(), claim).await;
        let (claim, pod, set) = (key::name(&claim.metadata), key::name(&pod.metadata), &self.key.name);
        match created {
            Ok(created) => {
                self.shell.written.note(self.key, Written::Claim as usize, &created.metadata);
                let message = format!("Create Claim {claim} Pod {pod} in StatefulSet {set} success");
                self.say("Normal", "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if client::is_already_exists(&error) => Err(error),
            Err(error) => {
                let why = client::message(&error);
                let message = format!("Create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {why}");
                self.say("Warning", "FailedCreate", message);
                Err(error)
            }
        }
    }

    /// Gives the claims of the pod that are there the owners that the policy wants.
    async fn settle_claims(&self, pod: &Pod) -> anyhow::Result<()> {
        for claim in self.shell.claims_of(self.set, pod) {
            let name = key::name(&claim.metadata);
            if claims::has_other_controller(&claim, self.set, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                );
                self.say("Warning", "ConflictingController", message);
            }
            if claims::owners_match(&claim, self.set, pod) {
                continue;
            }
            let mut claim = (*claim).clone();
            claims::update_owners(&mut claim, self.set, pod);
            match self.claims().replace(name_of(&claim), &PostParams::default(), &claim).await {
                Ok(written) => self.shell.written.note(self.key, Written::Claim as usize, &written.metadata),
                Err(error) => {
                    let why = client::message(&error);
                    anyhow::bail!("could not update claim {} for delete policy ownerRefs: {why}", name_of(&claim));
                }
            }
        }
        Ok(())
    }
}

fn name_of(claim: &PersistentVolumeClaim) -> &str {
    key::name(&claim.metadata)
}

/// An error as Go's clients print it.
fn words(error: &anyhow::Error) -> String {
    error.downcast_ref().map_or_else(|| format!("{error:#}"), client::message)
}
