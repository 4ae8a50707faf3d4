//! The schedule of snapshots, followed within `ferry up`: a task that reads what is wanted from a file in the data directory,
//! so that `ferry snapshot schedule` changes it while the cluster runs.

use std::path::{Path, PathBuf};

use component::{Clock, Supervisor};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use snapshots::schedule::{FILE, Schedule, Work, follow};
use snapshots::{name, retention};

use super::flags::{Encrypted, Place};
use super::take::{Wanted, take};

/// Follows the schedule of a data directory as long as the other parts run.
pub fn start(client: kube::Client, data_dir: &Path, parts: &Supervisor) {
    let work = Scheduled { client, data_dir: data_dir.to_owned() };
    parts.restarting("snapshot schedule", move |own| {
        let work = work.clone();
        async move { follow(&file(&work.data_dir), &work, &Clock::system(), &own.token()).await }
    });
}

/// The file with the schedule of a data directory.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots").join(FILE)
}

/// Where a schedule's snapshots are kept.
pub fn place(schedule: &Schedule, data_dir: &Path) -> Place {
    Place {
        target: schedule.to.clone(),
        data_dir: data_dir.to_owned(),
        s3_endpoint: schedule.s3_endpoint.clone(),
        s3_region: schedule.s3_region.clone(),
        s3_credentials_file: schedule.s3_credentials_file.clone(),
        s3_ca_file: schedule.s3_ca_file.clone(),
    }
}

#[derive(Clone)]
struct Scheduled {
    client: kube::Client,
    data_dir: PathBuf,
}

impl Scheduled {
    /// How names tell this cluster.
    async fn cluster(&self) -> anyhow::Result<String> {
        let namespaces: kube::Api<Namespace> = kube::Api::all(self.client.clone());
        let all = namespaces.list(&kube::api::ListParams::default().fields("metadata.name=kube-system")).await?;
        let uid = all.items.into_iter().next().and_then(|namespace| namespace.metadata.uid);
        Ok(name::cluster(&uid.unwrap_or_default()).to_owned())
    }
}

impl Work for Scheduled {
    async fn last(&self, schedule: &Schedule) -> anyhow::Result<Option<Timestamp>> {
        let cluster = self.cluster().await?;
        let entries = place(schedule, &self.data_dir).target()?.list().await?;
        let own = entries.iter().filter(|e| e.parts.cluster == cluster && e.parts.label == name::SCHEDULED);
        Ok(own.map(|entry| entry.parts.time).max())
    }

    async fn take(&self, schedule: &Schedule) -> anyhow::Result<()> {
        let place = place(schedule, &self.data_dir);
        let encrypted =
            Encrypted { key_file: schedule.key_file.clone(), passphrase_file: schedule.passphrase_file.clone() };
        let secret = encrypted.secret()?;
        super::save::check_keys(schedule.with_keys, secret.is_some(), false)?;
        let target = place.target()?;
        let taken = take(Wanted {
            client: self.client.clone(),
            data_dir: self.data_dir.clone(),
            target: target.clone(),
            folder: place.folder(),
            label: name::SCHEDULED.to_owned(),
            secret,
            with_keys: schedule.with_keys,
            with_volumes: schedule.with_volumes,
        })
        .await?;
        tracing::info!(place = taken.place, keys = taken.saved.totals.objects, "a scheduled snapshot is taken");
        let cluster = name::cluster(&taken.saved.header.cluster).to_owned();
        let entries = target.list().await?;
        let names = entries.iter().map(|entry| entry.name.as_str());
        for gone in retention::prune(names, schedule.keep, Some(name::SCHEDULED), Some(&cluster)) {
            target.delete(gone).await?;
        }
        Ok(())
    }
}
