//! Which snapshots go. Those of one cluster and one label are counted together, so that a schedule never takes away what
//! somebody kept by hand, nor another cluster's in the same bucket.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::name::{self, Parts};

/// Which of these names go when the newest `keep` of each cluster and label stay. With a label only its own go. Names that
/// are no snapshot's never go.
pub fn prune<'n>(
    names: impl IntoIterator<Item = &'n str>,
    keep: usize,
    label: Option<&str>,
    cluster: Option<&str>,
) -> Vec<&'n str> {
    let mut groups: BTreeMap<(String, String), Vec<(Parts, &str)>> = BTreeMap::new();
    for name in names {
        let Some(parts) = name::parse(name) else { continue };
        if label.is_none_or(|label| label == parts.label) && cluster.is_none_or(|cluster| cluster == parts.cluster) {
            groups.entry((parts.cluster.clone(), parts.label.clone())).or_default().push((parts, name));
        }
    }
    let mut gone = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by_key(|(parts, _)| Reverse((parts.time, parts.revision)));
        gone.extend(group.into_iter().skip(keep).map(|(_, name)| name));
    }
    gone.sort_unstable();
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_others_are_not_touched() {
        let names = [
            "scheduled-aaaaaaaa-20261128T000000Z-10.ferrysnapshot",
            "scheduled-aaaaaaaa-20261129T000000Z-20.ferrysnapshot",
            "scheduled-aaaaaaaa-20261130T000000Z-30.ferrysnapshot",
            "manual-aaaaaaaa-20261101T000000Z-1.ferrysnapshot",
            "scheduled-bbbbbbbb-20261101T000000Z-1.ferrysnapshot",
            "schedule.json",
            "holiday.jpg",
        ];
        let check = |keep, label, cluster, expect: &[&str]| {
            assert_eq!(prune(names, keep, label, cluster), expect, "{keep} {label:?} {cluster:?}");
        };
        check(2, Some("scheduled"), None, &[names[0]]);
        check(1, None, None, &[names[0], names[1]]);
        check(0, None, Some("aaaaaaaa"), &[names[3], names[0], names[1], names[2]]);
        check(5, None, None, &[]);
    }
}
