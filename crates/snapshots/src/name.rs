//! Names of snapshots: what a folder or a bucket tells of them without being read.
//!
//! `<label>-<cluster>-<time>-<revision>.ferrysnapshot`: who took it (`manual`, `scheduled`, or as it was named), the first eight
//! characters of the cluster's UID, so that clusters that share a bucket never prune each other's, and when.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Header;

/// What a snapshot's name ends with.
pub const ENDING: &str = ".ferrysnapshot";
/// What a snapshot is labelled that somebody takes.
pub const MANUAL: &str = "manual";
/// What a snapshot is labelled that the schedule takes.
pub const SCHEDULED: &str = "scheduled";
const TIME: &str = "%Y%m%dT%H%M%SZ";
const CLUSTER_CHARACTERS: usize = 8;

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts {
    /// Who took it.
    pub label: String,
    /// The beginning of the cluster's UID.
    pub cluster: String,
    /// When it was taken.
    pub time: Timestamp,
    /// The store's revision.
    pub revision: i64,
}

/// The name of a new snapshot.
pub fn of(label: &str, header: &Header) -> String {
    let time = header.time.parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    format!("{label}-{}-{}-{}{ENDING}", cluster(&header.cluster), time.strftime(TIME), header.revision)
}

/// How names tell a cluster.
pub fn cluster(uid: &str) -> &str {
    let known = uid.get(..CLUSTER_CHARACTERS).filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()));
    known.unwrap_or("unknown")
}

/// What a name says; `None` for other files.
pub fn parse(name: &str) -> Option<Parts> {
    let mut parts = name.strip_suffix(ENDING)?.rsplitn(4, '-');
    let revision = parts.next()?.parse().ok()?;
    let time = jiff::civil::DateTime::strptime(TIME, parts.next()?).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let cluster = parts.next()?.to_owned();
    let label = parts.next().filter(|label| is_label(label))?.to_owned();
    Some(Parts { label, cluster, time, revision })
}

/// Whether a text can be a label.
pub fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of() {
        let header = Header {
            cluster: "1a2b3c4d-0000-4000-8000-000000000000".into(),
            revision: 42,
            server_version: String::new(),
            time: "2026-11-30T12:00:05Z".into(),
            keys: 0,
            canonical: true,
            cluster_keys: false,
            volumes: String::new(),
            data_dir: String::new(),
            encryption: None,
        };
        let name = of("before-upgrade", &header);
        assert_eq!(name, "before-upgrade-1a2b3c4d-20261130T120005Z-42.ferrysnapshot");
        let parts = parse(&name).unwrap();
        assert_eq!((parts.label.as_str(), parts.cluster.as_str(), parts.revision), ("before-upgrade", "1a2b3c4d", 42));
        assert_eq!(parts.time.to_string(), header.time);
        for other in
            ["x", "a-b-c-1.ferrysnapshot", ".manual-1a2b3c4d-20261130T120005Z-42.ferrysnapshot", &name[1..][..9]]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(cluster(""), "unknown");
    }
}
