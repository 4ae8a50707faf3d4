//! Bearer tokens, from the `Authorization` header or from a WebSocket subprotocol (browsers cannot set headers there).
//!
//! The sorts of tokens are asked in upstream's order; the first that knows a token decides. An outcome is remembered
//! for ten seconds, as upstream's, which is what makes a signature check affordable at every request, and also how
//! long a token outlives the pod that it is bound to.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use jiff::Timestamp;
use model::user::UserInfo;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Authenticator, Peer};

/// What a WebSocket subprotocol with a token begins with; endpoints must not offer such a one back to the client.
pub const WEBSOCKET_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// How long a token that was found good stays good.
const MEMORY_AGE: Duration = Duration::from_secs(10);
/// Remembered tokens at most.
const MEMORY: usize = 4_096;
/// No token of ours is longer; spares the parsers.
const LONGEST: usize = 64 * 1024;

/// The holder of a token, and for which of the audiences asked for it is good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bearer {
    /// Who.
    pub user: UserInfo,
    /// The audiences, of those asked for. Empty from a sort of token that has none: it is for the API server.
    pub audiences: Vec<String>,
}

/// A token as it came. Its claims, if it has any, are read when the first sort of token asks for them, and once.
pub struct Presented<'a> {
    /// The token.
    pub text: &'a str,
    claims: OnceLock<Option<Value>>,
}

impl<'a> Presented<'a> {
    /// That token.
    pub fn new(text: &'a str) -> Self {
        Self { text, claims: OnceLock::new() }
    }

    /// What it claims, not verified; `None` where it is no signed token at all.
    pub fn claims(&self) -> Option<&Value> {
        self.claims.get_or_init(|| tokens::jwt::claims(self.text)).as_ref()
    }
}

/// One sort of token.
#[async_trait]
pub trait Token: Send + Sync {
    /// `Ok(None)`: not a token of this sort. `Err`: one that is wrong.
    async fn authenticate_token(
        &self,
        token: &Presented<'_>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Bearer>, String>;
}

/// See the module.
pub struct Tokens {
    sorts: Vec<Box<dyn Token>>,
    audiences: Vec<String>,
    known: Mutex<HashMap<[u8; 32], (Instant, Bearer)>>,
}

impl Tokens {
    /// Tokens of these sorts; `audiences` are the API server's own.
    pub fn new(sorts: Vec<Box<dyn Token>>, audiences: Vec<String>) -> Self {
        Self { sorts, audiences, known: Mutex::default() }
    }

    /// The API server's own audiences.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Who holds the token, asked for these audiences. `Err` also for a token that no sort knows.
    pub async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Bearer, String> {
        if token.len() > LONGEST {
            return Err("the token is too long".into());
        }
        let key = key(token, audiences);
        let now = Instant::now();
        if let Some((at, bearer)) = self.known.lock().get(&key)
            && now.duration_since(*at) < MEMORY_AGE
        {
            return Ok(bearer.clone());
        }
        let bearer = self.ask(token, audiences).await?;
        let mut known = self.known.lock();
        if known.len() >= MEMORY {
            known.retain(|_, (at, _)| now.duration_since(*at) < MEMORY_AGE);
            if known.len() >= MEMORY {
                known.clear();
            }
        }
        known.insert(key, (now, bearer.clone()));
        Ok(bearer)
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Bearer, String> {
        let (mut errors, token) = (Vec::new(), Presented::new(token));
        for sort in &self.sorts {
            match sort.authenticate_token(&token, audiences, Timestamp::now()).await {
                Ok(Some(bearer)) if !bearer.audiences.is_empty() || self.audiences.is_empty() => return Ok(bearer),
                Ok(Some(mut bearer)) => {
                    bearer.audiences = self.audiences.iter().filter(|a| audiences.contains(a)).cloned().collect();
                    if !bearer.audiences.is_empty() {
                        return Ok(bearer);
                    }
                }
                Ok(None) => {}
                Err(why) => errors.push(why),
            }
        }
        Err(match errors.len() {
            0 => "invalid bearer token".into(),
            1 => errors.swap_remove(0),
            _ => format!("[{}]", errors.join(", ")),
        })
    }
}

fn key(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, request: &http::request::Parts, _: &Peer) -> Result<Option<UserInfo>, String> {
        let token = match from_header(&request.headers) {
            Some(token) => Some(token),
            None => from_websocket(&request.headers)?,
        };
        match token {
            Some(token) => Ok(Some(self.authenticate(&token, &self.audiences).await?.user)),
            None => Ok(None),
        }
    }
}

/// The token of `Authorization: Bearer`; the header is ignored where more than one space precedes the token.
fn from_header(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = value.splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn from_websocket(headers: &HeaderMap) -> Result<Option<String>, String> {
    let says = |name: &http::HeaderName, what: &str| {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).any(|v| v.to_ascii_lowercase().contains(what))
    };
    if !says(&CONNECTION, "upgrade") || !says(&UPGRADE, "websocket") {
        return Ok(None);
    }
    let (mut token, mut others) = (None, 0);
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    for protocol in offered.flat_map(|v| v.split(',')).map(str::trim) {
        let Some(encoded) = protocol.strip_prefix(WEBSOCKET_PROTOCOL) else {
            others += 1;
            continue;
        };
        if token.is_some() {
            return Err("multiple base64.bearer.authorization tokens specified".into());
        }
        let bytes =
            URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "invalid base64.bearer.authorization token encoding")?;
        token = Some(String::from_utf8(bytes).map_err(|_| "invalid base64.bearer.authorization token")?);
    }
    match token {
        Some(token) if token.is_empty() => Ok(None),
        Some(_) if others == 0 => Err("missing additional subprotocol".into()),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    #[async_trait]
    impl Token for Fixed {
        async fn authenticate_token(
            &self,
            token: &Presented<'_>,
            audiences: &[String],
            _: Timestamp,
        ) -> Result<Option<Bearer>, String> {
            match token.text {
                "good" => Ok(Some(Bearer {
                    user: UserInfo { name: "jane".into(), ..UserInfo::default() },
                    audiences: audiences.to_vec(),
                })),
                "bad" => Err("expired".into()),
                _ => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn a_token_is_known_wrong_or_nobodys() {
        let tokens = Tokens::new(vec![Box::new(Fixed)], vec!["api".into()]);
        for _ in 0..2 {
            assert_eq!(tokens.authenticate("good", &["api".into()]).await.unwrap().user.name, "jane");
        }
        assert_eq!(
            tokens.authenticate("good", &["x".into()]).await.unwrap().audiences,
            ["x"],
            "remembered by audience"
        );
        assert_eq!(tokens.authenticate("bad", &[]).await.unwrap_err(), "expired");
        assert_eq!(tokens.authenticate("other", &[]).await.unwrap_err(), "invalid bearer token");
    }

    #[test]
    fn tokens_come_in_a_header_or_a_subprotocol() {
        let headers = |list: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in list {
                map.append(*name, value.parse().unwrap());
            }
            map
        };
        for (value, expect) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc", None),
            ("Basic abc", None),
            ("Bearer", None),
            (" BEARER abc def", Some("abc")),
        ] {
            assert_eq!(from_header(&headers(&[("authorization", value)])).as_deref(), expect, "{value}");
        }
        let websocket = |protocols: &str| {
            from_websocket(&headers(&[
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-protocol", protocols),
            ]))
        };
        let token = format!("{WEBSOCKET_PROTOCOL}{}", URL_SAFE_NO_PAD.encode("abc"));
        assert_eq!(websocket(&format!("{token}, v5.channel.k8s.io")), Ok(Some("abc".into())));
        assert_eq!(websocket("v5.channel.k8s.io"), Ok(None));
        assert_eq!(websocket(&token), Err("missing additional subprotocol".into()));
        assert_eq!(
            websocket(&format!("{token},{token}")),
            Err("multiple base64.bearer.authorization tokens specified".into())
        );
        assert_eq!(from_websocket(&headers(&[("sec-websocket-protocol", &token)])), Ok(None), "only with an upgrade");
    }
}
