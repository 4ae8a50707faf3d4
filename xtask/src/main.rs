//! Developer tasks: codegen, tidy, test, bench, dist, image, fuzz. (`cargo up` needs none of them: it is the program itself.)

#[cfg(feature = "bench")]
mod bench;
#[cfg(not(feature = "bench"))]
#[path = "bench/build.rs"]
mod bench;
mod codegen;
mod dist;
mod fuzz;
mod image;
mod packages;
mod test;
mod tidy;

use std::process::ExitCode;

const TASKS: &str = "bench, codegen, dist, fuzz, image, test, tidy";

fn main() -> ExitCode {
    let mut argv = std::env::args().skip(1);
    let task = argv.next().unwrap_or_default();
    let argv: Vec<String> = argv.collect();
    let result = match task.as_str() {
        "bench" => bench::main(argv),
        "codegen" => codegen::main(argv),
        "dist" => dist::main(&argv),
        "fuzz" => fuzz::main(&argv),
        "image" => image::main(&argv),
        "test" => test::main(&argv),
        "tidy" => tidy::main(&argv),
        "" => Err(anyhow::anyhow!("usage: cargo xtask TASK; there are: {TASKS}")),
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
