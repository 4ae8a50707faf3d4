//! Against serde_json for what is right, against Go's words for what is wrong.

use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn reads() {
    for text in [
        "null",
        " {} ",
        "[]",
        r#"{"a":[1,-2,3.5,1e3,true,false,null,"x\n\u00e4\ud83d\ude00\/"],"b":{"c":{}}}"#,
        "18446744073709551615",
        "-9223372036854775808",
        "\"\"",
    ] {
        let own = from_slice(text.as_bytes()).expect(text);
        assert_eq!(own.value, serde_json::from_str::<Value>(text).expect(text), "{text}");
        assert!(own.duplicates.is_empty());
    }
    assert_eq!(from_slice(br#""\ud800x""#).expect("lone surrogate").value, json!("\u{fffd}x"));
    assert_eq!(from_slice(b"\"\xff\"").expect("broken UTF-8").value, json!("\u{fffd}"));
}

#[test]
fn notices_duplicates() {
    let text = br#"{"a":1,"spec":{"c":[{},{"n":1,"n":2,"n":3}]},"a":2}"#;
    let read = from_slice(text).expect("valid");
    assert_eq!(read.duplicates, ["spec.c[1].n", "a"]);
    assert_eq!(read.value, json!({"a": 2, "spec": {"c": [{}, {"n": 3}]}}));
}

#[test]
fn refuses_in_go_s_words() {
    for (text, want) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("\"a", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
        ("-", "unexpected end of JSON input"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("\"\n\"", "invalid character '\\n' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
    ] {
        assert_eq!(from_slice(text.as_bytes()).map(|d| d.value), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
    assert!(from_slice(&deep(MAX_DEPTH)).is_ok());
    assert_eq!(from_slice(&deep(MAX_DEPTH + 1)).unwrap_err(), "exceeded max depth");
    assert_eq!(from_slice(&vec![b'['; 3 << 20]).unwrap_err(), "exceeded max depth");
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_slice(&bytes);
    }

    #[test]
    fn agrees_with_serde(text in r#"[\[\]{}":,a0-9.eE\\ntrue\-]{0,40}"#) {
        let theirs = serde_json::from_str::<Value>(&text);
        let own = from_slice(text.as_bytes());
        if let Ok(value) = theirs {
            prop_assert_eq!(own.map(|d| d.value), Ok(value));
        }
    }
}
