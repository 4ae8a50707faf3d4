//! A component's own port: its address, its certificate, and who may ask there. As flags say in a process of its own, and as
//! the program says that runs several components.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use axum::{Json, Router, routing::get};
use component::{Supervisor, serving::Server, tls};
use kube::Client;
use rustls::server::ResolvesServerCert;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Delegated, Flags, Gate, Lasting, clients::Clients};

/// Paths that need no rights, unless a flag says otherwise.
const ALWAYS_ALLOWED: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// See the module.
pub struct Port {
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    gate: Gate,
    clients: Option<Clients>,
}

impl Port {
    /// As the flags say. `certificate`: its file and that of its key; without them the port signs for itself, under the
    /// component's name.
    ///
    /// # Errors
    /// A file can't be used, or the cluster does not say who signs for its clients where it has to.
    pub async fn of_flags(
        flags: &Flags,
        address: SocketAddr,
        certificate: (Option<&Path>, Option<&Path>),
        component: &str,
        user_agent: &str,
    ) -> anyhow::Result<Self> {
        let files = match certificate {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => anyhow::bail!("--tls-cert-file and --tls-private-key-file belong together"),
        };
        let gate = flags.gate(user_agent)?;
        let clients = flags.clients(user_agent).await?;
        let authorities = clients.as_ref().map(|clients| clients.authorities.clone());
        let tls = Arc::new(tls::server_config_with(tls::resolver(files, component)?, authorities)?);
        Ok(Self { address, tls, gate, clients })
    }

    /// With that certificate and its key (PEM), for clients whose certificates `client_ca` (PEM) signed and for those whose
    /// tokens the API server knows; it is asked by `client`.
    ///
    /// # Errors
    /// A certificate can't be used.
    pub fn new(
        address: SocketAddr,
        certificate: (&str, &str),
        client_ca: &str,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let key = tls::certified_key(certificate.0.as_bytes(), certificate.1.as_bytes())?;
        Self::with(address, Arc::new(tls::Fixed(Arc::new(key))), client_ca, client)
    }

    /// As [`Port::new`], with a certificate that may be renewed.
    ///
    /// # Errors
    /// The authority can't be used.
    pub fn with(
        address: SocketAddr,
        certificate: Arc<dyn ResolvesServerCert>,
        client_ca: &str,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let tls = Arc::new(tls::server_config(certificate, Some(client_ca.as_bytes()))?);
        let asking = || Some(Delegated::new(client.clone(), Lasting::default()));
        let gate = Gate::new(asking(), asking(), ALWAYS_ALLOWED.map(String::from).to_vec());
        Ok(Self { address, tls, gate, clients: None })
    }

    /// Serves there as a task of `tasks`; returns where, when the port is taken hold of.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn serve(self, server: Server, tasks: &Supervisor) -> anyhow::Result<SocketAddr> {
        let server = self.gate.guard(server.tls(self.tls));
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("failed to create listener: {}", self.address))?;
        let address = listener.local_addr()?;
        tasks.vital("serving", move |own| server.serve(listener, own));
        if let Some(clients) = self.clients.filter(Clients::looks) {
            let clients = Arc::new(tokio::sync::Mutex::new(clients));
            tasks.restarting("authorities of clients", move |own| {
                let clients = clients.clone();
                async move {
                    own.until_stopped(async { clients.lock().await.follow().await }).await;
                }
            });
        }
        Ok(address)
    }
}

/// `/configz`: a component's configuration under the name that upstream registers it by.
pub fn configz(name: &'static str, config: Value) -> Router {
    let answer = Value::Object([(name.to_owned(), config)].into_iter().collect());
    Router::new().route("/configz", get(move || async move { Json(answer) }))
}

#[cfg(test)]
mod tests {
    use component::tls::pki::{Ca, Leaf};
    use serde_json::json;

    use super::*;

    /// The fake API server lets `prom` ask for the metrics, and nobody for anything else.
    #[tokio::test]
    async fn who_has_a_certificate_or_a_token_of_the_cluster_is_asked_about_and_nobody_else_gets_in() {
        let now = time::OffsetDateTime::now_utc();
        let ca = Ca::new("ca", now).expect("an authority");
        let sans = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = Leaf { common_name: "part".into(), sans, server: true, ..Leaf::default() };
        let serving = ca.sign(&leaf, now).expect("a certificate");
        let pair = (serving.cert_pem.as_str(), serving.key_pem.as_str());
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let api_server = super::super::gate::tests::api_server();
        let port = Port::new(anywhere, pair, &ca.pair().cert_pem, &api_server).expect("a port");
        let tasks = Supervisor::new();
        let server = Server::default().metrics(|text| text.line("answers_total", &[], &[], 42.0));
        let server = server.guarded(configz("part", json!({"kind": "PartConfiguration"})));
        let address = port.serve(server, &tasks).await.expect("to serve");

        let ask = async |user: serde_json::Value, path: &str| {
            let authority = base64(&ca.pair().cert_pem);
            let cluster = json!({"server": format!("https://{address}"), "certificate-authority-data": authority});
            let kubeconfig = json!({
                "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
            });
            let client = crate::over_http1(kubeconfig, "test").expect("a client");
            let request = http::Request::get(path).body(Vec::new()).expect("a request");
            match client.request_text(request).await {
                Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
                Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
                Err(other) => other.to_string(),
            }
        };
        let certified = |name: &str| {
            let leaf = Leaf { common_name: name.into(), client: true, ..Leaf::default() };
            let pair = ca.sign(&leaf, now).expect("a certificate");
            json!({"client-certificate-data": base64(&pair.cert_pem), "client-key-data": base64(&pair.key_pem)})
        };
        assert_eq!(ask(json!({}), "/healthz").await, "ok");
        assert_eq!(
            ask(json!({}), "/metrics").await,
            r#"403 forbidden: User "system:anonymous" cannot get path "/metrics""#
        );
        assert_eq!(ask(json!({"token": "good"}), "/metrics").await, "answers_total 42");
        assert_eq!(ask(json!({"token": "bad"}), "/metrics").await, "401 Unauthorized");
        assert_eq!(ask(certified("prom"), "/metrics").await, "answers_total 42");
        assert_eq!(ask(certified("eve"), "/metrics").await, r#"403 forbidden: User "eve" cannot get path "/metrics""#);
        assert_eq!(
            ask(certified("prom"), "/configz").await,
            r#"403 forbidden: User "prom" cannot get path "/configz""#
        );

        let again = Port::new(address, pair, &ca.pair().cert_pem, &api_server).expect("a port");
        let taken = again.serve(Server::default(), &tasks).await.expect_err("the port is taken");
        assert!(taken.to_string().starts_with("failed to create listener: 127.0.0.1:"), "{taken}");
        tasks.stop();
        tasks.finish().await.expect("an end in order");
    }

    fn base64(text: &str) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    }
}
