//! Which certificates of clients a port takes: by the authorities in a file, or by those that the cluster names in a ConfigMap,
//! which is looked at again and again. One that can't be read at the start, as where all start together, is read later.
//!
//! Upstream: apiserver `dynamiccertificates/configmap_cafile_content.go`, which watches it.

use std::{sync::Arc, time::Duration};

use component::tls::Authorities;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

const MAP: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";
/// Between two looks; and until there was one.
const LOOK: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Clients {
    pub(super) authorities: Arc<Authorities>,
    maps: Option<Api<ConfigMap>>,
    known: Option<String>,
}

impl Clients {
    pub(super) fn of(authorities: Authorities) -> Self {
        Self { authorities: Arc::new(authorities), maps: None, known: None }
    }

    pub(super) fn of_cluster(client: Client) -> Self {
        Self { maps: Some(Api::namespaced(client, "kube-system")), ..Self::of(Authorities::unknown()) }
    }

    /// Takes what the cluster says now.
    ///
    /// # Errors
    /// It can't be asked, or says nothing that can be used.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        let Some(maps) = &self.maps else { return Ok(()) };
        let said = maps.get(MAP).await?.data.unwrap_or_default().remove(KEY);
        if let Some(said) = said.filter(|said| self.known.as_ref() != Some(said)) {
            self.authorities.replace(said.as_bytes())?;
            self.known = Some(said);
        }
        Ok(())
    }

    /// Whether what it says may change there.
    pub(super) fn looks(&self) -> bool {
        self.maps.is_some()
    }

    /// Goes on looking, for ever.
    pub(super) async fn follow(&mut self) {
        loop {
            tokio::time::sleep(if self.known.is_some() { LOOK } else { FIRST }).await;
            if let Err(error) = self.look().await {
                tracing::debug!(error = format!("{error:#}"), "looking up who signs certificates of clients");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::get};
    use component::tls::pki::Ca;
    use rustls::server::danger::ClientCertVerifier;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_the_cluster_says_is_taken_when_it_says_it() {
        let said = Arc::new(parking_lot::Mutex::new(None::<String>));
        let saying = said.clone();
        let path = format!("/api/v1/namespaces/kube-system/configmaps/{MAP}");
        let routes = Router::new().route(
            &path,
            get(move || {
                let data = saying.lock().clone().map_or(json!({}), |pem| json!({ KEY: pem }));
                async move { Json(json!({"metadata": {"name": MAP}, "data": data})) }
            }),
        );
        let mut clients = Clients::of_cluster(Client::new(routes, "default"));
        clients.look().await.unwrap();
        assert!(!clients.authorities.offer_client_auth(), "nothing is known");
        let now = time::OffsetDateTime::now_utc();
        *said.lock() = Some(Ca::new("one", now).unwrap().pair().cert_pem.clone());
        clients.look().await.unwrap();
        assert!(clients.authorities.offer_client_auth());
        *said.lock() = Some("nonsense".into());
        assert!(clients.look().await.is_err());
        assert!(clients.authorities.offer_client_auth(), "what was known stays");
    }
}
