//! Continue tokens, as `storage/continue.go` has them: base64 of JSON with the revision of the list and the key at which
//! the next page begins, relative to what is listed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machinery::json::Fields;
use machinery::status::StatusError;
use serde_json::{Value, json};

const VERSION: &str = "meta.k8s.io/v1";

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The list's revision; less than 0: the newest state will do.
    pub rv: i64,
    /// The first key of the next page.
    pub start: String,
}

impl Token {
    /// A token for what comes after a key.
    pub fn after(revision: i64, key: &str) -> String {
        encode(revision, &format!("{key}\0"))
    }

    /// A token for the newest state from a key on.
    pub fn inconsistent(start: &str) -> String {
        encode(-1, start)
    }

    /// Reads one; faults in upstream's words.
    pub fn decode(text: &str) -> Result<Self, StatusError> {
        decode(text).map_err(|why| {
            StatusError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        })
    }
}

fn encode(revision: i64, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "v": VERSION, "rv": revision, "start": start }).to_string())
}

fn decode(text: &str) -> Result<Token, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let token = machinery::json::from_slice(&bytes)?.value;
    let Some(members) = token.as_object() else {
        let kind = machinery::go::json_kind(&token);
        return Err(format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken"));
    };
    if members.text("v") != VERSION {
        return Err(format!("server does not recognize this encoded version {}", members.text("v")));
    }
    let rv = members.get("rv").and_then(Value::as_i64).unwrap_or_default();
    if rv == 0 {
        return Err(format!("incorrect encoded start resourceVersion (version {VERSION})"));
    }
    let start = members.text("start");
    if start.is_empty() {
        return Err(format!("encoded start key empty (version {VERSION})"));
    }
    // No way out of what is listed.
    let key = start.strip_prefix('/').unwrap_or(start);
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(start.to_owned());
    }
    Ok(Token { rv, start: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_its_list_goes_on() {
        let token = Token::decode(&Token::after(7, "ns/a")).expect("own token");
        assert_eq!(token, Token { rv: 7, start: "ns/a\0".into() });
        assert_eq!(Token::decode(&Token::inconsistent("a")).expect("own token").rv, -1);
    }

    #[test]
    fn faults_are_in_upstreams_words() {
        let of = |json: &str| decode(&URL_SAFE_NO_PAD.encode(json));
        for (json, expect) in [
            ("[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
            ("i", "invalid character 'i' looking for beginning of value"),
            ("{}", "server does not recognize this encoded version "),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1}"#, "encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/../b"}"#, "a/../b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, "a//b"),
        ] {
            assert_eq!(of(json), Err(expect.into()), "{json}");
        }
        assert_eq!(decode("!!"), Err("illegal base64 data at input byte 0".into()));
        assert_eq!(of(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/a"}"#).map(|t| t.start), Ok("a".into()));
    }
}
