//! Kubernetes as one program.

mod example_web;
#[cfg(test)]
mod first_certificate;
mod install;
mod join;
mod leave;
mod pause;
mod snapshot;
mod token;
mod up;

use std::{future::Future, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "Kubernetes as one program.

  up                  a whole cluster on this machine
  down                ends it, and cleans up after it
  token               what other machines join the cluster with
  join                makes this machine a node of a cluster
  leave               takes it away from that again
  recover             makes the last of several servers a cluster of its own
  install             puts this program and its systemd units in place
  uninstall           takes them away again
  snapshot            backups of a whole cluster, and what is brought back from them

  apiserver           as kube-apiserver, on an embedded store or etcd
  scheduler           as kube-scheduler
  controller-manager  as kube-controller-manager
  kubelet             as kubelet
  proxy               as kube-proxy, and cluster DNS
  network             the pods' network between nodes
  balancer            addresses for Services of type LoadBalancer, and who answers for them
  policies            network policies on a node
  kubectl             as kubectl

  image FILE          writes container images of this program to an OCI archive
  version             prints the version

Each takes --help.
";

fn main() -> ExitCode {
    let mut argv = std::env::args();
    let called = argv.next().as_deref().and_then(component).map(str::to_owned);
    let component = called.or_else(|| argv.next()).unwrap_or_default();
    let argv: Vec<String> = argv.collect();
    match component.as_str() {
        "up" => daemon(up::main(argv)),
        "down" => daemon(up::down(argv)),
        "token" => daemon(token::main(argv)),
        "join" => daemon(join::main(argv)),
        "leave" => daemon(leave::main(argv)),
        "recover" => ended(up::recover(&argv)),
        "install" => ended(install::install(&argv)),
        "uninstall" => daemon(install::uninstall(argv)),
        "snapshot" => daemon(snapshot::main(argv)),
        "apiserver" => daemon(apiserver::command::main(argv)),
        "controller-manager" => daemon(controller_manager::main(argv)),
        "proxy" => daemon(proxy::main(argv)),
        "network" => daemon(network::main(argv)),
        "balancer" => daemon(balancer::main(argv)),
        "policies" => daemon(policies::main(argv)),
        "kubelet" => daemon(kubelet::main(argv)),
        "scheduler" => daemon(scheduler::main(argv)),
        "kubectl" => ExitCode::from(u8::try_from(kubectl::main(argv)).unwrap_or(1)),
        "pause" => {
            pause::main();
            ExitCode::SUCCESS
        }
        "example-web" => daemon(example_web::main(argv)),
        "image" => ended(up::image(&argv)),
        "version" | "--version" => {
            println!("ferry {}", model::VERSION);
            ExitCode::SUCCESS
        }
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        "" => {
            eprint!("{USAGE}");
            ExitCode::FAILURE
        }
        other => {
            eprintln!("error: unknown command {other:?} (ferry --help lists them)");
            ExitCode::FAILURE
        }
    }
}

/// The component that a link to this program is named for.
fn component(program: &str) -> Option<&str> {
    Some(match program.rsplit('/').next()? {
        "kube-apiserver" => "apiserver",
        "kube-scheduler" => "scheduler",
        "kube-controller-manager" => "controller-manager",
        "kube-proxy" => "proxy",
        name @ ("kubelet" | "kubectl") => name,
        _ => return None,
    })
}

/// Runs a component until it returns; an error is one line and exit code 1, as with upstream's.
fn daemon(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    ended(runtime.block_on(work))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
