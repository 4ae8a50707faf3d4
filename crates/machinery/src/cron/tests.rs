//! What upstream's parser takes and refuses (its own tests and `pkg/util/parsers`), and when schedules are due.

use super::*;

#[test]
fn what_upstream_takes() {
    for good in [
        "* * * * *",
        "*/5 0-6 1,15 jan-mar MON",
        "0 0 31 12 6",
        "0 0 31 2 *",
        "@hourly",
        "@every 1h30m",
        "@every -5s",
        "5/15 * * * ?",
        "1,,2 * * * *",
        "+1 * * * *",
        " 0 \t 0 * * * ",
        "TZ=UTC 0 0 * * *",
        "TZ= 0 0 * * *",
        "TZ=Local 0 0 * * *",
        "CRON_TZ=America/New_York 0 0 * * *",
        "TZ=America/New_York   @daily",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
    }
}

#[test]
fn what_upstream_refuses_in_its_words() {
    for (bad, why) in [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* 24 * * *", "end of range (24) above maximum (23): 24"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("* * * mon *", "failed to parse int from mon: strconv.Atoi: parsing \"mon\": invalid syntax"),
        ("-5 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
        (
            "9223372036854775808 * * * *",
            "failed to parse int from 9223372036854775808: strconv.Atoi: parsing \"9223372036854775808\": value out of range",
        ),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("@every", "unrecognized descriptor: @every"),
        ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
        ("TZ=0", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        ("TZ=Invalid/Zone * * * * *", "provided bad location Invalid/Zone: unknown time zone Invalid/Zone"),
        ("TZ=Etc/Unknown * * * * *", "provided bad location Etc/Unknown: unknown time zone Etc/Unknown"),
        ("TZ=../etc * * * * *", "provided bad location ../etc: time: invalid location name"),
        ("TZ=europe/berlin * * * * *", "provided bad location europe/berlin: unknown time zone europe/berlin"),
    ] {
        assert_eq!(parse(bad), Err(why.to_owned()), "{bad}");
    }
}

/// Times with their offset, which say where the clocks are.
fn check(schedule: &str, after: &str, due: &str) {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let got = parse(schedule).unwrap().next(at(after), &TimeZone::UTC);
    let due = (!due.is_empty()).then(|| at(due));
    assert_eq!(got, due, "{schedule} after {after}");
}

#[test]
fn the_next_time_of_upstreams_tests() {
    for (schedule, after, due) in [
        ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T14:59:00Z", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T14:59:59.999999999Z", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("*/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T23:45:00Z", "2012-07-10T00:20:00Z"),
        ("20-35/15 1/2 * * *", "2012-07-09T23:45:00Z", "2012-07-10T01:20:00Z"),
        ("20-35/15 10-12 * * *", "2012-07-09T23:45:00Z", "2012-07-10T10:20:00Z"),
        ("0 0 9 Apr-Oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("0 0 */5 Oct Mon", "2012-07-09T23:35:00Z", "2012-10-01T00:00:00Z"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
        ("0 0 * Feb Mon/2", "2012-07-09T23:35:00Z", "2013-02-01T00:00:00Z"),
        ("@every 15m", "2012-07-09T14:45:00.5Z", "2012-07-09T15:00:00Z"),
        ("@every 35m", "2012-07-09T14:45:00Z", "2012-07-09T15:20:00Z"),
        ("@every 2ms", "2012-07-09T14:45:00Z", "2012-07-09T14:45:01Z"),
        ("@every 1m1.9s", "2012-07-09T14:45:00Z", "2012-07-09T14:46:01Z"),
        ("0 0 29 2 ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
        ("0 0 30 Feb ?", "2012-07-09T23:35:00Z", ""),
        ("0 0 31 Apr ?", "2012-07-09T23:35:00Z", ""),
        (", * * * *", "2012-07-09T23:35:00Z", ""),
        ("@yearly", "2012-07-09T23:35:00Z", "2013-01-01T00:00:00Z"),
        ("@monthly", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("@weekly", "2012-07-09T23:35:00Z", "2012-07-15T00:00:00Z"),
        ("@hourly", "2012-07-09T23:00:00Z", "2012-07-10T00:00:00Z"),
    ] {
        check(schedule, after, due);
    }
}

#[test]
fn clocks_that_are_put_forward_or_back() {
    let new_york = |rest: &str| format!("TZ=America/New_York {rest}");
    for (schedule, after, due) in [
        // Half past two is skipped.
        (new_york("30 2 11 Mar ?"), "2012-03-11T00:00:00-05:00", "2013-03-11T02:30:00-04:00"),
        (new_york("0 * * * ?"), "2012-03-11T00:00:00-05:00", "2012-03-11T01:00:00-05:00"),
        (new_york("0 * * * ?"), "2012-03-11T01:00:00-05:00", "2012-03-11T03:00:00-04:00"),
        (new_york("0 * * * ?"), "2012-03-11T03:00:00-04:00", "2012-03-11T04:00:00-04:00"),
        (new_york("0 1 * * ?"), "2012-03-11T00:00:00-05:00", "2012-03-11T01:00:00-05:00"),
        (new_york("0 1 * * ?"), "2012-03-11T01:00:00-05:00", "2012-03-12T01:00:00-04:00"),
        (new_york("0 2 * * ?"), "2012-03-11T00:00:00-05:00", "2012-03-12T02:00:00-04:00"),
        // One o'clock comes twice.
        (new_york("30 2 04 Nov ?"), "2012-11-04T00:00:00-04:00", "2012-11-04T02:30:00-05:00"),
        (new_york("45 1 04 Nov ?"), "2012-11-04T01:30:00-04:00", "2012-11-04T01:45:00-04:00"),
        (new_york("0 * * * ?"), "2012-11-04T00:00:00-04:00", "2012-11-04T01:00:00-04:00"),
        (new_york("0 * * * ?"), "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        (new_york("0 * * * ?"), "2012-11-04T01:00:00-05:00", "2012-11-04T02:00:00-05:00"),
        (new_york("0 1 * * ?"), "2012-11-04T00:00:00-04:00", "2012-11-04T01:00:00-04:00"),
        (new_york("0 1 * * ?"), "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        (new_york("0 1 * * ?"), "2012-11-04T01:00:00-05:00", "2012-11-05T01:00:00-05:00"),
        (new_york("0 0 * * ?"), "2012-11-04T00:00:00-04:00", "2012-11-05T00:00:00-05:00"),
        (new_york("@every 1h"), "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        // Midnight is skipped.
        ("TZ=America/Sao_Paulo 0 9 10 * ?".into(), "2018-10-17T05:00:00-03:00", "2018-11-10T09:00:00-02:00"),
        ("TZ=America/Sao_Paulo 0 9 29 Feb ?".into(), "2018-10-17T05:00:00-03:00", "2020-02-29T09:00:00-03:00"),
        ("TZ=America/Sao_Paulo 0 0 * * ?".into(), "2018-11-03T12:00:00-03:00", "2018-11-05T00:00:00-02:00"),
        ("TZ=Asia/Kolkata 14 14 * * *".into(), "2016-01-03T13:09:03+05:30", "2016-01-03T14:14:00+05:30"),
        ("TZ=Asia/Kolkata 14 14 * * ?".into(), "2016-01-03T14:14:00+05:30", "2016-01-04T14:14:00+05:30"),
    ] {
        check(&schedule, after, due);
    }
}

#[test]
fn without_a_zone_the_local_one_counts() {
    let schedule = parse("0 12 * * *").unwrap();
    let berlin = location("Europe/Berlin").unwrap().unwrap();
    let after: Timestamp = "2026-07-01T00:00:00Z".parse().unwrap();
    assert_eq!(schedule.next(after, &berlin), Some("2026-07-01T10:00:00Z".parse().unwrap()));
}
