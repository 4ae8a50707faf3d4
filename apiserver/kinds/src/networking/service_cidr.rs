//! ServiceCIDRs: one range, or one of each IP family. A second may be added later; nothing else changes.

use api::internal;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

const IMMUTABLE: &str = "field is immutable";

/// ServiceCIDRs.
pub struct ServiceCidrs;

impl Strategy for ServiceCidrs {
    fn validate(&self, _: &WriteContext<'_>, object: &Value) -> ErrorList {
        ranges(object)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, object: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() { ErrorList::new() } else { update(object, old) }
    }
}

fn path() -> Path {
    Path::new("spec").child("cidrs")
}

fn ranges(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let given: Vec<&str> = object["spec"].texts("cidrs").collect();
    if given.is_empty() {
        errors.required(&path(), "at least one CIDR required");
        return errors;
    }
    if given.len() > 2 {
        let ty = api::schema::named("networking.v1", "ServiceCIDRSpec").expect("the table has the spec's type");
        let error = Error::invalid(&path(), Value::Null, "may only hold up to 2 values");
        errors.push(error.printed(&internal::show(&object["spec"], ty)));
        return errors;
    }
    for (i, cidr) in given.iter().enumerate() {
        errors.extend(names::cidr(&path().index(i), cidr));
    }
    let family = |cidr: &str| names::parse_cidr_sloppy(cidr).map(|(ip, _, _)| ip.is_ipv4());
    if let [a, b] = given[..]
        && family(a).is_some()
        && family(a) == family(b)
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&path(), given.clone(), detail);
    }
    errors
}

fn update(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (new, before): (Vec<&str>, Vec<&str>) =
        (object["spec"].texts("cidrs").collect(), old["spec"].texts("cidrs").collect());
    let changed = |i: usize| new[i] != before[i];
    match (new.len(), before.len()) {
        (a, b) if a == b => {
            for i in (0..a).filter(|i| changed(*i)) {
                errors.invalid(&path().index(i), new[i], IMMUTABLE);
            }
        }
        (2, 1) => {
            if changed(0) {
                errors.invalid(&path().index(0), new[0], IMMUTABLE);
            }
            errors.extend(ranges(object));
        }
        _ => errors.invalid(&path(), object["spec"].get("cidrs").cloned(), IMMUTABLE),
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn of(cidrs: Value) -> Value {
        json!({"metadata": {"name": "c"}, "spec": {"cidrs": cidrs}})
    }

    const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    const FAMILIES: &str = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";

    #[test]
    fn one_range_of_each_family() {
        let check = |cidrs: Value, want: &[String]| assert_eq!(said(&ranges(&of(cidrs))), want);
        for good in [json!(["192.168.0.0/24"]), json!(["fd00::/64"]), json!(["fd00::/64", "192.168.0.0/24"])] {
            check(good, &[]);
        }
        check(Value::Null, &["spec.cidrs: Required value: at least one CIDR required".into()]);
        check(
            json!(["10.0.0.0/8", "fd00::/64", "x"]),
            &[r#"spec.cidrs: Invalid value: {"CIDRs":["10.0.0.0/8","fd00::/64","x"]}: may only hold up to 2 values"#
                .into()],
        );
        check(json!(["192.168.0.0"]), &[format!("spec.cidrs[0]: Invalid value: \"192.168.0.0\": {NO_CIDR}")]);
        check(
            json!(["192.168.0.1/24", "FD00::/64"]),
            &[
                r#"spec.cidrs[0]: Invalid value: "192.168.0.1/24": must not have bits set beyond the prefix length"#
                    .into(),
                r#"spec.cidrs[1]: Invalid value: "FD00::/64": must be in canonical form ("fd00::/64")"#.into(),
            ],
        );
        check(
            json!(["192.168.0.0/24", "10.0.0.0/16"]),
            &[format!(r#"spec.cidrs: Invalid value: ["192.168.0.0/24","10.0.0.0/16"]: {FAMILIES}"#)],
        );
        check(json!(["192.168.0.0/24", "x"]), &[format!("spec.cidrs[1]: Invalid value: \"x\": {NO_CIDR}")]);
    }

    #[test]
    fn a_second_range_may_come_and_nothing_else_changes() {
        let check = |old: Value, new: Value, want: &[String]| assert_eq!(said(&update(&of(new), &of(old))), want);
        let (v4, v6) = ("192.168.0.0/24", "fd00:1234::/64");
        let at = |i: usize, cidr: &str| format!("spec.cidrs[{i}]: Invalid value: \"{cidr}\": field is immutable");
        check(json!([v4]), json!([v4]), &[]);
        check(json!([v4]), json!([v4, v6]), &[]);
        check(
            json!([v4, v6]),
            json!(["10.0.0.0/16", "fd00:abcd::/64"]),
            &[at(0, "10.0.0.0/16"), at(1, "fd00:abcd::/64")],
        );
        check(json!([v4]), json!(["10.0.0.0/16"]), &[at(0, "10.0.0.0/16")]);
        check(json!([v4]), json!(["10.0.0.0/16", v6]), &[at(0, "10.0.0.0/16")]);
        check(json!([v4, v6]), json!([v4]), &[format!(r#"spec.cidrs: Invalid value: ["{v4}"]: field is immutable"#)]);
        check(json!([v4, v6]), json!([v6, v4]), &[at(0, v6), at(1, v4)]);
        check(json!([v4]), json!([v4, "x"]), &[format!("spec.cidrs[1]: Invalid value: \"x\": {NO_CIDR}")]);
        check(
            json!([v4]),
            json!([v4, "10.0.0.0/16"]),
            &[format!(r#"spec.cidrs: Invalid value: ["{v4}","10.0.0.0/16"]: {FAMILIES}"#)],
        );
        check(json!([v4]), json!([]), &["spec.cidrs: Invalid value: []: field is immutable".into()]);
        check(
            json!([v4, v6]),
            json!([v4, v6, "172.16.0.0/24"]),
            &[format!(r#"spec.cidrs: Invalid value: ["{v4}","{v6}","172.16.0.0/24"]: field is immutable"#)],
        );
    }
}
