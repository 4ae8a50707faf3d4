//! `syncClaim`: upstream's sets 1, 2, 3, 11, 13 and 14, and the default class that comes late.

use super::*;

/// What is there before the claim `c` is looked at and after it, and what is said.
fn check(before: &str, after: &str, said: &[&str]) {
    check_with(&[class("wait", "", json!({"volumeBindingMode": "WaitForFirstConsumer"}))], before, after, said);
}

fn check_with(classes: &[Arc<StorageClass>], before: &str, after: &str, said: &[&str]) {
    let mut server = Server { classes: classes.to_vec(), ..Server::new(before) };
    server.sync_claim("c");
    server.is(after, said);
}

const NOTHING: &[&str] = &["Normal FailedBinding"];

#[test]
fn set_1_a_claim_takes_the_best_volume() {
    let bound = "volume v 1Gi Bound claim=c uid=c-uid by-us
        claim c 1Gi Bound volume=v has=1Gi by-us completed";
    check("volume v 1Gi Available\nclaim c 1Gi Pending", bound, &[]);
    let none = "volume v 1Gi Available\nclaim c 10Gi Pending";
    check(none, none, NOTHING);
    check("volume v 1Gi Available\nclaim c 10Gi Bound has=10Gi", none, NOTHING);
    check(
        "volume v1 10Gi Available\nvolume v2 1Gi Available\nclaim c 1Gi Pending",
        "volume v1 10Gi Available\nvolume v2 1Gi Bound claim=c uid=c-uid by-us
        claim c 1Gi Bound volume=v2 has=1Gi by-us completed",
        &[],
    );
    // Reserved by name, and by UID too.
    for uid in ["", "uid=c-uid"] {
        check(
            &format!("volume v1 10Gi Available claim=c {uid}\nvolume v2 1Gi Available\nclaim c 1Gi Pending"),
            "volume v1 10Gi Bound claim=c uid=c-uid\nvolume v2 1Gi Available
            claim c 1Gi Bound volume=v1 has=10Gi by-us completed",
            &[],
        );
    }
    let another = "volume v 10Gi Available claim=c uid=other\nclaim c 1Gi Pending";
    check(another, another, NOTHING);
    // Killed after each of the writes.
    check("volume v 1Gi Available claim=c uid=c-uid by-us\nclaim c 1Gi Pending", bound, &[]);
    check("volume v 1Gi Bound claim=c uid=c-uid by-us\nclaim c 1Gi Pending", bound, &[]);
    let claimed = "volume v 1Gi Bound claim=c uid=c-uid by-us\nclaim c 1Gi Pending volume=v by-us completed";
    check(claimed, bound, &[]);
    check(bound, bound, &[]);
}

#[test]
fn set_1_selectors_modes_phases_and_classes_that_wait() {
    check(
        "volume v 1Gi Available label=x\nclaim c 1Gi Pending label=x",
        "volume v 1Gi Bound claim=c uid=c-uid label=x by-us\nclaim c 1Gi Bound volume=v label=x has=1Gi by-us completed",
        &[],
    );
    let unlike = "volume v 1Gi Available\nclaim c 1Gi Pending label=x";
    check(unlike, unlike, NOTHING);
    let waits = "volume v 1Gi Available class=wait\nclaim c 1Gi Pending class=wait";
    check(waits, waits, &["Normal WaitForFirstConsumer"]);
    let node = "claim c 1Gi Pending class=wait node=n1";
    for (uid, claim) in [("", "claim c 1Gi Pending class=wait"), ("uid=c-uid", node)] {
        let after =
            claim.replace("Pending", "Bound volume=v").replace("class=wait", "class=wait has=1Gi by-us completed");
        check(
            &format!("volume v 1Gi Available claim=c {uid} class=wait\n{claim}"),
            &format!("volume v 1Gi Bound claim=c uid=c-uid class=wait\n{after}"),
            &[],
        );
    }
    for phase in ["Pending", "Failed", "Released", "-"] {
        let unavailable = format!("volume v 1Gi {phase}\nclaim c 1Gi Pending");
        check(&unavailable, &unavailable, NOTHING);
    }
}

#[test]
fn set_2_a_claim_that_names_its_volume_takes_no_other() {
    let bound = |volume: &str| format!("{volume}\nclaim c 1Gi Bound volume=v has=1Gi completed");
    check("claim c 10Gi Pending volume=v", "claim c 10Gi Pending volume=v", &[]);
    check("claim c 10Gi Bound volume=v has=10Gi", "claim c 10Gi Pending volume=v", &[]);
    let claim = "claim c 1Gi Pending volume=v";
    for (before, after) in [
        ("volume v 1Gi Available", "volume v 1Gi Bound claim=c uid=c-uid by-us"),
        ("volume v 1Gi Available claim=c", "volume v 1Gi Bound claim=c uid=c-uid"),
        ("volume v 1Gi Available claim=c uid=c-uid", "volume v 1Gi Bound claim=c uid=c-uid"),
    ] {
        check(&format!("{before}\n{claim}"), &bound(after), &[]);
    }
    check(
        "volume v1 10Gi Available\nvolume v2 1Gi Available\nclaim c 1Gi Pending volume=v1",
        "volume v1 10Gi Bound claim=c uid=c-uid by-us\nvolume v2 1Gi Available
        claim c 1Gi Bound volume=v1 has=10Gi completed",
        &[],
    );
    let others = "volume v 1Gi Bound claim=other uid=other-uid";
    check(
        &format!("{others}\nclaim c 1Gi Bound volume=v"),
        &format!("{others}\nclaim c 1Gi Pending volume=v"),
        &["Warning FailedBinding"],
    );
    let ours = format!("{others}\nclaim c 1Gi Bound volume=v by-us");
    let why = "fails: invalid binding of claim \"ns/c\" to volume \"v\": volume already claimed by \"ns/other\"";
    check(&ours, &ours, &["Warning FailedBinding", why]);
    // The selector is not asked.
    check(
        "volume v 1Gi Available\nclaim c 1Gi Pending volume=v label=x",
        "volume v 1Gi Bound claim=c uid=c-uid by-us\nclaim c 1Gi Bound volume=v label=x has=1Gi completed",
        &[],
    );
    check(
        "volume v 1Gi Available attributes=gold\nclaim c 1Gi Pending volume=v attributes=gold",
        "volume v 1Gi Bound claim=c uid=c-uid attributes=gold by-us
        claim c 1Gi Bound volume=v attributes=gold has-attributes=gold has=1Gi completed",
        &[],
    );
}

#[test]
fn set_2_a_named_volume_must_satisfy_the_claim() {
    let refused = |volume: &str, claim: &str, why: &str| {
        let mut server = Server::new(&format!("volume v {volume}\nclaim c {claim}"));
        server.sync_claim("c");
        server.is(&format!("volume v {volume}\nclaim c {claim}"), &["Warning VolumeMismatch"]);
        assert_eq!(server.messages, [format!("Cannot bind to requested volume \"v\": {why}")]);
    };
    refused("1Gi Available", "2Gi Pending volume=v", "requested PV is too small");
    refused("1Gi Available class=gold", "1Gi Pending volume=v", "storageClassName does not match");
    let why = "volumeAttributesClassName does not match";
    refused("1Gi Available attributes=gold", "1Gi Pending volume=v", why);
    refused("1Gi Available", "1Gi Pending volume=v attributes=gold", why);
    refused("1Gi Available mode=Block", "1Gi Pending volume=v mode=Filesystem", "incompatible volumeMode");
    refused("1Gi Available", "1Gi Pending volume=v access=ReadWriteMany", "incompatible accessMode");
    let leaving = "1Gi Available leaving=2026-01-01T00:00:00Z";
    refused(leaving, "1Gi Pending volume=v", "the volume is marked for deletion \"v\"");
}

#[test]
fn set_3_a_claim_that_was_bound_stays_bound_or_is_lost() {
    let lost = |before: &str, after: &str, reason: &str| {
        check(before, after, &[format!("Warning {reason}").as_str()]);
        check(after, after, &[]);
    };
    lost("claim c 1Gi Bound has=1Gi by-us completed", "claim c 1Gi Lost by-us completed", "ClaimLost");
    lost("claim c 1Gi Bound volume=v by-us completed", "claim c 1Gi Lost volume=v by-us completed", "ClaimLost");
    for other in ["volume v 1Gi Available claim=c uid=other", "volume v 1Gi Available claim=x uid=x-uid"] {
        let claim = |phase: &str| format!("{other}\nclaim c 1Gi {phase} volume=v completed");
        lost(&claim("Pending"), &claim("Lost"), "ClaimMisbound");
    }
    let bound = |volume: &str, claim: &str| format!("{volume}\nclaim c 1Gi Bound volume=v {claim}");
    for label in ["", " label=x"] {
        check(
            &format!("volume v 1Gi Available\nclaim c 1Gi Pending volume=v{label} by-us completed"),
            &bound(
                "volume v 1Gi Bound claim=c uid=c-uid by-us",
                format!("{label} has=1Gi by-us completed").trim_start(),
            ),
            &[],
        );
    }
    check(
        "volume v 1Gi Available claim=c uid=c-uid\nclaim c 1Gi Pending volume=v completed",
        &bound("volume v 1Gi Bound claim=c uid=c-uid", "has=1Gi completed"),
        &[],
    );
    // It is bound again if the volume comes back; its size is the file system's affair.
    check(
        "volume v 2Gi Bound claim=c uid=c-uid\nclaim c 1Gi Lost volume=v completed",
        "volume v 2Gi Bound claim=c uid=c-uid\nclaim c 1Gi Bound volume=v has=2Gi completed",
        &[],
    );
    let grown = "volume v 2Gi Bound claim=c uid=c-uid\nclaim c 2Gi Bound volume=v has=1Gi completed";
    check(grown, grown, &[]);
}

#[test]
fn set_11_a_provisioner_is_asked_for_a_volume() {
    let classes = [
        class("external", "vendor.com/v", json!({})),
        class("late", "vendor.com/late", json!({"volumeBindingMode": "WaitForFirstConsumer"})),
        class("internal", "kubernetes.io/unknown", json!({})),
        class("none", "kubernetes.io/no-provisioner", json!({"volumeBindingMode": "WaitForFirstConsumer"})),
        class("gce", "kubernetes.io/gce-pd", json!({})),
    ];
    let check = |before: &str, after: &str, said: &[&str]| check_with(&classes, before, after, said);
    let asked = |name: &str| format!("asked={name} asked-beta={name}");
    let external = format!("claim c 1Gi Pending class=external {}", asked("vendor.com/v"));
    check("claim c 1Gi Pending class=external", &external, &["Normal ExternalProvisioning"]);
    check(&external, &external, &["Normal ExternalProvisioning"]);
    let missing = "claim c 1Gi Pending class=missing";
    check(missing, missing, &["Warning ProvisioningFailed"]);
    let internal = "claim c 1Gi Pending class=internal";
    check(internal, internal, &["Warning ProvisioningFailed"]);
    // What a plugin of the past made is its driver's affair, which is asked under its own name.
    let driver = "pd.csi.storage.gke.io";
    let gce = format!("claim c 1Gi Pending class=gce {}", asked(driver));
    check("claim c 1Gi Pending class=gce", &gce, &["Normal ExternalProvisioning"]);
    let noted = "claim c 1Gi Pending class=gce asked=kubernetes.io/gce-pd";
    check(noted, &gce, &["Normal ExternalProvisioning"]);
    let of_old = "volume v 1Gi Bound claim=c uid=c-uid
        claim c 1Gi Bound volume=v has=1Gi completed asked=kubernetes.io/gce-pd";
    check(of_old, &format!("{of_old} migrated={driver}"), &[]);
    let stale = external.replace("class=external", "class=external migrated=x");
    check(&stale, &external, &["Normal ExternalProvisioning"]);
    // A volume that is there is taken, but not if the scheduler chose a node for one to be made.
    check(
        "volume v 1Gi Available class=external\nclaim c 1Gi Pending class=external",
        "volume v 1Gi Bound claim=c uid=c-uid class=external by-us
        claim c 1Gi Bound volume=v class=external has=1Gi by-us completed",
        &[],
    );
    let volume = "volume v 1Gi Available class=late";
    check(
        &format!("{volume}\nclaim c 1Gi Pending class=late node=n1"),
        &format!("{volume}\nclaim c 1Gi Pending class=late node=n1 {}", asked("vendor.com/late")),
        &["Normal ExternalProvisioning"],
    );
    let waits = format!("{volume}\nclaim c 1Gi Pending class=late");
    check(&waits, &waits, &["Normal WaitForFirstConsumer"]);
    let local = "claim c 1Gi Pending class=none node=n1";
    check(local, local, &["Warning ProvisioningFailed"]);
    check("claim c 1Gi Pending class=", "claim c 1Gi Pending", NOTHING);
}

#[test]
fn what_a_claim_waits_for_is_said() {
    let classes = || {
        let wait = json!({"volumeBindingMode": "WaitForFirstConsumer"});
        vec![class("late", "vendor.com/late", wait), class("external", "vendor.com/v", json!({}))]
    };
    let check = |claim: &str, pods: &[&str], want: &str| {
        let waiting_pods = pods.iter().map(|pod| (*pod).to_owned()).collect();
        let mut server = Server { classes: classes(), waiting_pods, ..Server::new(claim) };
        server.sync_claim("c");
        assert_eq!(server.messages, [want]);
    };
    let late = "claim c 1Gi Pending class=late";
    check(late, &[], "waiting for first consumer to be created before binding");
    check(late, &["p"], "waiting for pod p to be scheduled");
    check(late, &["p", "q"], "waiting for pods p,q to be scheduled");
    check("claim c 1Gi Pending", &[], "no persistent volumes available for this claim and no storage class is set");
    check("claim c 1Gi Pending class=x", &[], "storageclass.storage.k8s.io \"x\" not found");
    let asked = "Waiting for a volume to be created either by the external provisioner 'vendor.com/v' or manually by the \
        system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
        registered.";
    check("claim c 1Gi Pending class=external", &[], asked);
}

#[test]
fn set_13_and_14_classes_and_modes_are_kept_apart() {
    for (claim, of_claim) in [("class=gold", "class=gold"), ("", ""), ("class=", "")] {
        let (small, large) = if claim == "class=gold" { ("class=silver", "class=gold") } else { ("class=gold", "") };
        let spaced = |text: &str| if text.is_empty() { String::new() } else { format!(" {text}") };
        check(
            &format!("volume v1 1Gi Available {small}\nvolume v2 10Gi Available {large}\nclaim c 1Gi Pending {claim}"),
            &format!(
                "volume v1 1Gi Available {small}\nvolume v2 10Gi Bound claim=c uid=c-uid{} by-us
                claim c 1Gi Bound volume=v2{} has=10Gi by-us completed",
                spaced(large),
                spaced(of_claim)
            ),
            &[],
        );
    }
    for reserved in ["", " claim=c"] {
        for (volume, claim, fits) in [
            ("Block", "Block", true),
            ("Filesystem", "Filesystem", true),
            ("Filesystem", "Block", false),
            ("Block", "Filesystem", false),
        ] {
            let by_us = if reserved.is_empty() { " by-us" } else { "" };
            let before = format!("volume v 1Gi Available{reserved} mode={volume}\nclaim c 1Gi Pending mode={claim}");
            let after = format!(
                "volume v 1Gi Bound claim=c uid=c-uid mode={volume}{by_us}
                claim c 1Gi Bound volume=v mode={claim} has=1Gi by-us completed"
            );
            if fits { check(&before, &after, &[]) } else { check(&before, &before, NOTHING) }
        }
    }
    let gold = "volume v 1Gi Available class=gold mode=Filesystem\nclaim c 1Gi Pending class=gold mode=Block";
    check(gold, gold, &["Warning ProvisioningFailed"]);
}

#[test]
fn a_default_class_that_comes_late_is_taken() {
    let default = |name: &str, created: &str, annotation: &str| {
        let meta = json!({"name": name, "creationTimestamp": created, "annotations": {annotation: "true"}});
        class(name, "vendor.com/v", json!({"metadata": meta}))
    };
    let (v1, beta) =
        ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class");
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let plain = || class("plain", "vendor.com/v", json!({}));
    let check = |classes: &[Arc<StorageClass>], before: &str, after: &str, said: &[&str]| {
        check_with(classes, before, after, said);
    };
    let (before, after) = ("claim c 1Gi Pending", |name: &str| format!("claim c 1Gi Pending class={name}"));
    check(&[plain(), default("d", old, v1)], before, &after("d"), &[]);
    check(&[default("d", old, beta)], before, &after("d"), &[]);
    check(&[default("a", old, v1), default("b", new, v1), default("c", new, v1)], before, &after("b"), &[]);
    check(&[plain()], before, before, NOTHING);
    let mut none = Server { classes: vec![default("d", old, v1)], ..Server::new("claim c 1Gi Pending class=") };
    none.sync_claim("c");
    assert_eq!(none.said, NOTHING);
    // A volume without a class goes first.
    check(
        &[default("d", old, v1)],
        "volume v 1Gi Available\nclaim c 1Gi Pending",
        "volume v 1Gi Bound claim=c uid=c-uid by-us\nclaim c 1Gi Bound volume=v has=1Gi by-us completed",
        &[],
    );
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    let unset = json!({"volumeBindingMode": null});
    let claim = "claim c 1Gi Pending class=unset";
    let why = "fails: VolumeBindingMode not set for StorageClass \"unset\"";
    check_with(&[class("unset", "vendor.com/v", unset)], claim, claim, &[why]);
    let mut server = Server::new("volume v 1Gi Available\nclaim c 0 Pending volume=v");
    server.volumes.get_mut("v").unwrap().spec.as_mut().unwrap().capacity = None;
    server.sync_claim("c");
    assert_eq!(server.said, ["fails: PersistentVolume \"v\" is without a storage capacity"]);
    assert_eq!(server.claims["c"].spec.as_ref().unwrap().volume_name.as_deref(), Some("v"));
}

#[test]
fn a_volume_that_was_enlarged_says_what_its_file_system_has() {
    let check = |annotation: &str, want: &str| {
        let mut server = Server::new("volume v 2Gi Available claim=c\nclaim c 1Gi Pending");
        let meta = &mut server.volumes.get_mut("v").unwrap().metadata;
        volumes::annotations::set(meta, "volume.alpha.kubernetes.io/pre-resize-capacity", annotation);
        server.sync_claim("c");
        let status = server.claims["c"].status.clone().unwrap();
        assert_eq!(status.capacity.unwrap()["storage"].0, want);
    };
    check("1Gi", "1Gi");
    check("nonsense", "2Gi");
}
