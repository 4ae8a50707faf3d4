//! Why there is no certificate, in one line that names what to do: on a machine that is to join a cluster nobody knows more
//! than that line.

use std::{error::Error as StdError, fmt, io, path::Path, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, header};
use k8s_openapi::{
    api::core::v1::ConfigMap,
    jiff::{SignedDuration, Timestamp, fmt::rfc2822},
};
use kube::{Api, client::Body};
use rustls::CertificateError;

use crate::connect;

/// What is behind a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server can't be reached, or is not ready.
    Unreachable,
    /// Another authority than the one that is trusted here signed the server's certificate, or it is for another name.
    Authority,
    /// A certificate is not valid at the time that it is here.
    Clock,
    /// The server does not know who asks.
    Token,
    /// Who asks may not.
    Forbidden,
    /// The request was denied, or can't be signed.
    Denied,
    /// A request of the same name is there that is of no use: another key's, or its certificate has expired.
    Stale,
    /// Anything else.
    Other,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is behind it.
    pub cause: Cause,
    message: String,
}

impl Fault {
    /// One that says so.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// What became of a request.
    pub(super) fn of(what: &str, error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            let cause = match status.code {
                401 => Cause::Token,
                403 => Cause::Forbidden,
                429 | 500.. => Cause::Unreachable,
                _ => Cause::Other,
            };
            return Self::new(cause, format!("{what}: {}", crate::message(error)));
        }
        let (deepest, certificate) = bottom(error);
        use CertificateError as C;
        let cause = match certificate {
            Some(C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }) => Cause::Clock,
            Some(_) => Cause::Authority,
            None => Cause::Unreachable,
        };
        Self::new(cause, format!("{what}: {deepest}"))
    }

    /// Whether waiting mends nothing.
    pub fn is_lasting(&self) -> bool {
        self.cause != Cause::Unreachable
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Fault {}

/// The words of what lies at the bottom of an error, and what is wrong with a certificate if that is it.
fn bottom(error: &(dyn StdError + 'static)) -> (String, Option<CertificateError>) {
    let mut next = Some(error);
    let mut words = error.to_string();
    while let Some(error) = next {
        words = error.to_string();
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return (words, Some(why.clone()));
        }
        // The source of an error of the system is that of what it holds, and not what it holds.
        if let Some(held) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return bottom(held);
        }
        next = error.source();
    }
    (words, None)
}

/// Finds out more of a fault that the server in `kubeconfig` (its address is `server`) was asked for with `token`, and says it
/// in one line.
pub async fn explain(fault: Fault, kubeconfig: &Path, server: &str, token: Option<&str>) -> Fault {
    let file = kubeconfig.display();
    let said = match fault.cause {
        Cause::Unreachable => format!("the API server {server} can't be reached or is not ready: {fault}"),
        Cause::Authority => format!(
            "the certificate of the API server {server} is not one that the CA in {file} vouches for: {fault}; is it \
             another cluster's?"
        ),
        Cause::Clock => clock(&fault, kubeconfig, server).await,
        Cause::Token => match token {
            None => format!("the API server {server} does not accept the credentials in {file}: {fault}"),
            Some(token) => {
                let why = token_fault(kubeconfig, token).await;
                format!("the API server {server} does not accept the token in {file}: {why}")
            }
        },
        Cause::Forbidden => format!(
            "the credentials in {file} may not ask for a certificate: {fault}; a token's groups (auth-extra-groups) need \
             the ClusterRole system:node-bootstrapper"
        ),
        Cause::Denied | Cause::Stale | Cause::Other => return fault,
    };
    Fault::new(fault.cause, said)
}

/// What is said of a certificate that is not valid at this time: the clocks differ, or it has run out.
async fn clock(fault: &Fault, kubeconfig: &Path, server: &str) -> String {
    let here = Timestamp::now();
    match server_time(kubeconfig).await.and_then(|there| difference(here, there)) {
        Some(difference) => format!("{difference} of the API server {server}: set it right ({fault})"),
        None => format!(
            "the certificate of the API server {server} is not valid now, though its clock and this machine's agree: renew \
             it there ({fault})"
        ),
    }
}

/// By how much the clocks differ, in words and minutes; none if they agree within a minute.
fn difference(here: Timestamp, there: Timestamp) -> Option<String> {
    let ahead = here.duration_since(there);
    let words = if ahead.is_positive() { "ahead of" } else { "behind" };
    let minutes = SignedDuration::from_mins((ahead.abs().as_secs() + 30) / 60);
    (ahead.abs() >= SignedDuration::from_mins(1)).then(|| format!("this machine's clock is {minutes:#} {words} that"))
}

/// What time it is for the server. Whoever answers can say what he likes; it is told and not acted on.
async fn server_time(kubeconfig: &Path) -> Option<Timestamp> {
    let client = connect::unverified(kubeconfig, &crate::user_agent("ferry", "clock")).ok()?;
    let request = Request::get("/version").body(Body::empty()).ok()?;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.send(request)).await.ok()?.ok()?;
    let date = answer.headers().get(header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

/// What is wrong with a token that was refused. The server does not say it; but the public cluster-info is signed with each
/// token that there is, and whoever has the token can check that.
async fn token_fault(kubeconfig: &Path, token: &str) -> String {
    let Some((id, secret)) = token.split_once('.') else {
        return "it is no bootstrap token (abcdef.0123456789abcdef), and none that the server knows".into();
    };
    let unknown = "its secret is wrong, or it has expired: make a new one on a server of the cluster".to_owned();
    let Ok(client) = connect::anonymous(kubeconfig, &crate::user_agent("ferry", "token")) else { return unknown };
    let Ok(info) = Api::<ConfigMap>::namespaced(client, "kube-public").get("cluster-info").await else {
        return unknown;
    };
    said_by(&info, id, secret).unwrap_or(unknown)
}

fn said_by(info: &ConfigMap, id: &str, secret: &str) -> Option<String> {
    let data = info.data.as_ref()?;
    // Without any signature none was ever made.
    if !data.keys().any(|key| key.starts_with("jws-kubeconfig-")) {
        return None;
    }
    let Some(signature) = data.get(&format!("jws-kubeconfig-{id}")) else {
        return Some(format!(
            "the cluster knows no token {id}: it has expired or was deleted, make a new one on a server of the cluster"
        ));
    };
    let (header, signature) = signature.split_once("..")?;
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(data.get("kubeconfig")?));
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    Some(match hmac::verify(&key, signed.as_bytes(), &signature) {
        Err(_) => format!("its secret is not that of the cluster's token {id}"),
        Ok(()) => format!("the cluster's token {id} is not for authentication (usage-bootstrap-authentication)"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clocks_that_differ_are_told_apart_from_those_that_agree() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let check = |here: &str, want: Option<&str>| {
            assert_eq!(difference(at(here), at("2026-01-01T12:00:00Z")).as_deref(), want);
        };
        check("2026-01-01T15:12:05.5Z", Some("this machine's clock is 3h 12m ahead of that"));
        check("2026-01-01T11:50:00Z", Some("this machine's clock is 10m behind that"));
        check("2026-01-01T12:00:59Z", None);
        check("2026-01-01T11:59:01Z", None);
    }

    #[test]
    fn what_is_public_tells_a_wrong_secret_from_a_token_that_is_gone() {
        let right = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9..QSxpUG7Q542CirTI2ECPSZjvBOJURUW5a7XqFpNI958";
        let info: ConfigMap =
            serde_json::from_value(json!({"data": {"kubeconfig": "payload", "jws-kubeconfig-abc123": right}})).unwrap();
        let said = |id, secret| said_by(&info, id, secret).unwrap();
        assert_eq!(said("abc123", "wrong"), "its secret is not that of the cluster's token abc123");
        assert!(
            said("def456", "wrong").starts_with("the cluster knows no token def456: it has expired or was deleted")
        );
        assert!(said("abc123", "tokenSecret").contains("is not for authentication"));
        let bare: ConfigMap = serde_json::from_value(json!({"data": {"kubeconfig": "payload"}})).unwrap();
        assert_eq!(said_by(&bare, "abc123", "x"), None);
    }
}
