//! Expressions, their values and faults, in cel-go's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::{Object, Type};
use super::value::{Key, Value};
use super::{EvalError, Program};

fn variables() -> Vec<(String, Type)> {
    let fields = [
        ("x", Type::Int),
        ("s", Type::String(100)),
        ("any", Type::Dyn(10)),
        ("list", Type::list(Type::Int, 10)),
        ("map", Type::Map(Arc::new(Type::String(10)), Arc::new(Type::Int), 10)),
    ];
    let fields: BTreeMap<String, Type> = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
    vec![("self".to_owned(), Type::Object(Arc::new(Object { name: "object".to_owned(), fields })))]
}

fn this() -> Value {
    let map = Value::Map(Arc::new(BTreeMap::from([(Key::String("k".into()), Value::Int(1))]).into()));
    let list = Value::list(vec![Value::Int(1), Value::Int(2), Value::Int(3)]);
    let entries = [("x", Value::Int(5)), ("s", "hello".into()), ("any", "5%".into()), ("list", list), ("map", map)];
    Value::Map(Arc::new(entries.into_iter().map(|(k, v)| (Key::String(k.into()), v)).collect()))
}

fn run(text: &str) -> Result<Value, String> {
    let program = Program::compile(text, &variables())?;
    program.run(vec![("self", this())]).0.map_err(|e| e.to_string())
}

#[test]
fn true_ones() {
    for text in [
        "self.x + 1 == 6 && self.s == 'hello'",
        "-3 + 2 * 2 == 1 && 7 % 4 == 3 && 7 / 2 == 3",
        "self.list.all(i, i > 0) && self.list.exists(i, i == 2) && self.list.exists_one(i, i == 3)",
        "self.list.map(i, i * 2) == [2, 4, 6] && self.list.filter(i, i > 1) == [2, 3]",
        "self.list.map(i, i > 1, i * 2) == [4, 6]",
        "self.map.all(k, self.map[k] == 1) && 'k' in self.map && 2 in self.list && !(9 in self.list)",
        "self.list.all(i, v, i + 1 == v) && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "has(self.x) && !has(self.map.zzz) && has(self.map.k)",
        "self.x > 3 ? true : 1 / 0 == 1",
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "[1, 0].exists(i, 1 / i == 1)",
        "type(self.any) == string && self.any.matches(r'^\\d+%$')",
        "double(self.any.replace('%', '')) > 4.5 && int('3') < 3.5 && 1 == 1",
        "size(self.s) == 5 && self.s.size() == 5 && self.s.startsWith('he') && self.s.contains('ell')",
        "self.s.upperAscii() == 'HELLO' && self.s.substring(1, 3) == 'el' && self.s.indexOf('l') == 2",
        "'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b' && ' x '.trim() == 'x'",
        "'%s is %d and %.2f'.format(['a', 1, 1.5]) == 'a is 1 and 1.50'",
        "'ab12cd'.find('[0-9]+') == '12' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "self.list.isSorted() && self.list.sum() == 6 && self.list.min() == 1 && self.list.max() == 3",
        "sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1, 1])",
        "quantity('1Gi').isGreaterThan(quantity('1000Mi')) && quantity('1').add(quantity('500m')) == quantity('1500m')",
        "isQuantity('5') && !isQuantity('x') && quantity('3').asInteger() == 3 && quantity('-1').sign() == -1",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()",
        "url('https://a.b:80/c?d=e').getHost() == 'a.b:80' && url('https://a.b:80/c').getPort() == '80'",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2",
        "duration('1h') > duration('59m') && timestamp('2024-01-02T03:04:05Z').getFullYear() == 2024",
        "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "optional.of(1).orValue(2) == 1 && optional.none().orValue(2) == 2 && self.map.?zzz.orValue(7) == 7",
        "self.map[?'k'].hasValue() && optional.of(2).optMap(v, v * 2).value() == 4",
        "[1, ?optional.none()] == [1] && {'a': 1, ?'b': optional.none()} == {'a': 1}",
        "[[1], [2]].flatten() == [1, 2] && [3, 1].sort() == [1, 3] && lists.range(3) == [0, 1, 2]",
        "0x10 == 16 && 5u == 5u && 1e3 == 1000.0 && b'a' == b'a' && '\\u0041' == 'A' && '''x''' == 'x'",
        "!format.dns1123Label().validate('a-b').hasValue() && format.named('uuid').value().validate('x').hasValue()",
        "// a comment\ntrue",
    ] {
        assert!(matches!(run(text), Ok(Value::Bool(true))), "{text}: {:?}", run(text));
    }
}

#[test]
fn faults_of_expressions() {
    for (text, want) in [
        ("self.z == 100", "ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^"),
        ("foo", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^"),
        (
            "self.x + 'a'",
            "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.x + 'a'\n | .......^",
        ),
        (
            "self.x == 'a'",
            "ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'\n | self.x == 'a'\n | .......^",
        ),
        (
            "self.x.startsWith('a')",
            "ERROR: <input>:1:18: found no matching overload for 'startsWith' applied to 'int.(string)'\n | self.x.startsWith('a')\n | .................^",
        ),
        ("self.x.y", "ERROR: <input>:1:7: type 'int' does not support field selection\n | self.x.y\n | ......^"),
    ] {
        assert_eq!(Program::compile(text, &variables()).map(|_| ()), Err(want.to_owned()), "{text}");
    }
    for text in ["self = 42", "self.", "(", "[1, 'a']", "has(self)", "self.list.all(1, true)", "a ? b", "'unclosed"] {
        assert!(Program::compile(text, &variables()).is_err(), "{text}");
    }
    let fault = Program::compile("self = 42", &variables()).map(|_| ()).unwrap_err();
    assert!(fault.starts_with("ERROR: <input>:1:6: Syntax error: token recognition error at: '= '"), "{fault}");
}

/// Each is told with the whole line: without a limit the square of the expression's length.
#[test]
fn a_hundred_faults_are_told() {
    let told = run(&"^".repeat(5_000)).unwrap_err();
    assert_eq!(told.matches("ERROR").count(), 100);
    assert_eq!(told.lines().last(), Some("1 more errors were truncated"));
    let undeclared = (0..150).map(|i| format!("u{i}")).collect::<Vec<_>>().join(" || ");
    assert_eq!(run(&undeclared).unwrap_err().lines().last(), Some("50 more errors were truncated"));
}

#[test]
fn faults_of_values() {
    for (text, want) in [
        ("1 / (self.x - 5) == 1", "division by zero"),
        ("self.list[7] == 1", "index out of bounds: 7"),
        ("self.map['z'] == 1", "no such key: z"),
        ("self.any + 1 == 2", "no such overload"),
        ("9223372036854775807 + self.x == 1", "integer overflow"),
        ("self.list.all(i, 1 / (i - 2) < 9)", "division by zero"),
    ] {
        assert_eq!(run(text).map(|_| ()), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn hostile_expressions_end() {
    let deep = "(".repeat(100_000) + "1" + &")".repeat(100_000);
    let long_chain = "1".to_owned() + &"+1".repeat(40_000);
    let minus = "-".repeat(90_000) + "1";
    let dots = "self".to_owned() + &".x".repeat(40_000);
    let lists = "[".repeat(90_000);
    for text in [&deep, &long_chain, &minus, &dots, &lists] {
        let _ = Program::compile(text, &variables());
    }
    assert!(Program::compile(&deep, &variables()).is_err());
    let wide = "[0,1,2,3,4,5,6,7,8,9]";
    let text = format!(
        "{wide}.all(a, {wide}.all(b, {wide}.all(c, {wide}.all(d, {wide}.all(e, {wide}.all(f, {wide}.all(g, true)))))))"
    );
    let program = Program::compile(&text, &[]).expect("compiles");
    assert!(program.max_cost > 10_000_000, "{}", program.max_cost);
    assert_eq!(program.run(Vec::new()).0.map(|_| ()), Err(EvalError::Cost));
}

#[test]
fn costs_grow_with_the_data() {
    let cost = |text: &str| Program::compile(text, &variables()).expect("compiles").max_cost;
    assert_eq!(cost("true"), 0);
    assert_eq!(cost("self.x"), 2);
    assert!(cost("self.list.all(a, self.list.all(b, a == b))") > 10 * cost("self.list.all(a, a > 0)"));
    let unbounded = vec![("self".to_owned(), Type::list(Type::String(super::types::UNBOUNDED), 3_000_000))];
    assert!(
        Program::compile("self.all(s, s == 'string constant')", &unbounded).expect("compiles").max_cost > 1_000_000
    );
}

fn made(text: &str, variables: &[(String, Type)]) -> Result<String, String> {
    Program::compile_with(text, variables, true).map(|program| program.result.to_string())
}

#[test]
fn objects_and_patches_are_made_where_there_are_such_types() {
    for (text, want) in [
        ("Object{}", "Object"),
        ("Object{spec: Object.spec{replicas: 1 + 1, ?paused: optional.none()},}", "Object"),
        ("Object.spec{replicas: 1}.replicas", "dyn"),
        ("JSONPatch{op: 'add', path: '/a', value: {'x': 1}}.path", "string"),
        ("[JSONPatch{op: 'remove', path: '/a'}]", "list(JSONPatch)"),
        ("true ? [] : [JSONPatch{}]", "list(JSONPatch)"),
        ("true ? [JSONPatch{}] : []", "list(JSONPatch)"),
        ("[] + [JSONPatch{}] + []", "list(JSONPatch)"),
        ("[[], [1]]", "list(list(int))"),
        ("[]", "list(dyn)"),
        ("'/a/' + jsonpatch.escapeKey('b')", "string"),
    ] {
        assert_eq!(made(text, &[]).as_deref(), Ok(want), "{text}");
    }
    let fault = |text: &str| made(text, &[]).expect_err("a fault").lines().next().unwrap_or_default().to_owned();
    assert_eq!(fault("Other{}"), "ERROR: <input>:1:6: undeclared reference to 'Other' (in container '')");
    assert_eq!(fault("JSONPatch{nope: 1}"), "ERROR: <input>:1:15: undefined field 'nope'");
    assert_eq!(
        fault("JSONPatch{path: 1}"),
        "ERROR: <input>:1:15: expected type of field 'path' is 'string' but provided type is 'int'"
    );
    let told =
        |text: &str| Program::compile(text, &[]).expect_err("a fault").lines().next().unwrap_or_default().to_owned();
    assert_eq!(told("Object{}"), "ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')");
    assert_eq!(
        told("jsonpatch.escapeKey('a')"),
        "ERROR: <input>:1:1: undeclared reference to 'jsonpatch' (in container '')"
    );
    let program =
        Program::compile_with("Object{a: [Object.a{b: jsonpatch.escapeKey('x/~')}], ?c: optional.none()}", &[], true);
    let value = program.expect("it compiles").run(Vec::new()).0.expect("it runs");
    let inner = Value::Map(Arc::new(BTreeMap::from([(Key::String("b".into()), "x~1~0".into())]).into()));
    let want = BTreeMap::from([(Key::String("a".into()), Value::list(vec![inner]))]);
    assert!(value.equals(&Value::Map(Arc::new(want.into()))), "{value:?}");
}

#[test]
fn the_authorizer_is_asked_in_steps() {
    let types = ["Authorizer", "ResourceCheck"].map(|name| match name {
        "Authorizer" => ("authorizer".to_owned(), Type::Opaque("kubernetes.authorization.Authorizer")),
        _ => ("authorizer.requestResource".to_owned(), Type::Opaque("kubernetes.authorization.ResourceCheck")),
    });
    for text in [
        "authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('ns', 'sa').group('apps').resource('deployments').subresource('status').namespace('n').name('d').check('update').errored()",
        "authorizer.group('').resource('pods').fieldSelector('a=b').labelSelector('c').check('list').allowed()",
        "authorizer.requestResource.check('custom').reason() == ''",
    ] {
        assert_eq!(made(text, &types).as_deref(), Ok("bool"), "{text}");
    }
    let fault = made("authorizer.resource('pods')", &types).expect_err("a fault");
    let want = "found no matching overload for 'resource' applied to 'kubernetes.authorization.Authorizer.(string)'";
    assert!(fault.contains(want), "{fault}");
}

#[test]
fn a_bracket_that_the_text_ends_without_is_missing() {
    for (text, want) in [
        ("1 in [1, 2, ", "1:13: Syntax error: missing ']' at '<EOF>'"),
        ("1 in [1", "1:8: Syntax error: missing ']' at '<EOF>'"),
        ("(1 + 2", "1:7: Syntax error: missing ')' at '<EOF>'"),
        ("{'a': 1", "1:8: Syntax error: missing '}' at '<EOF>'"),
    ] {
        let fault = Program::compile(text, &[]).expect_err("a fault");
        assert!(fault.starts_with(&format!("ERROR: <input>:{want}")), "{fault}");
    }
}

#[test]
fn values_get_names_where_that_is_allowed() {
    let compiled = |text: &str| Program::compile_binding(text, &variables());
    let run = |text: &str| compiled(text).map(|program| program.run(vec![("self", this())]).0);
    let twice = "cel.bind(l, self.list, cel.bind(n, size(l), l.all(i, i <= n) && l[0] + n == 4))";
    assert!(matches!(run(twice), Ok(Ok(Value::Bool(true)))));
    let cost = |text: &str| compiled(text).expect("it compiles").max_cost;
    assert_eq!(cost("cel.bind(x, self.x, x)"), cost("self.x") + 10 + 1);
    let fault = |compiled: Result<Program, String>| {
        compiled.expect_err("a fault").lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        fault(compiled("cel.bind(x.y, 1, true)")),
        "ERROR: <input>:1:11: cel.bind() variable names must be simple identifiers"
    );
    let unbound = "ERROR: <input>:1:1: undeclared reference to 'cel' (in container '')";
    assert_eq!(fault(Program::compile("cel.bind(x, 1, true)", &variables())), unbound);
    assert_eq!(
        fault(compiled("cel.bind(x, 1, x) + x == 2")),
        "ERROR: <input>:1:21: undeclared reference to 'x' (in container '')"
    );
}
