//! Hints by table: how many endpoints of which zones, what there was, and for which zones they are meant.

use serde_json::{Value, json};

use super::*;

fn node(name: &str, zone: &str, cpu: &str, ready: bool) -> Arc<Node> {
    let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
    let mut labels = json!({});
    if !zone.is_empty() {
        labels["topology.kubernetes.io/zone"] = json!(zone);
    }
    let status = json!({"conditions": [condition], "allocatable": {"cpu": cpu}});
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "status": status})).unwrap())
}

fn zones(of: &[(&str, &str)]) -> Zones {
    Zones::of(of.iter().map(|(zone, cpu)| node(zone, zone, cpu, true)))
}

/// Endpoints as `own zone > zone of the hint`; `!` stands before one that is not ready.
fn slice(name: &str, endpoints: &[&str]) -> EndpointSlice {
    let endpoint = |(i, text): (usize, &&str)| -> Value {
        let (ready, text) = (!text.starts_with('!'), text.trim_start_matches('!'));
        let (zone, hint) = text.split_once('>').map_or((text, None), |(zone, hint)| (zone, Some(hint)));
        let mut endpoint = json!({"addresses": [format!("10.0.0.{i}")], "conditions": {"ready": ready}});
        if !zone.is_empty() {
            endpoint["zone"] = json!(zone);
        }
        if let Some(hint) = hint {
            endpoint["hints"] = json!({"forZones": [{"name": hint}]});
        }
        endpoint
    };
    let endpoints: Vec<Value> = endpoints.iter().enumerate().map(endpoint).collect();
    serde_json::from_value(json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints})).unwrap()
}

fn print(slices: &[EndpointSlice]) -> String {
    let endpoint = |e: &Endpoint| {
        let hints = e.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
        let hint = hints.map_or(String::new(), |zones| format!(">{}", zones[0].name));
        format!("{}{}{hint}", if is_ready(e) { "" } else { "!" }, e.zone.as_deref().unwrap_or(""))
    };
    let slice = |s: &EndpointSlice| s.endpoints.iter().flatten().map(endpoint).collect::<Vec<_>>().join(" ");
    slices.iter().map(slice).collect::<Vec<_>>().join(" | ")
}

#[test]
fn endpoints_are_given_to_zones_by_their_processors() {
    let check = |zones: &Zones, create: &[&str], want: Result<&str, &str>| {
        let mut create = [slice("", create)];
        let hinted = zones.hint(&mut create, &mut vec![], &mut vec![]);
        assert_eq!(hinted.map(|_| print(&create)), want.map(str::to_owned).map_err(str::to_owned), "{create:?}");
    };
    let even = zones(&[("a", "1"), ("b", "1")]);
    check(&even, &["a", "b"], Ok("a>a b>b"));
    check(&even, &["a", "a"], Ok("a>b a>a"));
    check(&even, &["a", "a", "!a", "b", "b"], Ok("a>a a>a !a b>b b>b"));
    check(&even, &["a", "a", "a", "a"], Ok("a>b a>b a>a a>a"));
    check(&even, &["a"], Err("Insufficient number of endpoints (1 endpoints, 2 zones)"));
    check(&even, &["a", "", "b", "b"], Err("One or more endpoints do not have a zone specified"));
    let uneven = zones(&[("a", "3"), ("b", "1")]);
    check(&uneven, &["a", "a", "b", "b"], Ok("a>a a>a b>a b>b"));
    let three = zones(&[("a", "4"), ("b", "4"), ("c", "4")]);
    check(
        &three,
        &["a", "b", "b", "b"],
        Err("Unable to allocate minimum required endpoints to each zone without exceeding overload threshold \
             (4 endpoints, 3 zones)"),
    );
    let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    check(&zones(&[("a", "1")]), &["a", "a"], Err(why));
    check(&zones(&[("a", "1"), ("b", "0")]), &["a", "b"], Err(why));
}

#[test]
fn slices_stay_as_they_are_while_their_hints_do() {
    let check = |unchanged: &[&[&str]], kept: usize, updated: &str| {
        let slices = unchanged.iter().enumerate().map(|(i, of)| Arc::new(slice(&format!("s{i}"), of)));
        let (mut unchanged, mut update) = (slices.collect::<Vec<_>>(), vec![]);
        zones(&[("a", "1"), ("b", "1")]).hint(&mut [], &mut update, &mut unchanged).unwrap();
        assert_eq!((unchanged.len(), print(&update).as_str()), (kept, updated));
    };
    check(&[&["a>a", "b>b"], &["a>a", "b>b"]], 2, "");
    check(&[&["a>a", "b>b"], &["a", "b"]], 1, "a>a b>b");
    check(&[&["a>a", "b>gone"]], 0, "a>a b>b");
    check(&[&["a>a", "a>a"], &["a>a", "a>a"]], 1, "a>b a>b");
}

#[test]
fn nodes_that_serve_nothing_are_not_counted() {
    let mut control_plane = (*node("c", "c", "8", true)).clone();
    control_plane.metadata.labels.get_or_insert_default().insert(EXCLUDED[0].into(), String::new());
    let nodes =
        [node("a", "a", "1", true), node("b", "b", "3", true), node("x", "", "1", false), Arc::new(control_plane)];
    assert_eq!(Zones::of(nodes.into_iter()), Zones(Some([("a".to_owned(), 0.25), ("b".to_owned(), 0.75)].into())));
    assert_eq!(Zones::of([node("a", "a", "1", true), node("b", "", "1", true)].into_iter()), Zones(None));
}

#[test]
fn what_becomes_of_hints_is_told_when_it_changes() {
    let mut topology = Topology { zones: zones(&[("a", "1"), ("b", "1")]), ..Topology::default() };
    let key = Key::new("ns", "s");
    let hinted = |a: usize, b: usize| Outcome::Hinted([("a".to_owned(), a), ("b".to_owned(), b)].into());
    let said = |said: Option<Said>| said.map(|(kind, reason, message)| format!("{kind} {reason} {message}"));
    let enabled = "Normal TopologyAwareHintsEnabled Topology Aware Hints has been enabled, addressType: IPv4";
    let off = "Warning TopologyAwareHintsDisabled Topology Aware Hints has been disabled, addressType: IPv4";
    assert_eq!(said(topology.note(&key, "IPv4", hinted(2, 2))).as_deref(), Some(enabled));
    assert_eq!(said(topology.note(&key, "IPv4", hinted(2, 2))), None);
    assert_eq!(topology.overloaded(), []);
    topology.zones = zones(&[("a", "1"), ("b", "9")]);
    assert_eq!(topology.overloaded(), std::slice::from_ref(&key));
    assert_eq!(said(topology.note(&key, "IPv4", Outcome::Unwanted)).as_deref(), Some(off));
    assert_eq!(said(topology.note(&key, "IPv4", Outcome::Unwanted)), None);
    let impossible = said(topology.note(&key, "IPv6", Outcome::Impossible(NO_HINTS.to_owned())));
    let why = "Warning TopologyAwareHintsDisabled No hints allocated for zones, addressType: IPv6";
    assert_eq!(impossible.as_deref(), Some(why));
    assert_eq!(topology.overloaded(), []);
}

#[test]
fn the_older_annotation_goes_first() {
    let check = |annotations: Value, want: bool| {
        let service = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
        assert_eq!(is_wanted(&service), want, "{service:?}");
    };
    check(json!({"service.kubernetes.io/topology-mode": "Auto"}), true);
    check(json!({"service.kubernetes.io/topology-aware-hints": "auto"}), true);
    check(json!({"service.kubernetes.io/topology-mode": "Disabled"}), false);
    let both = json!({
        "service.kubernetes.io/topology-mode": "Auto", "service.kubernetes.io/topology-aware-hints": "Disabled",
    });
    check(both, false);
    check(json!({}), false);
}
