//! Jobs' generated selectors, what may not change, schedules.

use machinery::field::Path;
use model::check::said;
use serde_json::json;

use super::cronjob;

#[test]
fn schedules() {
    for good in ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "0 0 31 12 6", "@hourly", "@every 1h30m", "5/15 * * * ?"] {
        assert_eq!(cronjob::check_schedule(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
    ] {
        assert_eq!(cronjob::check_schedule(bad), Err(why.to_owned()), "{bad}");
    }
}

#[test]
fn cron_specs() {
    let template = json!({"spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
        "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}});
    let spec = json!({"schedule": "TZ=UTC * * * * *", "timeZone": "Mars/../x", "concurrencyPolicy": "Maybe",
        "jobTemplate": {"spec": {"template": template, "parallelism": -1}}});
    assert_eq!(
        said(&cronjob::spec(&spec, None, &Path::new("spec"))),
        [
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            "spec.timeZone: Invalid value: \"Mars/../x\": unknown time zone Mars/../x",
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            "spec.jobTemplate.spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ]
    );
}
