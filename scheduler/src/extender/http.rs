//! Extenders over HTTP: a question is posted as JSON to the extender's URL with a verb at its end.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Ask, ExtenderConfig};

/// How long an extender may think, if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read: all nodes of a large cluster.
const ANSWER_BYTES: usize = 256 << 20;

/// See the module.
pub struct Http {
    client: Client,
    runtime: Handle,
    url: String,
    timeout: Duration,
}

impl Http {
    /// To be made within the runtime.
    ///
    /// # Errors
    /// The URL can't be used, or certificates and keys don't load.
    pub fn new(config: &ExtenderConfig) -> anyhow::Result<Self> {
        let given = config.http_timeout.as_deref().and_then(|text| machinery::duration::length(text).ok());
        Ok(Self {
            client: client::over_http1(config.kubeconfig(), "kube-scheduler")?,
            runtime: Handle::try_current()?,
            url: config.url_prefix.clone(),
            timeout: given.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
        })
    }

    async fn post(&self, verb: &str, question: &Value) -> Result<Value, String> {
        let request = Request::post(format!("/{verb}"))
            .header("content-type", "application/json")
            .body(Body::from(question.to_string().into_bytes()))
            .map_err(|error| error.to_string())?;
        let answering = async {
            let response = self.client.send(request).await.map_err(|error| error.to_string())?;
            let code = response.status();
            if code != http::StatusCode::OK {
                let code = code.as_u16();
                return Err(format!(
                    "failed {verb} with extender at URL {}/{verb}, code {code}",
                    self.url.trim_end_matches('/')
                ));
            }
            let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            serde_json::from_slice(&body.map_err(|error| error.to_string())?.to_bytes())
                .map_err(|error| error.to_string())
        };
        let late =
            |_| format!("Post {:?}: context deadline exceeded", format!("{}/{verb}", self.url.trim_end_matches('/')));
        tokio::time::timeout(self.timeout, answering).await.map_err(late)?
    }
}

#[async_trait::async_trait]
impl Ask for Http {
    fn ask(&self, verb: &str, question: &Value) -> Result<Value, String> {
        self.runtime.block_on(self.post(verb, question))
    }

    async fn tell(&self, verb: &str, question: &Value) -> Result<Value, String> {
        self.post(verb, question).await
    }
}
