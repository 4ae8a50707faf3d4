//! `syncVolume`: upstream's sets 4, 6, 8 and 14, finalizers, and races of two writers.

use super::*;

/// What is there before the volume `v` is looked at and after it, and what is said and done.
fn check(before: &str, after: &str, said: &[&str]) {
    let mut server = Server::new(before);
    server.sync_volume("v");
    server.is(after, said);
}

#[test]
fn set_4_a_volume_is_offered_bound_or_given_back() {
    for reserved in ["", " claim=c"] {
        let offered = format!("volume v 1Gi Available{reserved}");
        check(&format!("volume v 1Gi Pending{reserved}"), &offered, &[]);
        check(&offered, &offered, &[]);
    }
    let released = "volume v 1Gi Released claim=c uid=c-uid";
    check("volume v 1Gi Bound claim=c uid=c-uid", released, &[]);
    check(released, released, &[]);
    // A claim of the same name is another one.
    let another = "claim c 1Gi Bound volume=v completed";
    check(
        &format!("volume v 1Gi Bound claim=c uid=old\n{another}"),
        &format!("volume v 1Gi Released claim=c uid=old\n{another}"),
        &[],
    );
    for by_us in ["", " by-us"] {
        let incomplete = format!("volume v 1Gi Bound claim=c uid=c-uid{by_us}\nclaim c 1Gi Pending");
        check(&incomplete, &incomplete, &["wakes c"]);
    }
    let policies = ["", " policy=Delete"];
    for policy in policies {
        let claim = "claim c 1Gi Bound volume=v";
        check(
            &format!("volume v 1Gi Available claim=c uid=c-uid{policy}\n{claim}"),
            &format!("volume v 1Gi Bound claim=c uid=c-uid{policy}\n{claim}"),
            &[],
        );
    }
    let elsewhere = "claim c 1Gi Bound volume=x";
    check(
        &format!("volume v 1Gi Bound claim=c uid=c-uid by-us\n{elsewhere}"),
        &format!("volume v 1Gi Available\n{elsewhere}"),
        &[],
    );
    check(
        &format!("volume v 1Gi Bound claim=c uid=c-uid\n{elsewhere}"),
        &format!("volume v 1Gi Available claim=c\n{elsewhere}"),
        &[],
    );
}

#[test]
fn set_8_a_volume_is_deleted_by_who_can() {
    let gone = "error_getting_deleter_volume_plugin_for_volume_\"v\":_no_volume_plugin_matched";
    let failed = format!("volume v 1Gi Failed claim=c uid=c-uid policy=Delete message={gone}");
    check("volume v 1Gi Available claim=c uid=c-uid policy=Delete", &failed, &["Warning VolumeFailedDelete"]);
    // It is tried again, and said once.
    check(&failed, &failed, &[]);
    let path = |phase: &str| format!("volume v 1Gi {phase} claim=c uid=c-uid policy=Delete path=/tmp/x");
    check(&path("Bound"), &path("Released"), &["deletes /tmp/x"]);
    check(&path("Failed"), &path("Failed"), &["deletes /tmp/x"]);
    let by = |phase: &str, maker: &str| format!("volume v 1Gi {phase} claim=c uid=c-uid policy=Delete {maker}");
    for external in ["path=/x made-by=ferry.dev/local", "driver=d", "path=/x migrated=d"] {
        check(&by("Bound", external), &by("Released", external), &[]);
    }
    // Two were made for one claim: the one that lost is deleted, if it was made for it.
    let elsewhere = "claim c 1Gi Bound volume=x";
    let made = |phase: &str| format!("{}\n{elsewhere}", by(phase, "path=/x made-by=vendor.com/v"));
    check(&made("Bound"), &made("Released"), &[]);
    let kept = "volume v 1Gi Bound claim=c uid=c-uid made-by=vendor.com/v";
    check(
        &format!("{kept}\n{elsewhere}"),
        &format!("volume v 1Gi Available claim=c made-by=vendor.com/v\n{elsewhere}"),
        &[],
    );
}

#[test]
fn set_6_a_volume_is_emptied_if_a_pod_can() {
    let recycle = |phase: &str, more: &str| format!("volume v 1Gi {phase} claim=c uid=c-uid policy=Recycle {more}");
    check(&recycle("Bound", "path=/tmp/x"), &recycle("Released", "path=/tmp/x"), &["recycles"]);
    let none = recycle("Failed", "message=No_recycler_plugin_found_for_the_volume!");
    check(&recycle("Bound", ""), &none, &["Warning VolumeFailedRecycle"]);
    let unknown = |phase: &str, more: &str| format!("volume v 1Gi {phase} claim=c uid=c-uid policy=Unknown{more}");
    check(
        &unknown("Bound", ""),
        &unknown("Failed", " message=Volume_has_unrecognized_PersistentVolumeReclaimPolicy"),
        &["Warning VolumeUnknownReclaimPolicy"],
    );
}

#[test]
fn set_14_modes_that_differ_are_said_to_both() {
    for (of_volume, of_claim, said) in [
        ("Filesystem", "Block", vec!["Warning VolumeMismatch", "Warning VolumeMismatch"]),
        ("Block", "Filesystem", vec!["Warning VolumeMismatch", "Warning VolumeMismatch"]),
        ("Block", "Block", vec!["wakes c"]),
        ("Filesystem", "Filesystem", vec!["wakes c"]),
    ] {
        let both = format!(
            "volume v 1Gi Available claim=c uid=c-uid mode={of_volume} by-us\nclaim c 1Gi Pending mode={of_claim}"
        );
        check(&both, &both, &said);
    }
}

#[test]
fn a_volume_has_the_finalizer_of_who_deletes_it() {
    const OURS: &str = "kubernetes.io/pv-controller";
    const THEIRS: &str = "external-provisioner.volume.kubernetes.io/finalizer";
    let check = |before: &str, after: &str| {
        check(&format!("volume v 1Gi Available {before}"), &format!("volume v 1Gi Available {after}"), &[])
    };
    let same = |volume: &str| check(volume, volume);
    same(&format!("policy=Delete finalizers={OURS}"));
    same(&format!("policy=Delete made-by=vendor.com/v finalizers={THEIRS}"));
    same("made-by=kubernetes.io/mock");
    check(
        "policy=Delete made-by=kubernetes.io/mock",
        &format!("policy=Delete made-by=kubernetes.io/mock finalizers={OURS}"),
    );
    check(
        &format!("policy=Delete migrated=x made-by=kubernetes.io/mock finalizers=a,{THEIRS}"),
        &format!("policy=Delete made-by=kubernetes.io/mock finalizers=a,{OURS}"),
    );
    check(&format!("made-by=kubernetes.io/mock finalizers={OURS}"), "made-by=kubernetes.io/mock");
    check(
        &format!("policy=Recycle made-by=kubernetes.io/mock finalizers={OURS}"),
        "policy=Recycle made-by=kubernetes.io/mock",
    );
    let gce = "migrated=pd.csi.storage.gke.io made-by=kubernetes.io/gce-pd";
    check(
        &format!("policy=Delete made-by=kubernetes.io/gce-pd finalizers={OURS},{THEIRS}"),
        &format!("policy=Delete {gce} finalizers={THEIRS}"),
    );
    same(&format!("policy=Delete {gce} finalizers={THEIRS}"));
}

#[test]
fn a_volume_is_released_if_its_claim_is_gone_or_elsewhere() {
    let check = |volume: &str, claim: Option<&str>, want| {
        let claim = claim.map(claim_from);
        assert_eq!(volume::is_released(&volume_of(volume), claim.as_ref()), want, "{volume} {claim:?}");
    };
    check("v 1Gi Available", None, false);
    check("v 1Gi Available claim=c", None, false);
    let bound = "v 1Gi Bound claim=c uid=c-uid";
    check(bound, None, true);
    check(bound, Some("c 1Gi Pending"), false);
    check(bound, Some("c 1Gi Bound volume=v"), false);
    check(bound, Some("c 1Gi Bound volume=x"), true);
    check("v 1Gi Bound claim=c uid=old", Some("c 1Gi Bound volume=v"), true);
}

#[test]
fn two_volumes_for_one_claim_end_with_one() {
    let mut server = Server::new(
        "volume v1 1Gi Bound claim=c uid=c-uid by-us\nvolume v2 1Gi Bound claim=c uid=c-uid by-us
        claim c 1Gi Bound volume=v1 has=1Gi by-us completed",
    );
    server.sync_claim("c");
    server.sync_volume("v2");
    server.sync_volume("v1");
    server.is(
        "volume v1 1Gi Bound claim=c uid=c-uid by-us\nvolume v2 1Gi Available
        claim c 1Gi Bound volume=v1 has=1Gi by-us completed",
        &[],
    );
}
