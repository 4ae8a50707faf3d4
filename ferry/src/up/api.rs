//! The API server of `ferry up`, and clients of it inside the process. Who a client is belongs to the connection that it
//! was given; every request passes the whole request path.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use apiserver::pki::Pki;
use apiserver::start::Running;
use component::Supervisor;
use model::user::UserInfo;
use time::OffsetDateTime;

use super::flags::{Layout, Up};
use super::store::Store;
use super::{KUBERNETES_IP, SERVICE_RANGE, STORE_PORT};

/// Who brings the cluster up: the administrator of the kubeconfig that is written.
const ADMINISTRATOR: (&str, &str) = ("kubernetes-admin", "system:masters");

/// A running API server.
pub struct Api {
    /// The server.
    pub running: Running,
    /// Its certificates.
    pub pki: Arc<Pki>,
    /// Where other machines reach it.
    pub address: IpAddr,
    /// The same with its port, as a URL.
    pub url: String,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

/// Where other machines reach the server: where it listens, if that is one address.
pub fn advertised(flags: &Up, address: IpAddr) -> IpAddr {
    let bound = flags.bind_address;
    if bound.is_unspecified() || bound.is_loopback() { address } else { bound }
}

/// Starts it, to be reached at `address`, on that store.
/// It ends with the own tasks of `tasks`, after what is below; its failure ends all.
pub async fn start(
    flags: &Up,
    layout: &Layout,
    store: &Store,
    address: IpAddr,
    tasks: &Supervisor,
) -> anyhow::Result<Api> {
    let bound = flags.bind_address;
    let mut argv = vec![
        format!("--data-dir={}", layout.data.display()),
        format!("--bind-address={bound}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={}", flags.secure_port),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_string(),
        "--authorization-mode=Node,RBAC".to_string(),
        "--enable-admission-plugins=NodeRestriction".to_string(),
        "--kubelet-preferred-address-types=InternalIP,Hostname".to_string(),
        "--allow-privileged=true".to_string(),
        "--enable-bootstrap-token-auth=true".to_string(),
        format!("--kubelet-certificate-authority={}", layout.pki().join("ca.crt").display()),
    ];
    if let Some((own, others)) = store.members.split_first() {
        let listen = SocketAddr::new(flags.bind_address, STORE_PORT);
        argv.push(format!("--cluster-listen={listen}"));
        argv.push(format!("--cluster-advertise={own}"));
        if !others.is_empty() {
            argv.push(format!("--cluster-join={}", others.join(",")));
        }
    }
    if !flags.etcd_servers.is_empty() {
        argv.push(format!("--etcd-servers={}", flags.etcd_servers.join(",")));
    }
    let etcd = [("cafile", &flags.etcd_cafile), ("certfile", &flags.etcd_certfile), ("keyfile", &flags.etcd_keyfile)];
    argv.extend(
        etcd.into_iter().filter_map(|(flag, file)| Some(format!("--etcd-{flag}={}", file.as_ref()?.display()))),
    );
    let server: apiserver::command::Flags =
        component::flags::parse("ferry up", &argv, apiserver::command::UNSUPPORTED)?;
    let running = apiserver::command::serve(&server, tasks.token()).await.map_err(explain)?;
    tasks.vital("API server", {
        let (running, tasks) = (running.clone(), tasks.clone());
        move |_| watch(running, tasks)
    });
    let names = apiserver::pki::server_names(address, Some(KUBERNETES_IP), &[]);
    let now = OffsetDateTime::now_utc();
    let pki = Arc::new(Pki::ensure(&layout.pki(), &names, now)?);
    let kubeconfig = flags.kubeconfig.clone().unwrap_or_else(|| layout.kubeconfig());
    let host = if bound.is_loopback() { bound } else { address };
    let url = format!("https://{}", SocketAddr::new(host, flags.secure_port));
    let (user, group) = ADMINISTRATOR;
    pki.ensure_kubeconfig(&kubeconfig, &url, user, &[group], now)?;
    let kept = pki.clone();
    tasks.restarting("certificates", move |own| {
        let kept = kept.clone();
        async move {
            own.until_stopped(kept.renew()).await;
        }
    });
    Ok(Api { running, pki, address, url, kubeconfig })
}

/// Until it has failed, or has stopped after it was told to.
async fn watch(running: Running, tasks: Supervisor) -> anyhow::Result<()> {
    match tasks.until_stopped(running.failed()).await {
        Some(error) => Err(error),
        None => {
            running.stopped().await;
            Ok(())
        }
    }
}

/// What to do about an address that cannot be had.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(std::io::ErrorKind::AddrInUse) => {
            error.context("another program has the API server's port: end it, or give another --secure-port")
        }
        Some(std::io::ErrorKind::AddrNotAvailable) => {
            error.context("this machine does not have the address: give another --bind-address")
        }
        _ => error,
    }
}

impl Api {
    /// A client inside the process, of that identity.
    pub fn client(&self, name: &str, groups: &[&str]) -> kube::Client {
        client_of(&self.running, name, groups, &user_agent(name))
    }

    /// A client of whoever brings the cluster up.
    pub fn administrator(&self) -> kube::Client {
        let (user, group) = ADMINISTRATOR;
        self.client(user, &[group])
    }

    /// Clients of the controllers' own service accounts.
    pub fn service_accounts(&self) -> controller_manager::ClientFor {
        let running = self.running.clone();
        Arc::new(move |name: &'static str| {
            let user = format!("system:serviceaccount:kube-system:{name}");
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
            let client = client_of(&running, &user, &groups, &user_agent(&user));
            Box::pin(async move { Ok(client) })
        })
    }

    /// Whether the server answers.
    pub async fn alive(client: &kube::Client) -> Result<(), String> {
        let request = http::Request::get("/livez").body(Vec::new()).map_err(|error| error.to_string())?;
        match client.request_text(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the API server: {error}")),
        }
    }
}

fn client_of(running: &Running, user: &str, groups: &[&str], agent: &str) -> kube::Client {
    let groups = groups.iter().map(|g| (*g).to_string()).collect();
    let user = UserInfo { name: user.to_string(), groups, ..UserInfo::default() };
    let listener = running.in_process(user);
    let connect = move || {
        let listener = listener.clone();
        async move { listener.connect().await }
    };
    client::over_stream(connect, agent)
}

/// What says who calls: the program that upstream has for that user, since it is noted as the manager of the fields that
/// are written, and other clients compare it.
fn user_agent(user: &str) -> String {
    let (program, name) = match user.strip_prefix("system:") {
        Some(name) if name.starts_with("serviceaccount:") => (controller_manager::COMPONENT, user),
        Some(name) if name.starts_with("node:") => ("kubelet", ""),
        Some("kube-scheduler") => ("kube-scheduler", "scheduler"),
        Some(program) if program.starts_with("kube-") => (program, ""),
        _ => ("ferry", user),
    };
    client::user_agent(program, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_managed_by_whom_upstream_has() {
        let check = |user: &str, manager: &str| assert_eq!(user_agent(user).split('/').next(), Some(manager), "{user}");
        check("system:serviceaccount:kube-system:deployment-controller", "kube-controller-manager");
        check("system:kube-controller-manager", "kube-controller-manager");
        check("system:kube-scheduler", "kube-scheduler");
        check("system:kube-proxy", "kube-proxy");
        check("system:node:n1", "kubelet");
        check("kubernetes-admin", "ferry");
    }
}
