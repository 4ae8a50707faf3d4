//! The days on which tokens in Secrets were used, noted as labels on the Secrets.

use std::sync::Arc;

use access::authn::legacy_token::{LAST_USED, Uses};
use async_trait::async_trait;
use machinery::meta;
use model::resources::SECRETS;
use serde_json::{Value, json};
use writes::Registry;

/// Notes them in a registry.
pub struct Noted(pub Arc<Registry>);

#[async_trait]
impl Uses for Noted {
    async fn used(&self, namespace: &str, name: &str, uid: &str, day: &str) {
        let mut note = |secret: &Value| {
            let mut secret = secret.clone();
            // Another one of the same name was not used.
            if meta::uid(&secret) == uid {
                match secret["metadata"]["labels"].as_object_mut() {
                    Some(labels) => drop(labels.insert(LAST_USED.to_owned(), json!(day))),
                    None => secret["metadata"]["labels"] = json!({LAST_USED: day}),
                }
            }
            Ok(secret)
        };
        if let Err(error) = self.0.update(&SECRETS, Some(namespace), name, &mut note).await {
            tracing::warn!(namespace, name, %error, "the use of a token is not noted");
        }
    }
}
