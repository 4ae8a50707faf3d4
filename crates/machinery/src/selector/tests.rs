//! Tables taken from what upstream accepts, refuses and prints.

use super::*;
use serde_json::json;

#[test]
fn label_selectors_print_as_parsed() {
    for (input, printed) in [
        ("", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x==a", "x==a"),
        ("y,x", "x,y"),
        ("!x", "!x"),
        ("x in (c,a,b)", "x in (a,b,c)"),
        ("x notin ()", "x notin ()"),
        ("x notin (a,,b)", "x notin (,a,b)"),
        ("x=", "x="),
        ("x = , y", "x=,y"),
        ("x>1,z<5", "x>1,z<5"),
        ("in in (in, notin)", "in in (in,notin)"),
        (" a.b/c  in ( x ) ", "a.b/c in (x)"),
    ] {
        assert_eq!(LabelSelector::parse(input).map(|s| s.to_string()).as_deref(), Ok(printed), "{input}");
    }
}

#[test]
fn label_selectors_refuse_as_upstream() {
    for (input, message) in [
        (
            "x=a||y=b",
            "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        ("x,", "found '', expected: identifier after ','"),
        (",x", "found ',', expected: !, identifier, or 'end of string'"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x a", "unable to parse requirement: found 'a', expected: in, notin, =, ==, !=, gt, lt"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x=a b", "found 'b', expected: ',' or 'end of string'"),
        (
            "x>a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("x=(", "unable to parse requirement: found '(', expected: identifier"),
    ] {
        match LabelSelector::parse(input) {
            Err(e) => assert_eq!(e, message, "{input}"),
            Ok(s) => panic!("{input} was taken as {s}"),
        }
    }
    let error = LabelSelector::parse("a~").unwrap_err();
    assert!(error.starts_with("unable to parse requirement: <nil>: Invalid value: \"a~\": name part must"), "{error}");
}

#[test]
fn label_selectors_match() {
    let labels = json!({"x": "a", "n": "7"});
    for (selector, want) in [
        ("", true),
        ("x=a", true),
        ("x==b", false),
        ("x!=b", true),
        ("y!=b", true),
        ("y notin (a)", true),
        ("x in (a,b)", true),
        ("y in ()", false),
        ("x", true),
        ("!x", false),
        ("!y", true),
        ("n>6", true),
        ("n<7", false),
        ("x>1", false),
        ("x=a,n=8", false),
    ] {
        assert_eq!(LabelSelector::parse(selector).expect(selector).matches(&labels), want, "{selector}");
    }
}

#[test]
fn from_label_selector_objects() {
    let of = |v: Value| LabelSelector::from_value(Some(&v)).map(|s| s.to_string());
    assert_eq!(LabelSelector::from_value(None), Ok(LabelSelector::Nothing));
    assert!(LabelSelector::from_value(Some(&json!({}))).expect("valid").is_everything());
    assert_eq!(
        of(json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]})),
        Ok("a in (x,y),b=1,!c".to_owned())
    );
    assert_eq!(
        of(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})),
        Err("\"Near\" is not a valid label selector operator".to_owned())
    );
}

#[test]
fn field_selectors() {
    let fields = [("metadata.name", "a"), ("status.phase", "Running")];
    for (text, printed, matches) in [
        ("", "", true),
        ("metadata.name=a", "metadata.name=a", true),
        ("status.phase!=Running,metadata.name==a", "metadata.name=a,status.phase!=Running", false),
        ("spec.nodeName=", "spec.nodeName=", true),
        (r"metadata.name=a\,b\=\\", r"metadata.name=a\,b\=\\", false),
        (",,", "", true),
    ] {
        let selector = FieldSelector::parse(text).expect(text);
        assert_eq!(selector.to_string(), printed);
        assert_eq!(selector.matches(fields.as_slice()), matches, "{text}");
    }
    for (text, message) in [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err(), message);
    }
    assert_eq!(FieldSelector::parse("metadata.name=a").expect("valid").exact_match("metadata.name"), Some("a"));
}
