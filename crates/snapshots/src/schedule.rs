//! Snapshots that nobody has to think of: twice a day, the last five kept, until told otherwise.
//!
//! What is to be done is read from a file each time, and what has been done from the target: so it is level-triggered, goes on
//! after a restart, and makes up for a time that was slept through.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use component::Clock;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The name of the file in the data directory's folder of snapshots.
pub const FILE: &str = "schedule.json";
/// The file is looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// After a failure, and before what was missed while nothing ran is made up for: a cluster that starts has other things to do.
const LATER: SignedDuration = SignedDuration::from_mins(5);

/// When, how many, and where to. Secrets are named by their files and never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Schedule {
    /// Whether there are any.
    pub enabled: bool,
    /// When, as a CronJob's schedule: in this machine's time zone unless it names one.
    pub cron: String,
    /// So many stay.
    pub keep: usize,
    /// Where to: a folder, or `s3://bucket/prefix`; the folder of this file by default.
    pub to: Option<String>,
    /// Where the bucket is.
    pub s3_endpoint: Option<String>,
    /// The bucket's region.
    pub s3_region: Option<String>,
    /// A file with `AWS_ACCESS_KEY_ID=...` and the like, one a line; what is not in it is taken from the environment.
    pub s3_credentials_file: Option<PathBuf>,
    /// An authority for the endpoint's certificate.
    pub s3_ca_file: Option<PathBuf>,
    /// Encrypted with this key file.
    pub key_file: Option<PathBuf>,
    /// Encrypted with the passphrase in this file.
    pub passphrase_file: Option<PathBuf>,
    /// With the cluster's keys.
    pub with_keys: bool,
    /// With the local volumes of this machine.
    pub with_volumes: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            enabled: true,
            cron: "0 0,12 * * *".into(),
            keep: 5,
            to: None,
            s3_endpoint: None,
            s3_region: None,
            s3_credentials_file: None,
            s3_ca_file: None,
            key_file: None,
            passphrase_file: None,
            with_keys: false,
            with_volumes: false,
        }
    }
}

impl Schedule {
    /// What the file says; the default where there is none.
    ///
    /// # Errors
    /// It can't be read, or says what can't be.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let schedule: Self = match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            text => serde_json::from_slice(&text.with_context(|| file.display().to_string())?)
                .with_context(|| file.display().to_string())?,
        };
        schedule.check().with_context(|| file.display().to_string())?;
        Ok(schedule)
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> anyhow::Result<()> {
        let cron =
            machinery::cron::parse(&self.cron).map_err(|why| anyhow::anyhow!("schedule {:?}: {why}", self.cron))?;
        if cron.next(Timestamp::now(), &TimeZone::system()).is_none() {
            bail!("schedule {:?}: it is never due", self.cron);
        }
        if self.keep == 0 {
            bail!("none would be kept: keep one at least, or turn the schedule off");
        }
        if self.key_file.is_some() && self.passphrase_file.is_some() {
            bail!("a key file and a passphrase are one too many");
        }
        Ok(())
    }

    /// Writes the file, whole.
    ///
    /// # Errors
    /// It can't be followed, or can't be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        self.check()?;
        let folder = file.parent().context("the schedule has a folder")?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let temporary = file.with_extension("new");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, file))?;
        Ok(())
    }

    /// When the next one is due after that time.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        machinery::cron::parse(&self.cron).ok()?.next(after, zone)
    }
}

/// When to take the next one: `last` is when the last one was taken, `start` when this process began, `failed` when an attempt
/// failed last. A time before now means now.
pub fn due(
    schedule: &Schedule,
    last: Option<Timestamp>,
    start: Timestamp,
    failed: Option<Timestamp>,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let due = schedule.next(last.unwrap_or(start), zone)?;
    let later = |time: Timestamp| time.saturating_add(LATER).unwrap_or(Timestamp::MAX);
    let due = if due < start { later(start) } else { due };
    Some(failed.map_or(due, |failed| due.max(later(failed))))
}

/// What the schedule needs done.
pub trait Work: Send + Sync {
    /// When the last scheduled one was taken.
    fn last(&self, schedule: &Schedule) -> impl Future<Output = anyhow::Result<Option<Timestamp>>> + Send;

    /// Takes one, and lets go of those that are too many.
    fn take(&self, schedule: &Schedule) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Follows the schedule in a file until told to end.
pub async fn follow(file: &Path, work: &impl Work, clock: &Clock, stop: &CancellationToken) {
    let (start, mut failed, mut told) = (clock.now(), None, String::new());
    let mut known: Option<(Schedule, Option<Timestamp>)> = None;
    while !stop.is_cancelled() {
        let mut wait = LOOK;
        match step(file, work, clock, start, failed, &mut known).await {
            Ok(Some(next)) => {
                let left = Duration::try_from(clock.now().duration_until(next)).unwrap_or_default();
                wait = wait.min(left.max(Duration::from_millis(100)));
            }
            Ok(None) => {}
            Err(error) => {
                failed = Some(clock.now());
                let text = format!("{error:#}");
                // What goes on failing is said once.
                if text != told {
                    tracing::error!(error = text, "the scheduled snapshot failed; it is tried again every 5 minutes");
                    told = text;
                }
                stop.run_until_cancelled(tokio::time::sleep(Duration::try_from(LATER).unwrap_or(LOOK))).await;
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

/// Takes a snapshot if one is due; when the next one is.
async fn step(
    file: &Path,
    work: &impl Work,
    clock: &Clock,
    start: Timestamp,
    failed: Option<Timestamp>,
    known: &mut Option<(Schedule, Option<Timestamp>)>,
) -> anyhow::Result<Option<Timestamp>> {
    let schedule = Schedule::read(file)?;
    if !schedule.enabled {
        return Ok(None);
    }
    let last = match known.take().filter(|(of, _)| *of == schedule) {
        Some((_, last)) => last,
        None => work.last(&schedule).await?,
    };
    let zone = TimeZone::system();
    let Some(next) = due(&schedule, last, start, failed, &zone) else { return Ok(None) };
    if next > clock.now() {
        *known = Some((schedule, last));
        return Ok(Some(next));
    }
    let now = clock.now();
    work.take(&schedule).await?;
    *known = Some((schedule, Some(now)));
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slept_through_is_made_up_for_once_the_cluster_has_started() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let check = |last: Option<&str>, start: &str, failed: Option<&str>, expect: &str| {
            let due = due(&Schedule::default(), last.map(at), at(start), failed.map(at), &TimeZone::UTC);
            assert_eq!(due.map(|due| due.to_string()).as_deref(), Some(expect));
        };
        // A new cluster waits for the next time.
        check(None, "2026-11-30T10:00:00Z", None, "2026-11-30T12:00:00Z");
        check(Some("2026-11-30T12:00:01Z"), "2026-11-30T10:00:00Z", None, "2026-12-01T00:00:00Z");
        // One that was down at noon.
        check(Some("2026-11-30T00:00:01Z"), "2026-11-30T13:00:00Z", None, "2026-11-30T13:05:00Z");
        // One that was down for a week takes one, not fourteen.
        check(Some("2026-11-23T00:00:01Z"), "2026-11-30T13:00:00Z", None, "2026-11-30T13:05:00Z");
        check(
            Some("2026-11-30T00:00:01Z"),
            "2026-11-30T10:00:00Z",
            Some("2026-11-30T12:00:09Z"),
            "2026-11-30T12:05:09Z",
        );
    }

    #[test]
    fn a_file_says_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        assert_eq!(Schedule::read(&file).unwrap(), Schedule::default());
        let other = Schedule { cron: "@hourly".into(), keep: 24, ..Schedule::default() };
        other.write(&file).unwrap();
        assert_eq!(Schedule::read(&file).unwrap(), other);
        let said = |text: &str| {
            std::fs::write(&file, text).unwrap();
            format!("{:#}", Schedule::read(&file).unwrap_err())
        };
        assert!(said("{\"cron\": \"0 0 31 2 *\"}").ends_with("schedule \"0 0 31 2 *\": it is never due"));
        assert!(said("{\"keep\": 0}").contains("none would be kept"));
        assert!(said("{\"kep\": 5}").contains("unknown field `kep`"));
    }

    /// Counts what it is told to do.
    struct Counting(std::sync::Mutex<Vec<Timestamp>>, Clock);

    impl Work for Counting {
        async fn last(&self, _: &Schedule) -> anyhow::Result<Option<Timestamp>> {
            Ok(self.0.lock().unwrap().last().copied())
        }

        async fn take(&self, _: &Schedule) -> anyhow::Result<()> {
            self.0.lock().unwrap().push(self.1.now());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_takes_one_at_each_time_and_none_when_it_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        Schedule { cron: "TZ=UTC 0 0,12 * * *".into(), ..Schedule::default() }.write(&file).unwrap();
        let clock = Clock::with_tokio("2026-11-30T10:00:00Z".parse().unwrap());
        let (work, stop) = (Counting(Default::default(), clock.clone()), CancellationToken::new());
        let times = |work: &Counting| {
            let taken = work.0.lock().unwrap();
            taken.iter().map(|time| time.strftime("%dT%H:%M").to_string()).collect::<Vec<_>>()
        };
        let follow = async {
            follow(&file, &work, &clock, &stop).await;
        };
        let day = async {
            tokio::time::sleep(Duration::from_secs(27 * 3600)).await;
            assert_eq!(times(&work), ["30T12:00", "01T00:00", "01T12:00"]);
            Schedule { enabled: false, ..Schedule::default() }.write(&file).unwrap();
            tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
            assert_eq!(times(&work).len(), 3);
            stop.cancel();
        };
        tokio::join!(follow, day);
    }
}
