//! Tokens in Secrets are made for Secrets that ask for one, and go with their account.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::world::World;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn secret(name: &str, account: &str) -> Value {
    let annotations = json!({"kubernetes.io/service-account.name": account});
    json!({"metadata": {"name": name, "annotations": annotations}, "type": "kubernetes.io/service-account-token"})
}

fn decoded(secret: &Value, name: &str) -> String {
    let bytes = STANDARD.decode(secret["data"][name].as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_gets_a_token_of_its_account_and_goes_with_it() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let key = rcgen::KeyPair::generate()?;
    world.start_with(&["serviceaccount-token-controller"], |config| {
        config.service_account_key = Some(key.serialize_pem());
        config.root_ca = Some("the CA".into());
    });
    let account = world.create(ACCOUNTS, json!({"metadata": {"name": "web"}, "secrets": [{"name": "old"}]})).await?;
    let uid = account["metadata"]["uid"].clone();
    world.create(SECRETS, secret("s", "web")).await?;
    let path = format!("{SECRETS}/s");
    let filled = world.until(&path, |now| now["data"]["token"].is_string()).await?;
    assert_eq!((decoded(&filled, "ca.crt").as_str(), decoded(&filled, "namespace").as_str()), ("the CA", "default"));
    assert_eq!(filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"], uid);
    let token = decoded(&filled, "token");
    let payload = token.split('.').nth(1).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?)?;
    assert_eq!(
        (&claims["sub"], &claims["iss"]),
        (&json!("system:serviceaccount:default:web"), &json!("kubernetes/serviceaccount"))
    );

    // One that is gone is forgotten by its account.
    world.create(SECRETS, secret("old", "web")).await?;
    world.until(&format!("{SECRETS}/old"), |now| now["data"]["token"].is_string()).await?;
    world.delete(&format!("{SECRETS}/old")).await?;
    world.until(&format!("{ACCOUNTS}/web"), |now| now["secrets"].as_array().is_none_or(Vec::is_empty)).await?;

    world.delete(&format!("{ACCOUNTS}/web")).await?;
    world.gone(&path).await?;
    // For an account that is not there, it goes at once.
    world.create(SECRETS, secret("nobody", "nobody")).await.ok();
    world.gone(&format!("{SECRETS}/nobody")).await
}
