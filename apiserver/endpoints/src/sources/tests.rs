//! What becomes of several sources: whose a group's version is, and in which order groups are.

use kinds::catalogue::rows;
use model::resource::Resource;
use writes::{Changing, Rows};

use super::*;

/// The built-in kinds alone.
pub(crate) fn built_in() -> Sources {
    Sources::new([catalogue()])
}

fn catalogue() -> Arc<dyn Source> {
    Arc::new(BuiltIn::new(Arc::new(Rows::new(rows()))))
}

fn custom(rows: &[(&'static str, &'static str, &'static str)]) -> Changing {
    let row = |&(group, version, resource)| Resource::stored(group, version, resource, "Thing", resource).into();
    let custom = Changing::default();
    custom.store(Arc::new(Rows::new(rows.iter().map(row))));
    custom
}

fn names(sources: &Sources) -> Vec<String> {
    sources.groups().iter().map(|group| format!("{}: {}", group.name, group.versions.join(" "))).collect()
}

#[test]
fn a_groups_version_belongs_to_the_first_source_that_has_it() {
    let extra = [("apps", "v1", "things"), ("apps", "v9", "things"), ("a.example.com", "v1", "things")];
    let sources = Sources::new([catalogue(), Arc::new(Custom::new(custom(&extra)))]);
    let serves = |group, version, resource| sources.serves(group, version, resource);
    assert!(serves("apps", "v1", "deployments") && serves("apps", "v9", "things") && serves("", "v1", "pods"));
    assert!(!serves("apps", "v1", "things") && !serves("apps", "v9", "deployments") && !serves("", "v2", "pods"));
    let in_apps = sources.resources("apps", "v1").unwrap();
    assert!(in_apps.iter().all(|entry| entry.resource != "things"));
    assert_eq!(sources.resources("apps", "v9").unwrap().len(), 1);
    assert_eq!(sources.resources("apps", "v10"), None);
    assert!(names(&sources).contains(&"apps: v1 v9".to_owned()));
}

#[test]
fn groups_are_in_upstreams_order_and_custom_ones_by_name_after_them() {
    let extra = [("z.example.com", "v1", "a"), ("a.example.com", "v1beta1", "a"), ("a.example.com", "v1", "b")];
    let sources = Sources::new([Arc::new(Custom::new(custom(&extra))) as Arc<dyn Source>, catalogue()]);
    let names = names(&sources);
    assert_eq!(names[..4], ["apiregistration.k8s.io: v1", ": v1", "apps: v1", "events.k8s.io: v1"]);
    assert_eq!(names[names.len() - 2..], ["a.example.com: v1 v1beta1", "z.example.com: v1"]);
    assert!(names.contains(&"autoscaling: v2 v1".to_owned()));
}

#[test]
fn custom_resources_are_asked_for_anew_each_time() {
    let rows = custom(&[]);
    let sources = Sources::new([catalogue(), Arc::new(Custom::new(rows.clone()))]);
    assert!(!sources.serves("a.example.com", "v1", "things"));
    rows.store(custom(&[("a.example.com", "v1", "things")]).load_full());
    assert!(sources.serves("a.example.com", "v1", "things"));
    rows.store(Arc::default());
    assert!(!sources.serves("a.example.com", "v1", "things"));
}
