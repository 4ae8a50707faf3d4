//! Requests for certificates are approved, signed or refused by those who may.

use base64::{Engine, engine::general_purpose::STANDARD};
use component::tls::pki::Ca;
use http::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use crate::world::World;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const APPROVER: &str = "certificatesigningrequest-approving-controller";
const SIGNER: &str = "certificatesigningrequest-signing-controller";

/// A server whose signers have an authority, until the folder is dropped.
async fn world(controllers: &[&str]) -> anyhow::Result<(World, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let (cert, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
    let ca = Ca::new("test-ca", time::OffsetDateTime::now_utc())?;
    std::fs::write(&cert, &ca.pair().cert_pem)?;
    std::fs::write(&key, &ca.pair().key_pem)?;
    let mut world = World::new().await?;
    world.start_with(controllers, |config| config.signing = controller_manager::Signing::with(cert, key));
    Ok((world, dir))
}

/// A request for a client certificate of that user, in that group.
fn request(name: &str, signer: &str, user: &str, group: Option<&str>) -> anyhow::Result<Value> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    group.into_iter().for_each(|group| params.distinguished_name.push(DnType::OrganizationName, group));
    let pem = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let usages = json!(["digital signature", "key encipherment", "client auth"]);
    let spec =
        json!({"request": STANDARD.encode(pem), "signerName": signer, "usages": usages, "expirationSeconds": 3600});
    Ok(json!({"metadata": {"name": name}, "spec": spec}))
}

async fn approve(world: &World, name: &str) -> anyhow::Result<()> {
    let path = format!("{REQUESTS}/{name}");
    let mut now = world.get(&path).await?;
    now["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "m"}]);
    let answer = world.admin.send(Method::PUT, &format!("{path}/approval"), Some(&now)).await?;
    anyhow::ensure!(answer.code == 200, "{}", answer.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_approved_is_signed_and_what_is_wrong_fails() -> anyhow::Result<()> {
    let (world, _dir) = world(&[SIGNER]).await?;
    world.create(REQUESTS, request("good", CLIENT, "jane", Some("dev"))?).await?;
    let mut wrong = request("wrong", CLIENT, "jane", None)?;
    wrong["spec"]["usages"] = json!(["server auth"]);
    world.create(REQUESTS, wrong).await?;
    world.create(REQUESTS, request("strange", "example.com/signer", "jane", None)?).await?;
    for name in ["strange", "good", "wrong"] {
        approve(&world, name).await?;
    }
    let good = world.until(&format!("{REQUESTS}/good"), |now| now["status"]["certificate"].is_string()).await?;
    let pem = STANDARD.decode(good["status"]["certificate"].as_str().unwrap_or_default())?;
    let until = component::tls::issue::not_after(&pem).map(|at| at.as_second()).unwrap_or_default();
    let left = until - time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((3500..=3600).contains(&left), "{left}");
    let failed = |now: &Value| {
        let last = now["status"]["conditions"].as_array().and_then(|c| c.last()).cloned().unwrap_or_default();
        last["type"] == "Failed"
            && last["reason"] == "SignerValidationFailure"
            && last["message"] == "invalid usage for client certificate: server auth"
    };
    let wrong = world.until(&format!("{REQUESTS}/wrong"), failed).await?;
    assert!(wrong["status"]["certificate"].is_null());
    assert!(world.get(&format!("{REQUESTS}/strange")).await?["status"]["certificate"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelets_that_may_are_approved() -> anyhow::Result<()> {
    let (world, _dir) = world(&[APPROVER, SIGNER]).await?;
    let nodes = json!([{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}]);
    let bind = |role: &str| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        json!({"metadata": {"generateName": "test-"}, "roleRef": role, "subjects": nodes})
    };
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    world.create(bindings, bind("system:node-bootstrapper")).await?;
    let groups = ["system:nodes", "system:authenticated"];
    let kubelet = world.cluster.caller("system:node:n", &groups);
    let ask = |name: &'static str, user: &'static str| {
        let kubelet = &kubelet;
        async move {
            let answer = kubelet
                .send(Method::POST, REQUESTS, Some(&request(name, KUBELET, user, Some("system:nodes"))?))
                .await?;
            anyhow::ensure!(answer.code == 201, "{}", answer.body);
            anyhow::Ok(())
        }
    };
    // It may not yet, and is told so by nothing but waiting.
    ask("own", "system:node:n").await?;
    world.create(bindings, bind("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient")).await?;
    let approved = |now: &Value| {
        let condition = &now["status"]["conditions"][0];
        condition["type"] == "Approved"
            && condition["reason"] == "AutoApproved"
            && condition["message"] == "Auto approving self kubelet client certificate after SubjectAccessReview."
            && now["status"]["certificate"].is_string()
    };
    world.until(&format!("{REQUESTS}/own"), approved).await?;
    // Another node's is not its own; the roles for others come last, and then it is.
    ask("other", "system:node:m").await?;
    assert!(world.get(&format!("{REQUESTS}/other")).await?["status"]["conditions"].is_null());
    world.create(bindings, bind("system:certificates.k8s.io:certificatesigningrequests:nodeclient")).await?;
    let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
    world.until(&format!("{REQUESTS}/other"), |now| now["status"]["conditions"][0]["message"] == message).await?;
    Ok(())
}
