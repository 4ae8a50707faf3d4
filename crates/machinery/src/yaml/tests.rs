//! What kubectl reads and prints.

use super::*;
use serde_json::json;

#[test]
fn reads_as_kubectl() {
    for (text, want) in [
        ("a: 1\nb: [x, y]\n", json!({"a": 1, "b": ["x", true]})),
        ("a: yes\nb: on\nc: off\nd: No", json!({"a": true, "b": true, "c": false, "d": false})),
        ("a: 0644", json!({"a": 420})),
        ("a: 0x1F", json!({"a": 31})),
        ("a: 1.0\nb: 1.5\nc: 1e3", json!({"a": 1, "b": 1.5, "c": 1000})),
        ("a: 1e+3", json!({"a": 1000})),
        ("1: a\ntrue: b\n1.5: c\n", json!({"1": "a", "true": "b", "1.5": "c"})),
        ("a: ~\nb: null\nc:\n", json!({"a": null, "b": null, "c": null})),
        ("a: 2001-01-01\nb: 2001-01-01T00:00:00Z", json!({"a": "2001-01-01", "b": "2001-01-01T00:00:00Z"})),
        ("a: 1\na: 2\n", json!({"a": 2})),
        (
            "x: &a {k: v}\nw: *a\nz:\n  <<: *a\n  w: 1\n",
            json!({"x": {"k": "v"}, "w": {"k": "v"}, "z": {"k": "v", "w": 1}}),
        ),
        ("a: |\n  line\n  two\n", json!({"a": "line\ntwo\n"})),
        ("a: >-\n  line\n  two\n", json!({"a": "line two"})),
        ("a: \"1\"\nb: '2'", json!({"a": "1", "b": "2"})),
        ("# nothing\n", json!(null)),
        ("", json!(null)),
        ("---\na: 1\n---\nb: 2\n", json!({"a": 1})),
        ("a: 12345678901234567890", json!({"a": 12345678901234567890u64})),
        ("{\"a\": [1, {\"b\": null}]}", json!({"a": [1, {"b": null}]})),
        ("a: 1_000", json!({"a": 1000})),
        ("cmd: echo hi # comment\nurl: http://x:80/", json!({"cmd": "echo hi", "url": "http://x:80/"})),
    ] {
        assert_eq!(to_json(text.as_bytes()), Ok(want), "{text}");
    }
}

#[test]
fn strict_tells_duplicates() {
    let (value, fault) = to_json_strict(b"a: 1\nb:\n  c: 1\n  c: 2\n").expect("valid");
    assert_eq!(value, json!({"a": 1, "b": {"c": 2}}));
    assert_eq!(fault.as_deref(), Some("yaml: unmarshal errors:\n  line 4: key \"c\" already set in map"));
    assert_eq!(to_json_strict(b"a: 1\n").expect("valid").1, None);
}

#[test]
fn refuses_bombs_and_nonsense() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..12 {
        let previous = format!("*a{}", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![previous; 10].join(","));
    }
    assert!(to_json(bomb.as_bytes()).is_err());
    assert!(to_json("[".repeat(100_000).as_bytes()).is_err());
    for text in ["a: [", "a: b: c", "a: 'x", "? [a]\n: b"] {
        let error = to_json(text.as_bytes()).unwrap_err();
        assert!(error.starts_with("error converting YAML to JSON: yaml: "), "{error}");
    }
}

#[test]
fn prints_as_kubectl() {
    let value = json!({
        "apiVersion": "v1",
        "empty": {"list": [], "map": {}, "none": null, "text": ""},
        "list": ["a", {"b": 1, "a": [1, [2, 3]]}, {}],
        "strings": {
            "bool": "yes", "num": "1", "float": "1.5", "time": "2024-01-01T00:00:00Z", "date": "2024-01-01",
            "colon": "a: b", "url": "http://x:80/y", "hash": "a #b", "star": "*", "dash": "- a", "brace": "{a}",
            "quote": "it's", "dquote": "say \"x\"", "lead": " x", "tab": "a\tb", "multi": "a\nb\n", "chomp": "a\nb",
            "keep": "a\n\n", "emoji": "\u{1F600}", "umlaut": "ä", "sexagesimal": "12:30", "cpu": "100m", "version": "1.2.3",
            "n": "n", "tilde": "~", "spaces": "a b c", "percent": "%d", "at": "@x", "question": "?", "e": "1e3"
        },
        "a10": 1, "a9": 1.5, "A": true,
    });
    assert_eq!(
        from_json(&value),
        r#"A: true
a9: 1.5
a10: 1
apiVersion: v1
empty:
  list: []
  map: {}
  none: null
  text: ""
list:
- a
- a:
  - 1
  - - 2
    - 3
  b: 1
- {}
strings:
  at: '@x'
  bool: "yes"
  brace: '{a}'
  chomp: |-
    a
    b
  colon: 'a: b'
  cpu: 100m
  dash: '- a'
  date: "2024-01-01"
  dquote: say "x"
  e: "1e3"
  emoji: "\U0001F600"
  float: "1.5"
  hash: 'a #b'
  keep: |+
    a

  lead: ' x'
  multi: |
    a
    b
  "n": "n"
  num: "1"
  percent: '%d'
  question: '?'
  quote: it's
  sexagesimal: "12:30"
  spaces: a b c
  star: '*'
  tab: "a\tb"
  tilde: "~"
  time: "2024-01-01T00:00:00Z"
  umlaut: ä
  url: http://x:80/y
  version: 1.2.3
"#
    );
    assert_eq!(to_json(from_json(&value).as_bytes()), Ok(value));
}

#[test]
fn streams() {
    let text = "# head\n---\na: 1\n--- # second\nb: 2\n---\n# only a comment\n---\n---\nc: |\n  x\n";
    assert_eq!(documents(text).map(str::trim).collect::<Vec<_>>(), ["a: 1", "b: 2", "c: |\n  x"]);
}
