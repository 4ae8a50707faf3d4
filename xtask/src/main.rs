//! Developer tasks: codegen, tidy, test, bench, image.

#[cfg(feature = "bench")]
mod bench;
#[cfg(not(feature = "bench"))]
#[path = "bench/build.rs"]
mod bench;
mod codegen;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut argv = std::env::args().skip(1);
    let task = argv.next().unwrap_or_default();
    let argv: Vec<String> = argv.collect();
    let result = match task.as_str() {
        "bench" => bench::main(argv),
        "codegen" => codegen::main(argv),
        other => Err(anyhow::anyhow!("unknown task {other:?}; there are: bench, codegen")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
