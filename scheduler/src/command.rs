//! `ferry scheduler`: the process, under kube-scheduler's flags and configuration file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use client::delegated::{self, Port};
use component::{
    Supervisor, feature_gates,
    flags::{self, Refuse, Warn},
};
use controller::{
    Recorder,
    leader_election::{self, Election, Outcome},
};

use crate::{config::Config, serving};

/// The scheduler, with the flags of kube-scheduler.
#[derive(Args, Debug)]
struct Flags {
    /// The path to the configuration file.
    #[arg(long, default_value = "")]
    config: String,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig).
    #[arg(long, default_value = "")]
    master: String,
    /// Path to kubeconfig file with authorization and master location information; ignored with --config.
    #[arg(long, default_value = "")]
    kubeconfig: String,
    /// The IP address on which to listen for the --secure-port port.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: std::net::IpAddr,
    /// The port on which to serve HTTPS. If 0, don't serve HTTPS at all.
    #[arg(long, default_value_t = serving::PORT)]
    secure_port: u16,
    /// File containing the default x509 certificate for HTTPS; self-signed without one.
    #[arg(long)]
    tls_cert_file: Option<PathBuf>,
    /// File containing the default x509 private key matching --tls-cert-file.
    #[arg(long)]
    tls_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    delegated: delegated::Flags,
    #[command(flatten)]
    feature_gates: feature_gates::Flag,
    /// Start a leader election client and gain leadership before executing the main loop.
    #[arg(long, default_value_t = true)]
    leader_elect: bool,
    /// How long a lease that is not renewed stays taken.
    #[arg(long, default_value = "15s")]
    leader_elect_lease_duration: String,
    /// How long the leader tries to renew before it gives up.
    #[arg(long, default_value = "10s")]
    leader_elect_renew_deadline: String,
    /// The time between tries.
    #[arg(long, default_value = "2s")]
    leader_elect_retry_period: String,
    /// The kind of lock; only leases.
    #[arg(long, default_value = "leases")]
    leader_elect_resource_lock: String,
    /// The name of the lease.
    #[arg(long, default_value = "kube-scheduler")]
    leader_elect_resource_name: String,
    /// The namespace of the lease.
    #[arg(long, default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// Number for the log level verbosity.
    #[arg(long, short = 'v', default_value_t = 0)]
    v: u8,
}

/// Flags of upstream's that have no effect here: encodings and rates of a client that has neither, metrics and logs in
/// forms that are not offered, and users whom a proxy in front names.
const UNSUPPORTED: &[(&str, flags::Unsupported)] = &[
    ("write-config-to", Refuse),
    ("kube-api-content-type", Warn),
    ("kube-api-qps", Warn),
    ("kube-api-burst", Warn),
    ("profiling", Warn),
    ("contention-profiling", Warn),
    ("pod-max-in-unschedulable-pods-duration", Warn),
    ("requestheader-allowed-names", Warn),
    ("requestheader-client-ca-file", Warn),
    ("requestheader-extra-headers-prefix", Warn),
    ("requestheader-group-headers", Warn),
    ("requestheader-uid-headers", Warn),
    ("requestheader-username-headers", Warn),
    ("cert-dir", Warn),
    ("permit-address-sharing", Warn),
    ("permit-port-sharing", Warn),
    ("tls-cipher-suites", Refuse),
    ("tls-curve-preferences", Refuse),
    ("tls-min-version", Refuse),
    ("tls-sni-cert-key", Refuse),
    ("emulated-version", Refuse),
    ("min-compatibility-version", Refuse),
    ("allow-metric-labels", Warn),
    ("allow-metric-labels-manifest", Warn),
    ("disabled-metrics", Warn),
    ("show-hidden-metrics-for-version", Warn),
    ("log-flush-frequency", Warn),
    ("log-json-info-buffer-size", Warn),
    ("log-json-split-stream", Warn),
    ("log-text-info-buffer-size", Warn),
    ("log-text-split-stream", Warn),
    ("logging-format", Warn),
    ("vmodule", Warn),
];

/// Runs until SIGTERM.
///
/// # Errors
/// Flags, files or the configuration are wrong, the port is taken, or leadership was lost.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let given = |name: &str| {
        let flag = format!("--{name}");
        argv.iter().any(|word| *word == flag || word.starts_with(&format!("{flag}=")))
    };
    let flags: Flags = flags::parse("kube-scheduler", &argv, UNSUPPORTED)?;
    component::init_logging(flags.v);
    flags.feature_gates.gates()?.warn(&[]);
    let mut config: Config = if flags.config.is_empty() {
        Config::default()
    } else {
        component::config::load(flags.config.as_ref(), "KubeSchedulerConfiguration")?
    };
    // A flag that was given wins over the file; upstream has it so for leader election.
    let election = &mut config.leader_election;
    for (name, flag, field) in [
        ("leader-elect-lease-duration", &flags.leader_elect_lease_duration, &mut election.lease_duration),
        ("leader-elect-renew-deadline", &flags.leader_elect_renew_deadline, &mut election.renew_deadline),
        ("leader-elect-retry-period", &flags.leader_elect_retry_period, &mut election.retry_period),
        ("leader-elect-resource-lock", &flags.leader_elect_resource_lock, &mut election.resource_lock),
        ("leader-elect-resource-name", &flags.leader_elect_resource_name, &mut election.resource_name),
        ("leader-elect-resource-namespace", &flags.leader_elect_resource_namespace, &mut election.resource_namespace),
    ] {
        if given(name) {
            field.clone_from(flag);
        }
    }
    if given("leader-elect") {
        election.leader_elect = flags.leader_elect;
    }
    if flags.config.is_empty() {
        config.client_connection.kubeconfig.clone_from(&flags.kubeconfig);
    }
    // A configuration that can't work is said before anything is started.
    config.frameworks(&mut Default::default()).map_err(anyhow::Error::msg)?;
    config.extenders()?;
    config.host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "localhost".into(), |h| h.trim().into());

    if config.client_connection.kubeconfig.is_empty() {
        bail!("neither --kubeconfig nor clientConnection.kubeconfig in --config was given");
    }
    if !flags.master.is_empty() {
        bail!("flag --master is not supported yet; put the server into the kubeconfig");
    }
    let user_agent = client::user_agent("kube-scheduler", "scheduler");
    let client = client::from_kubeconfig(config.client_connection.kubeconfig.as_ref(), &user_agent)?;
    let tasks = component::supervised();
    if flags.secure_port != 0 {
        let address = SocketAddr::new(flags.bind_address, flags.secure_port);
        let certificate = (flags.tls_cert_file.as_deref(), flags.tls_private_key_file.as_deref());
        let port = Port::of_flags(&flags.delegated, address, certificate, "kube-scheduler", &user_agent).await?;
        serving::serve(port, &config, &tasks).await?;
    }
    tasks.vital("scheduler", move |own| async move {
        match config.leader_election.leader_elect {
            true => lead(config, client, &own).await,
            false => crate::run(config, client, own.token()).await,
        }
    });
    tasks.finish().await
}

async fn lead(config: Config, client: kube::Client, own: &Supervisor) -> anyhow::Result<()> {
    let settings = config.leader_election.clone();
    if settings.resource_lock != "leases" {
        bail!(
            "leaderElection.resourceLock: Invalid value: {:?}: resourceLock value must be \"leases\"",
            settings.resource_lock
        );
    }
    let election = Election {
        namespace: settings.resource_namespace,
        identity: format!("{}_{:016x}", config.host, rand::random::<u64>()),
        lease_duration: duration("leaseDuration", &settings.lease_duration)?,
        renew_deadline: duration("renewDeadline", &settings.renew_deadline)?,
        retry_period: duration("retryPeriod", &settings.retry_period)?,
        name: settings.resource_name,
    };
    let mut result = Ok(());
    let recorder = Recorder::new(client.clone(), "default-scheduler", "", own);
    let outcome = leader_election::run(election, client.clone(), recorder, own.token(), |leading| async {
        result = crate::run(config, client, leading).await;
    })
    .await;
    match outcome {
        Outcome::Lost => bail!("leaderelection lost"),
        Outcome::Cancelled => result,
    }
}

fn duration(field: &str, text: &str) -> anyhow::Result<Duration> {
    machinery::duration::length(text).map_err(anyhow::Error::msg).with_context(|| format!("leaderElection.{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_others_do_not_clash_with_the_own() {
        let argv = ["--kubeconfig=sched.conf", "--authorization-kubeconfig=sched.conf"].map(String::from);
        let flags: Flags = flags::parse("kube-scheduler", &argv, UNSUPPORTED).unwrap();
        assert_eq!(flags.kubeconfig, "sched.conf");
    }

    #[test]
    fn configuration_files() {
        let check = |yaml: &str| -> Result<Vec<String>, String> {
            let text = format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{yaml}");
            let config: Config =
                component::config::parse(&text, "KubeSchedulerConfiguration").map_err(|error| format!("{error:#}"))?;
            let frameworks = config.frameworks(&mut Default::default())?;
            Ok(frameworks
                .iter()
                .map(|f| format!("{}: {}", f.profile, f.plugins.iter().map(|p| p.name()).collect::<Vec<_>>().join(" ")))
                .collect())
        };
        let all = check("").unwrap();
        assert!(
            all[0].starts_with("default-scheduler: SchedulingGates PrioritySort NodeUnschedulable NodeName "),
            "{all:?}"
        );
        let two = check(
            "profiles:\n- schedulerName: a\n  plugins:\n    multiPoint:\n      disabled: [{name: \"*\"}]\n      enabled: [{name: PrioritySort}, {name: NodeResourcesFit}, {name: DefaultBinder}]\n- schedulerName: b\n  pluginConfig:\n  - name: NodeResourcesFit\n    args: {scoringStrategy: {type: MostAllocated}}\n",
        )
        .unwrap();
        assert_eq!(two[0], "a: PrioritySort NodeResourcesFit DefaultBinder");
        // At single extension points.
        let points = |yaml: &str| {
            let text = format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{yaml}");
            let config: Config = component::config::parse(&text, "KubeSchedulerConfiguration").expect(yaml);
            let frameworks = config.frameworks(&mut Default::default()).expect(yaml);
            let plugin = frameworks[0].plugins.iter().find(|plugin| plugin.name() == "NodeAffinity");
            plugin.map(|plugin| [plugin.pre_filter().is_some(), plugin.filter().is_some(), plugin.score().is_some()])
        };
        assert_eq!(points(""), Some([true, true, true]));
        let of = |point: &str| points(&format!("profiles: [{{plugins: {{{point}}}}}]\n"));
        assert_eq!(of("score: {disabled: [{name: NodeAffinity}]}"), Some([true, true, false]));
        assert_eq!(of("filter: {disabled: [{name: \"*\"}]}"), Some([true, false, true]));
        assert_eq!(
            of("filter: {disabled: [{name: \"*\"}], enabled: [{name: NodeAffinity}]}"),
            Some([true, true, true])
        );
        let none = "multiPoint: {disabled: [{name: \"*\"}]}, bind: {enabled: [{name: DefaultBinder}]}";
        assert_eq!(of(none), None);
        assert_eq!(of(&format!("{none}, filter: {{enabled: [{{name: NodeAffinity}}]}}")), Some([false, true, false]));
        for (yaml, error) in [
            ("profiles: [{schedulerName: a}, {schedulerName: a}]\n", "Duplicate value"),
            ("podMaxBackoffSeconds: 0\n", "podMaxBackoffSeconds: Invalid value"),
            ("nonsense: 1\n", "unknown field"),
            ("extenders: [{urlPrefix: x, prioritizeVerb: rate}]\n", "must have a positive weight applied to it"),
            ("extenders: [{bindVerb: one}, {bindVerb: other}]\n", "only one extender can implement bind"),
            ("extenders: [{managedResources: [{name: cpu}]}]\n", "is an invalid extended resource name"),
            ("profiles: [{plugins: {multiPoint: {enabled: [{name: Mine}]}}}]\n", "does not exist"),
            ("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {typo: 1}}]}]\n", "unknown field"),
        ] {
            let got = check(yaml).expect_err(yaml);
            assert!(got.contains(error), "{yaml}: {got}");
        }
    }
}
