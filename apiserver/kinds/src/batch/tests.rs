//! The faults of upstream's tests of jobs (`pkg/apis/batch/validation/validation_test.go`), and of cron jobs.

use expect_test::{Expect, expect};
use machinery::field::Path;
use model::check::said;
use serde_json::{Value, json};

use super::cronjob;
use crate::rules::{self, with};

mod changes;

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

#[test]
fn schedules_and_zones_are_what_the_controller_can_read() {
    let fault = |schedule: &str, zone: &str| {
        let spec = json!({"schedule": schedule, "timeZone": zone, "concurrencyPolicy": "Allow"});
        let said = said(&cronjob::spec(&spec, None, &Path::new("spec")));
        said.into_iter().filter(|said| !said.starts_with("spec.jobTemplate")).collect::<Vec<_>>()
    };
    assert_eq!(fault("0 4 * * 1", "Europe/Berlin"), Vec::<String>::new());
    let explicit = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
    assert_eq!(
        fault("60 * * * *", "local"),
        [
            "spec.schedule: Invalid value: \"60 * * * *\": end of range (60) above maximum (59): 60".to_owned(),
            format!("spec.timeZone: Invalid value: \"local\": {explicit}"),
            "spec.timeZone: Invalid value: \"local\": unknown time zone local".to_owned(),
        ]
    );
    let unknown = "spec.timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin";
    assert_eq!(fault("@daily", "europe/berlin"), [unknown]);
}

type Kind = (&'static str, &'static str, &'static str);
const JOB: Kind = ("batch", "v1", "Job");

fn job() -> Value {
    let labels = json!({"controller-uid": "1a2b3c", "job-name": "myjob", "batch.kubernetes.io/controller-uid": "1a2b3c", "batch.kubernetes.io/job-name": "myjob"});
    json!({"metadata": {"name": "myjob", "namespace": "ns", "uid": "1a2b3c"}, "spec": {"manualSelector": false,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "1a2b3c"}},
        "completionMode": "NonIndexed", "parallelism": 1, "completions": 1,
        "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "abc", "image": "image", "imagePullPolicy": "IfNotPresent", "terminationMessagePolicy": "File"}],
            "initContainers": [{"name": "def", "image": "image", "imagePullPolicy": "IfNotPresent", "terminationMessagePolicy": "File"}]}}}})
}

fn check(places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&rules::said(JOB, &with(&job(), places), None));
}

#[test]
fn generated_selectors() {
    check(&[], expect![[""]]);
    check(
        &[("/metadata/uid", Value::Null)],
        expect![[r#"
        metadata.uid: Required value
        spec.template.metadata.labels[controller-uid]: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"myjob"}: must be ''
        spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"myjob"}: must be ''
        spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"1a2b3c"}}: `selector` not auto-generated
    "#]],
    );
    check(
        &[("/spec/template/metadata/labels/job-name", json!("other"))],
        expect![[r#"
        spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"other"}: must be 'myjob'
    "#]],
    );
    check(
        &[("/spec/template/metadata/labels", json!({}))],
        expect![[r#"
        spec.template.metadata.labels[controller-uid]: Required value: must be '1a2b3c'
        spec.template.metadata.labels[job-name]: Required value: must be 'myjob'
        spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Required value: must be '1a2b3c'
        spec.template.metadata.labels[batch.kubernetes.io/job-name]: Required value: must be 'myjob'
        spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`
    "#]],
    );
    check(
        &[("/spec/selector", json!({"matchLabels": {"a": "b"}}))],
        expect![[r#"
        spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` not auto-generated
        spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"myjob"}: `selector` does not match template `labels`
    "#]],
    );
    check(
        &[("/spec/selector", Value::Null)],
        expect![[r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"myjob"}: `selector` does not match template `labels`
    "#]],
    );
    check(
        &[("/spec/manualSelector", json!(true)), ("/spec/selector", json!({"matchLabels": {"job-name": "myjob"}}))],
        expect![[""]],
    );
    check(
        &[("/spec/manualSelector", json!(true)), ("/spec/selector", json!({"matchLabels": {"a": "-b"}}))],
        expect![[r#"
        spec.selector.matchLabels: Invalid value: "-b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
    "#]],
    );
}

#[test]
fn counts_and_modes() {
    let negative = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
        .map(|field| (format!("/spec/{field}"), json!(-1)));
    let negative: Vec<(&str, Value)> = negative.iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
    check(
        &negative,
        expect![[r#"
        spec.parallelism: Invalid value: -1: must be greater than or equal to 0
        spec.completions: Invalid value: -1: must be greater than or equal to 0
        spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
        spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0
    "#]],
    );
    check(
        &[("/spec/managedBy", json!("UPPER/x")), ("/spec/completionMode", json!("Other"))],
        expect![[r#"
        spec.managedBy: Invalid value: "UPPER": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.completionMode: Unsupported value: "Other": supported values: "NonIndexed", "Indexed"
    "#]],
    );
    check(
        &[("/spec/managedBy", json!(format!("example.com/{}", "x".repeat(60))))],
        expect![[r#"
        spec.managedBy: Too long: may not be more than 63 bytes
    "#]],
    );
    check(
        &[("/spec/backoffLimitPerIndex", json!(-1)), ("/spec/maxFailedIndexes", json!(-1))],
        expect![[r#"
        spec.backoffLimitPerIndex: Invalid value: -1: must be greater than or equal to 0
        spec.maxFailedIndexes: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimitPerIndex: Invalid value: -1: requires indexed completion mode
        spec.maxFailedIndexes: Invalid value: -1: requires indexed completion mode
    "#]],
    );
    let indexed = ("/spec/completionMode", json!("Indexed"));
    check(
        &[indexed.clone(), ("/spec/completions", Value::Null), ("/spec/parallelism", json!(100_001))],
        expect![[r#"
        spec.completions: Required value: when completion mode is Indexed
        spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed
    "#]],
    );
    check(
        &[indexed.clone(), ("/spec/maxFailedIndexes", json!(2))],
        expect![[r#"
        spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified
        spec.maxFailedIndexes: Invalid value: 2: must be less than or equal to completions
    "#]],
    );
    check(
        &[
            indexed.clone(),
            ("/spec/completions", json!(200_000)),
            ("/spec/backoffLimitPerIndex", json!(1)),
            ("/spec/maxFailedIndexes", json!(100_001)),
            ("/spec/parallelism", json!(10_001)),
        ],
        expect![[r#"
        spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000
        spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index
        spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index
    "#]],
    );
    check(
        &[indexed.clone(), ("/spec/completions", json!(200_000)), ("/spec/backoffLimitPerIndex", json!(1))],
        expect![[r#"
        spec.maxFailedIndexes: Required value: must be specified when completions is above 100000
    "#]],
    );
    let long = "x".repeat(62);
    check(
        &[indexed, ("/metadata/name", json!(long)), ("/spec/selector", Value::Null)],
        expect![[r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"1a2b3c","batch.kubernetes.io/job-name":"myjob","controller-uid":"1a2b3c","job-name":"myjob"}: `selector` does not match template `labels`
        metadata.name: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": will not able to create pod with invalid DNS label: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-0
    "#]],
    );
    check(
        &[("/spec/podReplacementPolicy", json!("Other"))],
        expect![[r#"
        spec.podReplacementPolicy: Unsupported value: "Other": supported values: "Failed", "TerminatingOrFailed"
    "#]],
    );
    check(
        &[("/spec/template/spec/restartPolicy", json!("Always"))],
        expect![[r#"
        spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
    "#]],
    );
    check(
        &[("/spec/template/spec/restartPolicy", json!("Invalid"))],
        expect![[r#"
        spec.template.spec.restartPolicy: Unsupported value: "Invalid": supported values: "Always", "OnFailure", "Never"
        spec.template.spec.restartPolicy: Unsupported value: "Invalid": supported values: "OnFailure", "Never"
    "#]],
    );
}

#[test]
fn failure_policies() {
    let rules = |rules: Value| [("/spec/podFailurePolicy", json!({"rules": rules}))];
    let codes = |operator: &str, values: Value| json!({"operator": operator, "values": values});
    check(
        &rules(
            json!([{"action": "FailJob", "onExitCodes": {"containerName": "def", "operator": "In", "values": [1, 2, 3]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "Count", "onExitCodes": codes("NotIn", json!([0]))}]),
        ),
        expect![[""]],
    );
    check(
        &rules(
            json!([{}, {"action": "UnknownAction", "onExitCodes": {"containerName": "xyz"}}, {"action": "FailIndex", "onExitCodes": codes("UnknownOperator", json!([11, 11, 5]))},
            {"action": "Ignore", "onExitCodes": codes("In", json!([0])), "onPodConditions": [{"type": "", "status": ""}, {"type": "a", "status": "UnknownStatus"}]}]),
        ),
        expect![[r#"
            spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]
            spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required
            spec.podFailurePolicy.rules[1].action: Unsupported value: "UnknownAction": supported values: "Count", "FailIndex", "FailJob", "Ignore"
            spec.podFailurePolicy.rules[1].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]
            spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: "xyz": must be one of the container or initContainer names in the pod template
            spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: null: at least one value is required
            spec.podFailurePolicy.rules[2].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
            spec.podFailurePolicy.rules[2].onExitCodes.operator: Unsupported value: "UnknownOperator": supported values: "In", "NotIn"
            spec.podFailurePolicy.rules[2].onExitCodes.values[1]: Duplicate value: 11
            spec.podFailurePolicy.rules[2].onExitCodes.values: Invalid value: [11,11,5]: must be ordered
            spec.podFailurePolicy.rules[3].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator
            spec.podFailurePolicy.rules[3].onPodConditions[0].type: Invalid value: "": name part must be non-empty
            spec.podFailurePolicy.rules[3].onPodConditions[0].type: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.podFailurePolicy.rules[3].onPodConditions[0].status: Required value: valid values: ["False" "True" "Unknown"]
            spec.podFailurePolicy.rules[3].onPodConditions[1].status: Unsupported value: "UnknownStatus": supported values: "False", "True", "Unknown"
            spec.podFailurePolicy.rules[3]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported
        "#]],
    );
    let all: Vec<i64> = (1..=256).collect();
    check(
        &rules(json!([{"action": "Ignore", "onExitCodes": codes("In", json!(all))}])),
        expect![[r#"
        spec.podFailurePolicy.rules[0].onExitCodes.values: Too many: 256: must have at most 255 items
    "#]],
    );
    let rule = json!({"action": "Ignore", "onPodConditions": vec![json!({"type": "a", "status": "True"}); 21]});
    check(
        &rules(json!([rule])),
        expect![[r#"
        spec.podFailurePolicy.rules[0].onPodConditions: Too many: 21: must have at most 20 items
    "#]],
    );
    let rule = json!({"action": "Ignore", "onExitCodes": codes("In", json!([1]))});
    check(
        &rules(json!(vec![rule.clone(); 21])),
        expect![[r#"
        spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items
    "#]],
    );
    let mut places = rules(json!([rule])).to_vec();
    places.extend([
        ("/spec/template/spec/restartPolicy", json!("OnFailure")),
        ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
    ]);
    check(
        &places,
        expect![[r#"
        spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"
        spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified
    "#]],
    );
}

#[test]
fn success_policies() {
    let policy = |rules: Value| {
        [
            ("/spec/completionMode", json!("Indexed")),
            ("/spec/completions", json!(5)),
            ("/spec/successPolicy", json!({"rules": rules})),
        ]
    };
    check(
        &policy(json!([{"succeededCount": 4, "succeededIndexes": "0-2,4"}, {"succeededIndexes": "3"}])),
        expect![[""]],
    );
    check(
        &policy(json!([])),
        expect![[r#"
        spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified
    "#]],
    );
    check(
        &policy(
            json!([{}, {"succeededCount": -1}, {"succeededCount": 6}, {"succeededIndexes": "5"}, {"succeededIndexes": "1-x"}, {"succeededCount": 3, "succeededIndexes": "0-1"}]),
        ),
        expect![[r#"
            spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified
            spec.successPolicy.rules[1].succeededCount: Invalid value: -1: must be greater than or equal to 0
            spec.successPolicy.rules[2].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)
            spec.successPolicy.rules[3].succeededIndexes: Invalid value: "5": error parsing succeededIndexes: too large index: "5"
            spec.successPolicy.rules[4].succeededIndexes: Invalid value: "1-x": error parsing succeededIndexes: cannot convert string to integer for index: "x"
            spec.successPolicy.rules[5].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)
        "#]],
    );
    check(
        &policy(json!(vec![json!({"succeededCount": 1}); 21])),
        expect![[r#"
        spec.successPolicy.rules: Too many: 21: must have at most 20 items
    "#]],
    );
    check(
        &[("/spec/successPolicy", json!({"rules": [{"succeededCount": 1}]}))],
        expect![[r#"
        spec.successPolicy: Invalid value: {"rules":[{"succeededCount":1}]}: requires indexed completion mode
    "#]],
    );
}
