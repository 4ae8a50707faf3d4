//! What users type and what they see: each file in `tests/scenarios` is a transcript of command lines, which are run against
//! the real API server, controllers and scheduler in this process, on two hollow nodes. `UPDATE_EXPECT=1` rewrites the
//! files; the diff is read by people.

mod hollow_node;
mod mask;
mod transcript;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use transcript::Entry;
use world::World;

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const ALL: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                check(stringify!($name)).await
            }
        )*
    };
}

scenarios!(apply, create, get, delete, rollout, revisions, logs, drain, top);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

async fn check(name: &str) -> anyhow::Result<()> {
    let path = folder().join(name).with_extension("txt");
    let expected = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let world = World::start().await?;
    let mut seen = String::new();
    for entry in transcript::parse(&expected)? {
        let outcome = match &entry {
            Entry::Remark(_) => Default::default(),
            Entry::Command { line, input } => world.run(line, input).await.with_context(|| seen.clone())?,
        };
        transcript::render(&entry, &outcome, &mut seen);
    }
    expect_test::expect_file![path].assert_eq(&seen);
    Ok(())
}

#[test]
fn every_transcript_is_run() -> anyhow::Result<()> {
    for file in std::fs::read_dir(folder())? {
        let path = file?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        ensure!(ALL.contains(&name), "{} has no test", path.display());
    }
    Ok(())
}
