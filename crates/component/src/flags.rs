//! Upstream's command lines, with the habits of Go's pflag: `--flag=value`, `--flag value`, `--bool`, `--bool=false`,
//! `--under_scores`, a repeated flag's last value wins, and an unknown flag is refused by name.
//!
//! Flags that upstream knows and Ferry does not do yet are listed by each component: refused where ignoring them would
//! be unsafe, otherwise accepted with a warning.

use std::any::TypeId;

use anyhow::{anyhow, bail};
use clap::{ArgAction, Command, builder::ValueParser};

/// What to do with a flag of upstream's that isn't supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Don't start: to ignore it would be unsafe.
    Refuse,
    /// Say so and go on.
    Warn,
}
pub use Unsupported::{Refuse, Warn};

/// Parses `argv` (without the program's name) into `A`; `--help` prints and exits.
///
/// Declare booleans as `bool`; a default of true is `#[arg(long, default_value_t = true)]`. Lists are
/// `#[arg(long, value_delimiter = ',')] Vec<String>`.
///
/// # Errors
/// Worded as pflag's: `unknown flag: --x`, `flag needs an argument: --x`, `invalid argument "v" for "--x" flag: why`.
pub fn parse<A: clap::Args>(
    name: &'static str,
    argv: &[String],
    unsupported: &[(&str, Unsupported)],
) -> anyhow::Result<A> {
    let command = command::<A>(name);
    let argv = normalize(&command, argv, unsupported)?;
    let matches = command.clone().try_get_matches_from(argv).map_err(|e| explain(&e))?;
    A::from_arg_matches(&matches).map_err(|e| explain(&e))
}

fn command<A: clap::Args>(name: &'static str) -> Command {
    A::augment_args(Command::new(name)).no_binary_name(true).args_override_self(true).mut_args(|arg| {
        if !is_bool(&arg) {
            return arg.allow_hyphen_values(true);
        }
        let unset = arg.get_default_values().is_empty();
        let arg = arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(ValueParser::new(go_bool));
        if unset { arg.default_value("false") } else { arg }
    })
}

fn is_bool(arg: &clap::Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<bool>()
}

/// What Go's `strconv.ParseBool` takes.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// Finds unknown and unsupported flags before clap sees them, so that the words are pflag's.
fn normalize(command: &Command, argv: &[String], unsupported: &[(&str, Unsupported)]) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = argv.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(long) = word.strip_prefix("--").filter(|l| !l.is_empty()) else {
            out.push(word.clone());
            if is_short_with_value(command, word) {
                out.extend(rest.next().cloned());
            }
            continue;
        };
        let (flag, value) = long.split_once('=').map_or((long, None), |(f, v)| (f, Some(v)));
        let flag = flag.replace('_', "-");
        if let Some(arg) = command.get_arguments().find(|a| a.get_long() == Some(&flag)) {
            let value = match (value, is_bool_flag(arg)) {
                (Some(v), _) => Some(v.to_owned()),
                (None, true) => None,
                (None, false) => Some(rest.next().ok_or_else(|| anyhow!("flag needs an argument: --{flag}"))?.clone()),
            };
            out.push(value.map_or_else(|| format!("--{flag}"), |v| format!("--{flag}={v}")));
            continue;
        }
        match unsupported.iter().find(|(f, _)| f.trim_start_matches("--") == flag) {
            None if flag == "help" => out.push(word.clone()),
            None => bail!("unknown flag: --{flag}"),
            Some((_, Refuse)) => bail!("flag --{flag} is not supported yet, and to ignore it would be unsafe"),
            Some((_, Warn)) => {
                tracing::warn!("flag --{flag} is not supported yet and has no effect");
                // Without `=`, what doesn't look like a flag is its value: these commands take no other words.
                if value.is_none() {
                    rest.next_if(|next| !next.starts_with('-'));
                }
            }
        }
    }
    Ok(out)
}

fn is_short_with_value(command: &Command, word: &str) -> bool {
    let mut chars = word.chars();
    let (Some('-'), Some(c), None) = (chars.next(), chars.next(), chars.next()) else { return false };
    command.get_arguments().any(|a| a.get_short() == Some(c) && !is_bool_flag(a))
}

/// After [`command`], booleans are those that may stand without a value.
fn is_bool_flag(arg: &clap::Arg) -> bool {
    arg.is_require_equals_set() || matches!(arg.get_action(), ArgAction::Help | ArgAction::Version | ArgAction::Count)
}

fn explain(error: &clap::Error) -> anyhow::Error {
    use clap::error::{ContextKind, ErrorKind};
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.exit();
    }
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let why = std::error::Error::source(error).map(ToString::to_string);
    match error.kind() {
        ErrorKind::UnknownArgument => match context(ContextKind::InvalidArg) {
            arg if arg.starts_with("--") => anyhow!("unknown flag: {arg}"),
            arg if arg.starts_with('-') => {
                anyhow!("unknown shorthand flag: '{}' in {arg}", arg.chars().nth(1).unwrap_or(' '))
            }
            arg => anyhow!("unknown command \"{arg}\""),
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let arg = context(ContextKind::InvalidArg);
            let flag = arg.split([' ', '=', '[']).next().unwrap_or_default();
            let value = context(ContextKind::InvalidValue);
            anyhow!(
                "invalid argument \"{value}\" for \"{flag}\" flag: {}",
                why.unwrap_or_else(|| "invalid value".into())
            )
        }
        _ => anyhow!(error.to_string().trim_start_matches("error: ").trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Args, Debug)]
    struct Some_ {
        #[arg(long)]
        secure_port: Option<u16>,
        #[arg(long, default_value_t = true)]
        leader_elect: bool,
        #[arg(long)]
        profiling: bool,
        #[arg(long, value_delimiter = ',')]
        controllers: Vec<String>,
        #[arg(short, long, default_value_t = 0)]
        v: u8,
    }

    fn check(argv: &str, want: &str) {
        let argv: Vec<_> = argv.split_whitespace().map(str::to_owned).collect();
        let got = parse::<Some_>("some", &argv, &[("cloud-provider", Refuse), ("node-sync-period", Warn)]);
        let got = got.map_or_else(
            |e| e.to_string(),
            |s| {
                let list = s.controllers.join("+");
                format!("port={:?} elect={} profiling={} {list} v={}", s.secure_port, s.leader_elect, s.profiling, s.v)
            },
        );
        assert_eq!(got, want, "{argv:?}");
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        check("", "port=None elect=true profiling=false  v=0");
        check("--secure-port=1 --profiling", "port=Some(1) elect=true profiling=true  v=0");
        check("--secure_port 1 --leader-elect=false", "port=Some(1) elect=false profiling=false  v=0");
        check("--secure-port 1 --secure-port 2 -v 4", "port=Some(2) elect=true profiling=false  v=4");
        check("--controllers=*,-ttl --v=2", "port=None elect=true profiling=false *+-ttl v=2");
        check("--controllers -ttl --profiling=F", "port=None elect=true profiling=false -ttl v=0");
        check("--node-sync-period 5s --profiling", "port=None elect=true profiling=true  v=0");
    }

    #[test]
    fn wrong_flags_are_refused_in_pflags_words() {
        check("--nonsense=1", "unknown flag: --nonsense");
        check("-x", "unknown shorthand flag: 'x' in -x");
        check("--secure-port", "flag needs an argument: --secure-port");
        check("--cloud-provider=aws", "flag --cloud-provider is not supported yet, and to ignore it would be unsafe");
        check(
            "--profiling=maybe",
            "invalid argument \"maybe\" for \"--profiling\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        );
        check("--secure-port=x", "invalid argument \"x\" for \"--secure-port\" flag: invalid digit found in string");
    }
}
