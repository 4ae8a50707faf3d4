//! The Common Expression Language, for rules in schemas: a parser, a checker that knows types and estimates costs, and an
//! evaluator that counts what it does and stops at a limit (cel-go's behaviour and words; docs/decisions/005-own-cel.md).
//!
//! It knows nothing of schemas or objects: variables come with a type and a value.

mod ast;
mod check;
mod escape;
mod eval;
mod functions;
mod lex;
mod parse;
mod signatures;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;

pub use eval::EvalError;
pub use functions::{parse_duration, parse_timestamp};
use types::Type;
use value::Value;

/// What one evaluation may cost (`apis/cel/config.go`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// An expression that was understood.
#[derive(Debug)]
pub struct Program {
    expr: ast::Expr,
    /// Whether it needs a stack of its own.
    deep: bool,
    /// What it gives.
    pub result: Type,
    /// What it costs at worst.
    pub max_cost: u64,
    used: Vec<String>,
}

impl Program {
    /// Understands an expression over these variables. The error has cel-go's words: all faults, with their places.
    pub fn compile(text: &str, variables: &[(String, Type)]) -> Result<Self, String> {
        Self::compile_with(text, variables, false)
    }

    /// The same, where there may be types to make objects of: `Object{spec: Object.spec{}}`, and `JSONPatch{}`.
    pub fn compile_with(text: &str, variables: &[(String, Type)], made: bool) -> Result<Self, String> {
        on_large_stack(|| Self::understand(text, variables, made, false))
    }

    /// The same as `compile`, where a value may be given a name: `cel.bind(x, self.a.b, x.c && x.d)`.
    pub fn compile_binding(text: &str, variables: &[(String, Type)]) -> Result<Self, String> {
        on_large_stack(|| Self::understand(text, variables, false, true))
    }

    fn understand(text: &str, variables: &[(String, Type)], made: bool, binds: bool) -> Result<Self, String> {
        let expr = parse::parse(text, binds).map_err(|faults| show(text, &faults))?;
        let mut checker = check::Checker::new(variables);
        checker.made = made;
        let info = checker.infer(&expr);
        if !checker.faults.is_empty() {
            checker.faults.sort();
            checker.faults.dedup();
            return Err(show(text, &checker.faults));
        }
        let deep = expr.depth() > SHALLOW;
        Ok(Self { expr, deep, result: info.ty, max_cost: info.cost, used: checker.used })
    }

    /// Whether it reads a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.used.iter().any(|used| used == variable)
    }

    /// Runs it; gives the cost too.
    pub fn run(&self, variables: Vec<(&str, Value)>) -> (Result<Value, EvalError>, u64) {
        let run = || {
            let mut run = eval::Run::new(PER_CALL_LIMIT);
            for (name, value) in variables {
                if let Some(known) = self.used.iter().find(|used| *used == name) {
                    run.bind(known, value);
                }
            }
            let out = run.eval(&self.expr);
            (out, run.spent)
        };
        if self.deep { on_large_stack(run) } else { run() }
    }
}

/// Nesting that fits on the caller's stack, also in a debug build.
const SHALLOW: usize = 40;
const STACK_BYTES: usize = 64 << 20;

/// Does work that recurses deep: parsers and walkers, several frames a level.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).expect("a thread can be started");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The most faults that are told, as each is told with its whole line (`common/errors.go`).
const MAX_FAULTS: usize = 100;

// `ERROR: <input>:1:5: undefined field 'x'`, the line, and an arrow.
fn show(text: &str, faults: &[lex::Fault]) -> String {
    let told = faults.iter().take(MAX_FAULTS).map(|(at, message)| {
        let before: String = text.chars().take(*at).collect();
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let shown = text.lines().nth(line).unwrap_or_default();
        format!("ERROR: <input>:{}:{}: {message}\n | {shown}\n | {}^", line + 1, column + 1, ".".repeat(column))
    });
    let mut told: Vec<String> = told.collect();
    if faults.len() > MAX_FAULTS {
        told.push(format!("{} more errors were truncated", faults.len() - MAX_FAULTS));
    }
    told.join("\n")
}
