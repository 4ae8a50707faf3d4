//! Flags with the habits of Go's pflag: flags and words in any order, `--flag=value` or `--flag value`, `-it`, `-ojson`,
//! `--` ends the flags, and an unknown flag is refused by name.
//!
//! clap is not used here: kubectl's command lines are declared as small tables, one a command, and its errors are worded
//! as users and scripts know them.

use std::collections::HashMap;
use std::time::Duration;

use super::failure::Failure;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true`, `=false`.
    Bool,
    /// A value.
    Value,
    /// A value, or nothing, which stands for this one (`--dry-run`).
    Optional(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// The letter.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
}

/// A flag without a value.
pub const fn switch(name: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::Bool }
}

/// A flag with a value.
pub const fn value(name: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::Value }
}

/// A flag whose value may be left out.
pub const fn optional(name: &'static str, missing: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::Optional(missing) }
}

impl Flag {
    /// With a letter.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }
}

/// Flags that every command takes.
pub const GLOBAL: &[Flag] = &[
    value("kubeconfig"),
    value("context"),
    value("cluster"),
    value("user"),
    value("namespace").short('n'),
    value("server").short('s'),
    value("token"),
    value("as"),
    value("as-group"),
    value("as-uid"),
    value("certificate-authority"),
    value("client-certificate"),
    value("client-key"),
    value("tls-server-name"),
    switch("insecure-skip-tls-verify"),
    value("request-timeout"),
    value("cache-dir"),
    switch("match-server-version"),
    switch("disable-compression"),
    switch("warnings-as-errors"),
    value("v").short('v'),
    switch("help").short('h'),
];

/// A command line taken apart.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    values: HashMap<&'static str, Vec<String>>,
    /// The words.
    pub args: Vec<String>,
    /// How many of the words stood before `--`.
    pub dash: Option<usize>,
    /// The command as typed, for hints such as `See 'kubectl get -h'`.
    pub path: String,
}

impl Parsed {
    /// Takes a command line apart.
    pub fn new(path: &str, argv: &[String], flags: &[&[Flag]]) -> Result<Self, Failure> {
        let mut parsed = Self { path: path.to_owned(), ..Self::default() };
        let find = |name: &str| flags.iter().copied().flatten().find(|flag| flag.name == name);
        let letter = |c: char| flags.iter().copied().flatten().find(|flag| flag.short == Some(c));
        let mut words = argv.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.dash = Some(parsed.args.len());
                parsed.args.extend(words.cloned());
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, given) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
                let name = name.replace('_', "-");
                let flag = find(&name).ok_or_else(|| parsed.unknown(&format!("unknown flag: --{name}")))?;
                let value = match (given, flag.kind) {
                    (Some(given), _) => given,
                    (None, Kind::Bool) => "true".to_owned(),
                    (None, Kind::Optional(missing)) => missing.to_owned(),
                    (None, Kind::Value) => words
                        .next()
                        .cloned()
                        .ok_or_else(|| parsed.unknown(&format!("flag needs an argument: --{name}")))?,
                };
                parsed.set(flag, value)?;
            } else if word.len() > 1 && word.starts_with('-') {
                let mut letters = word[1..].chars();
                while let Some(c) = letters.next() {
                    let flag =
                        letter(c).ok_or_else(|| parsed.unknown(&format!("unknown shorthand flag: {c:?} in {word}")))?;
                    let rest = letters.as_str();
                    if let Some(given) = rest.strip_prefix('=') {
                        parsed.set(flag, given.to_owned())?;
                        break;
                    }
                    match flag.kind {
                        Kind::Bool => parsed.set(flag, "true".to_owned())?,
                        Kind::Optional(missing) => parsed.set(flag, missing.to_owned())?,
                        Kind::Value => {
                            let value = if rest.is_empty() {
                                words.next().cloned().ok_or_else(|| {
                                    parsed.unknown(&format!("flag needs an argument: {c:?} in {word}"))
                                })?
                            } else {
                                rest.to_owned()
                            };
                            parsed.set(flag, value)?;
                            break;
                        }
                    }
                }
            } else {
                parsed.args.push(word.clone());
            }
        }
        Ok(parsed)
    }

    fn unknown(&self, message: &str) -> Failure {
        Failure::plain(format!("error: {message}\nSee 'kubectl {} --help' for usage.", self.path))
    }

    fn set(&mut self, flag: &Flag, value: String) -> Result<(), Failure> {
        if flag.kind == Kind::Bool
            && !matches!(value.as_str(), "true" | "false" | "1" | "0" | "t" | "f" | "True" | "False")
        {
            let why = format!(
                "invalid argument {value:?} for \"--{}\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax",
                flag.name
            );
            return Err(self.unknown(&why));
        }
        self.values.entry(flag.name).or_default().push(value);
        Ok(())
    }

    /// Whether the flag was given at all.
    pub fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// The last value, or this one.
    pub fn or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.get(name).unwrap_or(default)
    }

    /// All values as given.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// All values, cut at commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).iter().flat_map(|v| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    }

    /// A switch, false by default.
    pub fn is(&self, name: &str) -> bool {
        self.is_or(name, false)
    }

    /// A switch with a default.
    pub fn is_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| matches!(value, "true" | "1" | "t" | "True"))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let read = machinery::go::parse_int(text).map(Some);
        read.map_err(|why| self.unknown(&format!("invalid argument {text:?} for \"--{name}\" flag: {why}")))
    }

    /// A duration as Go writes it; a negative one is zero.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let read = machinery::duration::timeout(text).map(Some);
        read.map_err(|why| self.unknown(&format!("invalid argument {text:?} for \"--{name}\" flag: {why}")))
    }

    /// How long a request may take (`--request-timeout`): a duration, or a whole number of seconds.
    pub fn timeout(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        if let Ok(seconds) = text.parse() {
            return Ok(Some(Duration::from_secs(seconds)));
        }
        machinery::duration::timeout(text).map(Some).map_err(|_| {
            Failure::plain(
                "error: Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a \
                 corresponding time unit (e.g. 1s | 2m | 3h)",
            )
        })
    }

    /// Refuses as upstream's `UsageErrorf`.
    pub fn usage(&self, message: &str) -> Failure {
        Failure::plain(format!("error: {message}\nSee 'kubectl {} -h' for help and examples", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Parsed, Failure> {
        const FLAGS: &[Flag] = &[
            value("output").short('o'),
            switch("stdin").short('i'),
            switch("tty").short('t'),
            optional("dry-run", "unchanged"),
        ];
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::new("get", &argv, &[FLAGS, GLOBAL])
    }

    #[test]
    fn as_pflag_reads_them() {
        let parsed = parse("pods -ojson -it a --dry-run=client --namespace x b -- -o c").unwrap();
        assert_eq!(parsed.args, ["pods", "a", "b", "-o", "c"]);
        assert_eq!(parsed.dash, Some(3));
        assert_eq!(
            (parsed.get("output"), parsed.get("dry-run"), parsed.get("namespace")),
            (Some("json"), Some("client"), Some("x"))
        );
        assert!(parsed.is("stdin") && parsed.is("tty"));
        assert_eq!(parse("--dry-run pods").unwrap().get("dry-run"), Some("unchanged"));
        assert_eq!(parse("--tty=false").unwrap().get("tty"), Some("false"));
        for (line, message) in [
            ("--nope", "error: unknown flag: --nope\nSee 'kubectl get --help' for usage."),
            ("-x", "error: unknown shorthand flag: 'x' in -x\nSee 'kubectl get --help' for usage."),
            ("-o", "error: flag needs an argument: 'o' in -o\nSee 'kubectl get --help' for usage."),
            ("--output", "error: flag needs an argument: --output\nSee 'kubectl get --help' for usage."),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn timeouts_of_requests_may_be_seconds() {
        const TIMES: &[Flag] = &[value("timeout"), value("request-timeout")];
        let parse = |text: &str| {
            let argv = [format!("--timeout={text}"), format!("--request-timeout={text}")];
            Parsed::new("get", &argv, &[TIMES]).expect("flags")
        };
        let parsed = parse("1m30s");
        assert_eq!(parsed.duration("timeout").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(parsed.timeout("request-timeout").unwrap(), Some(Duration::from_secs(90)));
        let parsed = parse("10");
        assert_eq!(parsed.timeout("request-timeout").unwrap(), Some(Duration::from_secs(10)));
        let refused = parsed.duration("timeout").unwrap_err().to_string();
        assert!(
            refused.contains(r#"invalid argument "10" for "--timeout" flag: time: missing unit in duration "10""#),
            "{refused}"
        );
        assert!(parse("soon").timeout("request-timeout").unwrap_err().to_string().contains("Invalid timeout value"));
    }
}
