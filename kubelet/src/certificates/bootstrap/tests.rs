//! Names of requests, pending keys, clocks, and the kubeconfig that comes of it all.

use super::*;

#[test]
fn a_request_is_named_after_its_key_and_what_it_says() {
    // The names that upstream's digestedName gives to the same key, subject and usages differ with each of them.
    let (a, b) = (Key::generate().unwrap(), Key::generate().unwrap());
    let of = |key: &Key, node: &str| name(key, &template(node));
    assert_eq!(of(&a, "n1"), of(&Key::from_pem(&a.pem()).unwrap(), "n1"));
    assert_ne!(of(&a, "n1"), of(&b, "n1"));
    assert_ne!(of(&a, "n1"), of(&a, "n2"));
    assert!(of(&a, "n1").starts_with("node-csr-"));
    assert_eq!(of(&a, "n1").len(), "node-csr-".len() + 43);
}

#[test]
fn a_certificate_that_is_not_valid_yet_tells_of_the_clock() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let (from, until) = (at("2026-01-01T12:00:00Z"), at("2026-01-01T13:00:00Z"));
    check_clock(from, until, at("2026-01-01T12:30:00Z")).unwrap();
    let behind = check_clock(from, until, at("2026-01-01T10:59:00Z")).unwrap_err().to_string();
    assert!(behind.starts_with("this machine's clock is at least 1h 1m behind the cluster's: "), "{behind}");
    let ahead = check_clock(from, until, at("2026-01-01T13:00:30Z")).unwrap_err().to_string();
    assert!(ahead.starts_with("this machine's clock is at least 30s ahead of the cluster's: "), "{ahead}");
}

#[test]
fn the_nodes_kubeconfig_leads_to_the_same_cluster_and_bears_no_token() {
    let text = "
apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=
    tls-server-name: api
users:
- name: u
  user: {token: abcdef.0123456789abcdef}
contexts:
- name: x
  context: {cluster: c, user: u}
current-context: x
";
    let place = Place::of(&Kubeconfig::from_yaml(text).unwrap()).unwrap();
    assert_eq!(place.token.as_deref(), Some("abcdef.0123456789abcdef"));
    let written = place.with_certificate(Path::new("/var/lib/kubelet/pki/kubelet-client-current.pem"));
    assert!(!written.contains("0123456789abcdef"), "{written}");
    let read = Kubeconfig::from_yaml(&written).unwrap();
    let cluster = read.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://10.0.0.1:6443"));
    assert_eq!(cluster.tls_server_name.as_deref(), Some("api"));
    assert!(cluster.certificate_authority_data.as_ref().unwrap().starts_with("LS0tLS1CRUdJTi"));
    let user = read.auth_infos[0].auth_info.as_ref().unwrap();
    assert_eq!(user.client_certificate.as_deref(), Some("/var/lib/kubelet/pki/kubelet-client-current.pem"));
    assert_eq!(user.client_certificate, user.client_key);
    assert_eq!(read.current_context.as_deref(), Some("default-context"));
}

#[test]
fn a_pending_key_is_kept_and_one_that_is_broken_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pki").join(PENDING_KEY);
    let first = pending_key(&path).unwrap().pem();
    assert_eq!(pending_key(&path).unwrap().pem(), first);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "nonsense").unwrap();
    let second = pending_key(&path).unwrap().pem();
    assert_ne!(second, first);
    assert_eq!(pending_key(&path).unwrap().pem(), second);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_waited_for_a_minute_and_then_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ca = component::tls::pki::Ca::new("ca", time::OffsetDateTime::now_utc()).unwrap();
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{closed}"),
            "certificate-authority-data": base64::engine::general_purpose::STANDARD.encode(&ca.pair().cert_pem),
        }}],
        "users": [{"name": "u", "user": {"token": "abcdef.0123456789abcdef"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    let bootstrap_kubeconfig = dir.path().join("bootstrap.conf");
    fs::write(&bootstrap_kubeconfig, kubeconfig.to_string()).unwrap();
    let files = Files {
        kubeconfig: dir.path().join("kubelet.conf"),
        bootstrap_kubeconfig: Some(bootstrap_kubeconfig),
        cert_dir: dir.path().join("pki"),
    };
    let began = Instant::now();
    let error = format!("{:#}", bootstrap(&files, "n1").await.unwrap_err());
    assert!(began.elapsed() >= REACH, "{error}");
    assert!(
        error.starts_with(&format!("the API server https://{closed} can't be reached or is not ready: ")),
        "{error}"
    );
    assert!(!files.kubeconfig.exists());
}
