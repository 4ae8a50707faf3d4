//! How a node comes to its certificates, on the real API server and the real controllers, over TLS: with a bootstrap token,
//! the rights of `deploy/joining.yaml`, and certificates that last for seconds.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use apiserver::start::Running;
use component::{Supervisor, tls};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    certificates::v1::CertificateSigningRequest as Csr,
    core::v1::{Node, Secret},
};
use kube::{Api, Client, api::PostParams};
use kubelet::certificates::{Files, bootstrap, rotate};
use machinery::yaml;
use model::user::UserInfo;
use serde_json::{Value, json};
use tempfile::TempDir;

const JOINING: &str = include_str!("../../deploy/joining.yaml");
const APPROVER: &str = include_str!("../../deploy/kubelet-serving-approver.yaml");
const LIFE: Duration = Duration::from_secs(4);
const TOKEN: &str = "abcdef.0123456789abcdef";

/// A cluster of an API server and the controllers that have to do with certificates.
struct World {
    dir: TempDir,
    running: Running,
    tasks: Supervisor,
    admin: Client,
}

impl World {
    async fn start(controllers: &[&str]) -> anyhow::Result<Self> {
        let (dir, tasks) = (tempfile::tempdir()?, Supervisor::new());
        let argv = [
            format!("--data-dir={}", dir.path().display()),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            "--secure-port=0".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--enable-bootstrap-token-auth=true".into(),
        ];
        let flags: apiserver::command::Flags =
            component::flags::parse("kube-apiserver", &argv, apiserver::command::UNSUPPORTED)?;
        let running = apiserver::command::serve(&flags, tasks.token()).await?;
        running.ready().await;
        let admin = client_of(&running, "admin", &["system:masters"]);
        let world = Self { dir, running, tasks, admin };
        world.apply(JOINING).await?;
        world.apply(APPROVER).await?;
        let (accounts, running) = (["system:serviceaccounts"], world.running.clone());
        let signing = controller_manager::Signing {
            duration: LIFE,
            ..controller_manager::Signing::with(world.pki("ca.crt"), world.pki("ca.key"))
        };
        let config = controller_manager::Config {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            signing,
            client_for: Some(Arc::new(move |name| {
                let client = client_of(&running, &format!("system:serviceaccount:kube-system:{name}"), &accounts);
                Box::pin(async move { Ok(client) })
            })),
            ..controller_manager::Config::default()
        };
        let manager = client_of(&world.running, "system:kube-controller-manager", &[]);
        world.tasks.vital("controllers", move |own| controller_manager::run(config, manager, own.token()));
        Ok(world)
    }

    fn pki(&self, file: &str) -> PathBuf {
        self.dir.path().join("pki").join(file)
    }

    async fn apply(&self, text: &str) -> anyhow::Result<()> {
        for document in yaml::documents(text) {
            let object = yaml::to_json(document.as_bytes()).map_err(anyhow::Error::msg)?;
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            let place =
                object["metadata"]["namespace"].as_str().map(|n| format!("namespaces/{n}/")).unwrap_or_default();
            self.create(&format!("/apis/rbac.authorization.k8s.io/v1/{place}{kind}s"), &object).await?;
        }
        Ok(())
    }

    async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let request = http::Request::post(path).header("content-type", "application/json");
        Ok(self.admin.request(request.body(serde_json::to_vec(object)?)?).await?)
    }

    async fn token(&self, token: &str, groups: &str) -> anyhow::Result<()> {
        let (id, secret) = token.split_once('.').context("a token")?;
        let data = json!({"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true", "auth-extra-groups": groups});
        let secret = json!({"metadata": {"name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token", "stringData": data});
        self.create("/api/v1/namespaces/kube-system/secrets", &secret).await.map(drop)
    }

    /// What a node `name` is given to begin with; `ca` and `port` in place of the cluster's own.
    fn files(&self, name: &str, token: &str, ca: Option<&str>, port: Option<u16>) -> anyhow::Result<Files> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        let ca_file = dir.join("ca.crt");
        std::fs::write(&ca_file, ca.map_or_else(|| std::fs::read_to_string(self.pki("ca.crt")), |ca| Ok(ca.into()))?)?;
        let port = port.or(self.running.address.map(|address| address.port())).context("a port")?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": ca_file}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        let bootstrap = dir.join("bootstrap.conf");
        std::fs::write(&bootstrap, kubeconfig.to_string())?;
        Ok(Files {
            kubeconfig: dir.join("kubelet.conf"),
            bootstrap_kubeconfig: Some(bootstrap),
            cert_dir: dir.join("pki"),
        })
    }

    async fn requests(&self) -> anyhow::Result<Vec<Csr>> {
        Ok(Api::<Csr>::all(self.admin.clone()).list(&Default::default()).await?.items)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.tasks.stop();
        self.tasks.finish().await
    }
}

fn client_of(running: &Running, user: &str, groups: &[&str]) -> Client {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let listener = running.in_process(UserInfo { name: user.to_owned(), groups, ..UserInfo::default() });
    let connect = move || {
        let listener = listener.clone();
        async move { listener.connect().await }
    };
    client::over_stream(connect, "test")
}

/// Who the server says one is.
async fn who(client: &Client) -> anyhow::Result<String> {
    let review = Api::<SelfSubjectReview>::all(client.clone());
    let answer = review.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    Ok(answer.status.and_then(|status| status.user_info).and_then(|user| user.username).unwrap_or_default())
}

const NODES: &str = "system:bootstrappers:ferry:nodes";
const ALL: [&str; 5] = ["csrapproving", "csrsigning", "bootstrapsigner", "kubelet-serving-approver", "node-joining"];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_becomes_a_certificate_that_is_renewed_without_a_failed_request() -> anyhow::Result<()> {
    let world = World::start(&ALL).await?;
    world.token(TOKEN, NODES).await?;
    let files = world.files("n1", TOKEN, None, None)?;
    bootstrap(&files, "n1").await?;
    let text = std::fs::read_to_string(&files.kubeconfig)?;
    assert!(text.contains("pki/kubelet-client-current.pem") && !text.contains("0123456789abcdef"), "{text}");
    assert!(!files.cert_dir.join("kubelet-client.key.tmp").exists());
    assert_eq!(who(&client::from_kubeconfig(&files.kubeconfig, "test")?).await?, "system:node:n1");
    // The token is not used again while the certificate is good.
    Api::<Secret>::namespaced(world.admin.clone(), "kube-system")
        .delete("bootstrap-token-abcdef", &Default::default())
        .await?;
    bootstrap(&files, "n1").await?;
    let requests = world.requests().await?;
    assert_eq!(requests.len(), 1);
    assert!(requests[0].metadata.name.as_deref().unwrap_or_default().starts_with("node-csr-"));
    assert_eq!(requests[0].spec.usages.as_deref(), Some(&["digital signature".into(), "client auth".into()][..]));

    // What a loss of power leaves of the files is no obstacle, as long as there is something to ask with.
    let current = std::fs::canonicalize(files.cert_dir.join("kubelet-client-current.pem"))?;
    std::fs::write(&current, "")?;
    let alone = Files { bootstrap_kubeconfig: None, ..files.clone() };
    let error = format!("{:#}", rotate(&alone, "n1", &world.tasks).expect_err("it is broken"));
    assert!(error.contains("there is no --bootstrap-kubeconfig to ask for a certificate with"), "{error}");
    world.token(TOKEN, NODES).await?;
    bootstrap(&files, "n1").await?;

    let tasks = world.tasks.child("kubelet");
    let certificate = rotate(&files, "n1", &tasks)?;
    let client = client::renewed(&files.kubeconfig, certificate.clone(), "test")?;
    // Another component of the node, which knows only the kubeconfig.
    let other = client::from_kubeconfig(&files.kubeconfig, "test")?;
    while certificate.version() < 3 {
        assert_eq!(who(&client).await?, "system:node:n1");
        assert_eq!(who(&other).await?, "system:node:n1");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = world.requests().await?;
    assert!(last.iter().any(|csr| csr.spec.username.as_deref() == Some("system:node:n1")));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_in_one_line() -> anyhow::Result<()> {
    let world = World::start(&["bootstrapsigner"]).await?;
    world.token(TOKEN, NODES).await?;
    world.token("nogrps.0123456789abcdef", "system:bootstrappers:others").await?;
    let info = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "payload"}});
    world.create("/api/v1/namespaces/kube-public/configmaps", &info).await?;
    let signed = || async {
        let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(world.admin.clone(), "kube-public");
        anyhow::Ok(maps.get("cluster-info").await?.data.is_some_and(|data| data.len() == 3))
    };
    while !signed().await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let other = tls::pki::Ca::new("other", time::OffsetDateTime::now_utc())?.pair().cert_pem.clone();
    let port = world.running.address.context("an address")?.port();
    let at = format!("the API server https://127.0.0.1:{port}");
    for (name, token, ca, want) in [
        ("wrong", "abcdef.0123456789wrong0", None, "its secret is not that of the cluster's token abcdef"),
        ("gone", "gone00.0123456789abcdef", None, "the cluster knows no token gone00: it has expired or was deleted"),
        ("rights", "nogrps.0123456789abcdef", None, "need the ClusterRole system:node-bootstrapper"),
        ("ca", TOKEN, Some(other.as_str()), "is not one that the CA in"),
    ] {
        let files = world.files(name, token, ca, None)?;
        let error = format!("{:#}", bootstrap(&files, "n1").await.expect_err("it can't be had"));
        assert!(error.contains(want) && (error.contains(&at) || name == "rights"), "{name}: {error}");
        assert!(!error.contains('\n') && !error.contains("0123456789"), "{name}: {error}");
        assert!(!files.kubeconfig.exists());
    }
    assert!(world.requests().await?.is_empty());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_starts_again_finds_its_request_and_posts_no_other() -> anyhow::Result<()> {
    let world = World::start(&["csrsigning"]).await?;
    world.token(TOKEN, NODES).await?;
    let files = world.files("n1", TOKEN, None, None)?;
    for _ in 0..2 {
        let crashed = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                outcome = bootstrap(&files, "n1") => panic!("nobody approves: {outcome:?}"),
                () = async {
                    while world.requests().await.is_ok_and(|requests| requests.is_empty()) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                } => {}
            }
        });
        crashed.await?;
    }
    let requests = world.requests().await?;
    assert_eq!(requests.len(), 1);
    let name = requests[0].metadata.name.clone().context("a name")?;
    let decide = |kind: &'static str| {
        let mut csr = requests[0].clone();
        let condition = json!({"type": kind, "status": "True", "reason": "ByHand", "message": "as I like"});
        csr.status
            .get_or_insert_default()
            .conditions
            .get_or_insert_default()
            .push(serde_json::from_value(condition).expect("a condition"));
        let (api, name) = (Api::<Csr>::all(world.admin.clone()), name.clone());
        async move { api.replace_subresource("approval", &name, &PostParams::default(), &csr).await }
    };
    decide("Approved").await?;
    bootstrap(&files, "n1").await?;
    assert_eq!(world.requests().await?.len(), 1);

    let files = world.files("n2", TOKEN, None, None)?;
    let deny = async {
        let mut csr = loop {
            let found = world.requests().await?.into_iter().find(|csr| csr.metadata.name.as_ref() != Some(&name));
            if let Some(csr) = found {
                break csr;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let condition = json!({"type": "Denied", "status": "True", "reason": "ByHand", "message": "not you"});
        csr.status.get_or_insert_default().conditions = Some(vec![serde_json::from_value(condition)?]);
        let second = csr.metadata.name.clone().context("a name")?;
        let api = Api::<Csr>::all(world.admin.clone());
        api.replace_subresource("approval", &second, &PostParams::default(), &csr).await?;
        anyhow::Ok(second)
    };
    let (denied, second) = tokio::join!(bootstrap(&files, "n2"), deny);
    let (error, second) = (format!("{:#}", denied.expect_err("it was denied")), second?);
    assert_eq!(error, format!("certificate signing request {second} is denied, reason: ByHand, message: not you"));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_certificate_has_expired_is_not_asked_for_again() -> anyhow::Result<()> {
    let world = World::start(&ALL).await?;
    world.token(TOKEN, NODES).await?;
    let files = world.files("n1", TOKEN, None, None)?;
    bootstrap(&files, "n1").await?;
    let current = std::fs::read(files.cert_dir.join("kubelet-client-current.pem"))?;
    let facts = tls::Certificate::from_pem(&current, &current)?.facts;
    while facts.not_after.as_second() >= time::OffsetDateTime::now_utc().unix_timestamp() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // As if the kubelet had died between its last two steps.
    let text = String::from_utf8(current)?;
    let key = text.find("-----BEGIN PRIVATE KEY").context("a key")?;
    std::fs::write(files.cert_dir.join("kubelet-client.key.tmp"), &text[key..])?;
    bootstrap(&files, "n1").await?;
    assert_eq!(who(&client::from_kubeconfig(&files.kubeconfig, "test")?).await?, "system:node:n1");
    assert_eq!(world.requests().await?.len(), 2);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_port_gets_a_certificate_for_the_nodes_own_addresses_only() -> anyhow::Result<()> {
    let world = World::start(&ALL).await?;
    for (name, ip) in [("n1", "10.0.0.1"), ("n2", "10.0.0.2")] {
        let status =
            json!({"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]});
        let node = json!({"metadata": {"name": name}, "status": status});
        let api = Api::<Node>::all(world.admin.clone());
        let mut made = api.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        made.status = Some(serde_json::from_value(status)?);
        api.replace_status(name, &PostParams::default(), &made).await?;
    }
    let node = client_of(&world.running, "system:node:n1", &["system:nodes"]);
    let ask = |ip: &str| {
        let template = tls::request::Template {
            common_name: "system:node:n1".into(),
            organization: Some("system:nodes".into()),
            dns_names: vec!["n1".into()],
            ips: vec![ip.parse().expect("an address")],
        };
        let (key, node) = (tls::request::Key::generate().expect("a key"), node.clone());
        async move {
            let pem = key.request(&template)?;
            let purpose = client::certificates::KUBELET_SERVING;
            anyhow::Ok(client::certificates::ask(&node, (&pem, &key), None, purpose, None).await?)
        }
    };
    let (another, own) = (ask("10.0.0.2").await?, ask("10.0.0.1").await?);
    let pem = client::certificates::wait(&node, &own).await?;
    let facts = tls::Facts::of(&tls::certificates(&pem)?[0])?;
    assert_eq!((facts.common_name.as_str(), facts.ips[0].to_string().as_str()), ("system:node:n1", "10.0.0.1"));
    let left = Api::<Csr>::all(world.admin.clone()).get(&another.name).await?;
    assert!(left.status.is_none_or(|status| status.conditions.is_none_or(|c| c.is_empty())), "another's is left");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_replaced_while_the_server_serves() -> anyhow::Result<()> {
    let world = World::start(&["csrsigning"]).await?;
    let now = time::OffsetDateTime::now_utc();
    let read = |file: &str| std::fs::read_to_string(world.pki(file));
    let (old_pem, next) = (read("ca.crt")?, tls::pki::Ca::new("next", now)?);
    let (old, next_pem) = (tls::pki::Ca::from_pem(&old_pem, &read("ca.key")?)?, next.pair().cert_pem.clone());
    let client = |name: &str, by: &tls::pki::Ca, trusts: &str| -> anyhow::Result<Client> {
        let leaf = tls::pki::Leaf { common_name: name.into(), client: true, ..tls::pki::Leaf::default() };
        let pair = by.sign(&leaf, now)?;
        let files = world.files(name, "", Some(trusts), None)?;
        let path = files.bootstrap_kubeconfig.context("a kubeconfig")?;
        let (cert, key) = (path.with_extension("crt"), path.with_extension("key"));
        std::fs::write(&cert, &pair.cert_pem)?;
        std::fs::write(&key, &pair.key_pem)?;
        let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        text["users"][0]["user"] = json!({"client-certificate": cert, "client-key": key});
        std::fs::write(&path, text.to_string())?;
        client::from_kubeconfig(&path, "test")
    };
    let both = format!("{old_pem}{next_pem}");
    // One who knows both authorities all the time, and one who knows the next alone.
    let (steady, newcomer) = (client("steady", &old, &both)?, client("newcomer", &next, &next_pem)?);
    assert_eq!(who(&steady).await?, "steady");
    assert!(who(&newcomer).await.is_err());
    let sans = vec!["127.0.0.1".to_owned()];
    let serving = tls::pki::Leaf { common_name: "kube-apiserver".into(), sans, server: true, ..Default::default() };
    let pair = next.sign(&serving, now)?;
    std::fs::write(world.pki("ca.crt"), &both)?;
    std::fs::write(world.pki("apiserver.key"), &pair.key_pem)?;
    std::fs::write(world.pki("apiserver.crt"), &pair.cert_pem)?;
    while who(&newcomer).await.ok().as_deref() != Some("newcomer") {
        assert_eq!(who(&steady).await?, "steady");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(who(&steady).await?, "steady");
    // Extension servers learn of it.
    let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(world.admin.clone(), "kube-system");
    let told = || async {
        let map = maps.get("extension-apiserver-authentication").await?;
        anyhow::Ok(map.data.unwrap_or_default().get("client-ca-file") == Some(&both))
    };
    while !told().await? {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // And without the old one, who has nothing else is nobody any more.
    std::fs::write(world.pki("ca.crt"), &next_pem)?;
    while who(&steady).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(who(&newcomer).await?, "newcomer");
    world.end().await
}
