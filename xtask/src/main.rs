//! Developer tasks: codegen, tidy, test, bench, image, up.

#[cfg(feature = "bench")]
mod bench;
#[cfg(not(feature = "bench"))]
#[path = "bench/build.rs"]
mod bench;
mod codegen;
mod fuzz;
mod packages;
mod test;
mod tidy;
mod up;

use std::process::ExitCode;

const TASKS: &str = "bench, codegen, fuzz, image, test, tidy, up";

fn main() -> ExitCode {
    let mut argv = std::env::args().skip(1);
    let task = argv.next().unwrap_or_default();
    let argv: Vec<String> = argv.collect();
    let result = match task.as_str() {
        "bench" => bench::main(argv),
        "codegen" => codegen::main(argv),
        "fuzz" => fuzz::main(&argv),
        "image" => up::image(&argv),
        "test" => test::main(&argv),
        "tidy" => tidy::main(&argv),
        "up" => up::main(&argv),
        other => Err(anyhow::anyhow!("unknown task {other:?}; there are: {TASKS}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask has a parent folder").to_path_buf()
}
