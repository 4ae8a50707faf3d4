//! Valid inputs, and such as are large for their length.

use api::schema;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::{filled, fixture};

pub const SELECTORS: &str = "a in (b,c),!d,e notin (f),g>1\nmetadata.name=a,status.phase!=b\\,c\nx/y==z";
pub const FIELD_PATHS: &str = ".a\n['b-c']\n{.items[?(@.a==\"b\")].c}\n{range .a[*]}{.b}{end}\n{..x['y'][-1:2:3]}";
pub const MANAGED_FIELDS: &str = "{\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":80}\":{\".\":{}}},\"f:list\":{\"v:\\\"x\\\"\":{},\"i:3\":{}}}}";
pub const EXPRESSIONS: &str = "self.x + 1 == 6 && self.s == 'hello' || !has(self.list)
self.list.map(i, i * 2).filter(i, i > 1).all(i, i in self.list)
[1, 2].map(i, [3, 4].map(j, self.list.map(k, [i, j, k])))
'%s %d %.2f'.format([self.s, self.x, 1.5]) + self.s.replace('l', 'llll')
self.s.matches('(a|b)*c{1,9}') ? {'a': {'b': [1u, 2.5e3, 0x1f]}}.a.b : dyn(b'\\x00')
cel.bind(a, self.s + self.s, a + a + a).size() > 3 && quantity('1Gi').add(quantity('1')).isInteger()
duration('1h').getHours() == timestamp('2026-01-02T03:04:05Z').getMinutes('UTC') - 3
ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && url('https://a/b?c=d').getHost() == 'a'
optional.of(self.x).orValue(1) > 0 && self.?s.hasValue() && sets.contains(self.list, [1]) && -self.x < -3";

/// What mutations put in.
pub const WORDS: &[&[u8]] = &[
    b"{",
    b"[",
    b"(",
    b"\"",
    b"null",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\\u0000",
    b"\xff",
    b"&a ",
    b"*a",
    b"[0,",
    b"{\"\":",
    b"!",
    b"'",
    b"+self.s",
    b"\x0a\x00",
];

/// Objects of every kind, with what is required and with every field.
fn objects() -> Vec<Value> {
    let rows = kinds::catalogue::rows();
    let small = rows.iter().filter_map(|row| fixture(&row.kind(), "fuzz", row.namespaced.then_some("default")));
    small.chain(rows.iter().filter_map(|row| filled(&row.kind()))).collect()
}

/// Much memory for few bytes.
fn dense() -> Vec<Vec<u8>> {
    let nested = |open: &str, inner: &str, close: &str| [open.repeat(900), inner.into(), close.repeat(900)].concat();
    let list = |item: &str| format!("[{}0]", format!("{item},").repeat(4_000));
    let texts =
        [nested("[", "", "]"), nested("{\"\":", "0", "}"), list("0"), list("[]"), list("{\"\":0}"), list("\"\"")];
    texts.into_iter().map(String::into_bytes).collect()
}

pub fn jsons() -> Vec<Vec<u8>> {
    objects().iter().map(|object| object.to_string().into_bytes()).chain(dense()).collect()
}

pub fn yamls() -> Vec<Vec<u8>> {
    let anchors = "a: &a [x, x]\nb: &b [*a, *a]\nc: {<<: {d: *b}}\n".to_owned();
    let texts = objects().iter().map(machinery::yaml::from_json).chain([anchors]).map(String::into_bytes).collect();
    [texts, dense()].concat()
}

pub fn protobufs() -> Vec<Vec<u8>> {
    let encode = |object: &Value| {
        let ty = schema::of_object(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
        let mut bytes = Vec::new();
        api::protobuf::encode(object, ty, &mut bytes);
        Some(bytes)
    };
    // Containers, volumes and conditions without a field.
    let empty = vec![json!({}); 2_000];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": empty, "volumes": empty},
        "status": {"conditions": empty}});
    objects().iter().chain([&pod]).filter_map(encode).collect()
}

pub fn json_patches() -> Vec<Vec<u8>> {
    let doubling = json!({"op": "copy", "from": "/a", "path": "/a/b/-"});
    let patches = [
        json!([{"op": "add", "path": "/a/b/-", "value": 1}, {"op": "copy", "from": "/a", "path": "/a/b/0"}]),
        json!([{"op": "test", "path": "/a/b/1", "value": 2}, {"op": "move", "from": "/a/b", "path": "/c"}]),
        json!([{"op": "remove", "path": "/metadata/labels/x"}, {"op": "replace", "path": "/a", "value": {"~0~1": []}}]),
        vec![doubling; 12].into(),
    ];
    patches.iter().map(|patch| patch.to_string().into_bytes()).collect()
}

pub fn strategic_patches() -> Vec<Vec<u8>> {
    let container = |more: Value| json!({"spec": {"containers": [{"name": "nameValue", "image": "x"}, more]}});
    let patches = [
        container(json!({"$patch": "delete", "name": "other"})),
        container(json!({"name": "new", "ports": [{"containerPort": 3, "$patch": "replace"}]})),
        json!({"metadata": {"labels": {"labelsKey": null}, "$deleteFromPrimitiveList/finalizers": ["finalizersValue"],
            "$setElementOrder/finalizers": ["b", "a"], "finalizers": ["a"]}}),
        json!({"spec": {"volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "nameValue", "emptyDir": {}}],
            "$setElementOrder/volumes": [{"name": "nameValue"}]}}),
        json!({"spec": {"$patch": "replace", "nodeName": "n"}}),
    ];
    patches.iter().map(|patch| patch.to_string().into_bytes()).chain(jsons()).collect()
}

pub fn tokens() -> Vec<Vec<u8>> {
    let token = |rv: i64, start: &str| json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string();
    let texts = [token(7, "default/a\0"), token(-1, "b\0"), token(i64::MAX, "\u{fffd}")];
    texts.iter().map(|text| URL_SAFE_NO_PAD.encode(text).into_bytes()).collect()
}

pub fn definitions() -> Vec<Vec<u8>> {
    let schema = json!({"type": "object", "required": ["a"], "x-kubernetes-validations": [{"rule": "self.a == 'x' || size(self.list) > 1",
        "messageExpression": "'not ' + self.a", "fieldPath": ".a", "reason": "FieldValueInvalid"}],
        "properties": {"a": {"type": "string", "pattern": "^(a|b)+$", "maxLength": 9, "enum": ["aa", "b"], "default": "b"},
            "list": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "n": {"type": "integer", "minimum": 1}}}},
            "map": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "one": {"type": "number", "oneOf": [{"minimum": 1}, {"multipleOf": 0.5}], "not": {"maximum": 0}}}});
    vec![schema.to_string().into_bytes(), br#"{"type":"object"}"#.to_vec()]
}

pub fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}
