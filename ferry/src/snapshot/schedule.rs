//! `ferry snapshot schedule`: says or sets when `ferry up` takes snapshots by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use snapshots::schedule::Schedule;

use super::flags::{Encrypted, Output, Place};
use super::{save, scheduled};

/// Says when `ferry up` takes snapshots by itself; with flags, sets what they name and leaves the rest as it is.
#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    encrypted: Encrypted,
    #[command(flatten)]
    output: Output,
    /// When, as a CronJob's schedule; "0 0,12 * * *" by default
    #[arg(long)]
    cron: Option<String>,
    /// How many stay; five by default
    #[arg(long)]
    keep: Option<usize>,
    /// With the cluster's keys; needs --key-file or --passphrase-file
    #[arg(long)]
    with_keys: bool,
    /// With the content of this machine's volumes of the class local
    #[arg(long)]
    with_volumes: bool,
    /// Take none
    #[arg(long)]
    off: bool,
    /// Forget what was set, and begin with the defaults
    #[arg(long)]
    reset: bool,
}

pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: Set = component::flags::parse("ferry snapshot schedule", argv, &[])?;
    let json = flags.output.json()?;
    let data_dir = flags.place.data_dir.clone();
    if !data_dir.exists() {
        bail!("{} is not there: the schedule belongs to a cluster's data directory (--data-dir)", data_dir.display());
    }
    let file = scheduled::file(&data_dir);
    let before = if flags.reset { Schedule::default() } else { Schedule::read(&file)? };
    let schedule = set(before.clone(), &flags)?;
    if schedule != before || flags.reset {
        save::check_keys(schedule.with_keys, schedule.key_file.is_some() || schedule.passphrase_file.is_some(), false)?;
        // What the running cluster would find wrong at midnight is said now.
        let (key_file, passphrase_file) = (schedule.key_file.clone(), schedule.passphrase_file.clone());
        Encrypted { key_file, passphrase_file }.secret()?;
        scheduled::place(&schedule, &data_dir).target()?;
        schedule.write(&file)?;
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&schedule)?);
        return Ok(());
    }
    tell(&schedule, &data_dir);
    Ok(())
}

fn set(mut schedule: Schedule, flags: &Set) -> anyhow::Result<Schedule> {
    let changes = flags.cron.is_some()
        || flags.keep.is_some()
        || flags.with_keys
        || flags.with_volumes
        || flags.place.target.is_some()
        || flags.encrypted.key_file.is_some()
        || flags.encrypted.passphrase_file.is_some();
    if flags.off && changes {
        bail!("--off takes no snapshots: the other flags would change nothing");
    }
    schedule.enabled = if changes { true } else { schedule.enabled && !flags.off };
    let absolute =
        |path: &Option<PathBuf>| path.as_deref().map(std::path::absolute).transpose().context("a file's path");
    let place = &flags.place;
    if let Some(target) = &place.target {
        schedule.to = match target.contains("://") {
            true => Some(target.clone()),
            false => Some(std::path::absolute(target)?.display().to_string()),
        };
    }
    schedule.cron = flags.cron.clone().unwrap_or(schedule.cron);
    schedule.keep = flags.keep.unwrap_or(schedule.keep);
    schedule.s3_endpoint = place.s3_endpoint.clone().or(schedule.s3_endpoint);
    schedule.s3_region = place.s3_region.clone().or(schedule.s3_region);
    schedule.s3_credentials_file = absolute(&place.s3_credentials_file)?.or(schedule.s3_credentials_file);
    schedule.s3_ca_file = absolute(&place.s3_ca_file)?.or(schedule.s3_ca_file);
    schedule.key_file = absolute(&flags.encrypted.key_file)?.or(schedule.key_file);
    schedule.passphrase_file = absolute(&flags.encrypted.passphrase_file)?.or(schedule.passphrase_file);
    schedule.with_keys |= flags.with_keys;
    schedule.with_volumes |= flags.with_volumes;
    Ok(schedule)
}

fn tell(schedule: &Schedule, data_dir: &Path) {
    if !schedule.enabled {
        println!("no snapshots are taken by themselves");
        return;
    }
    let to = schedule.to.clone().unwrap_or_else(|| data_dir.join("snapshots").display().to_string());
    println!("{:?}: to {to}, the last {} kept{}", schedule.cron, schedule.keep, how(schedule));
    if let Some(next) = schedule.next(Timestamp::now(), &TimeZone::system()) {
        println!(
            "the next one at {}, while ferry up runs",
            next.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z")
        );
    }
}

fn how(schedule: &Schedule) -> String {
    let encrypted = schedule.key_file.is_some() || schedule.passphrase_file.is_some();
    let all = [
        (encrypted, ", encrypted"),
        (schedule.with_keys, ", with the cluster's keys"),
        (schedule.with_volumes, ", with local volumes"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect()
}
