//! How tokens are shown: never their secrets.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::secret::{PREFIX, USES, text as value};
use crate::join::keys::KEY;

const HEADINGS: [&str; 5] = ["ID", "ROLE", "USES", "EXPIRES", "DESCRIPTION"];

/// A token that can be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    id: String,
    role: &'static str,
    uses: String,
    /// In so many seconds; `None`: never.
    expires: Option<i64>,
    expiration: String,
    description: String,
}

impl Row {
    /// `None` of a Secret that only looks like a token, or is one for something else than joining.
    pub fn of(secret: &Secret, now: Timestamp) -> Option<Self> {
        let id = secret.metadata.name.as_deref()?.strip_prefix(PREFIX)?;
        if value(secret, "usage-bootstrap-authentication") != "true" {
            return None;
        }
        let expiration = value(secret, "expiration");
        let expires = match expiration {
            "" => None,
            // What cannot be read is over: so the API server sees it.
            text => Some(text.parse::<Timestamp>().map_or(0, |end| end.duration_since(now).as_secs())),
        };
        Some(Self {
            id: id.to_owned(),
            role: if secret.data.as_ref().is_some_and(|data| data.contains_key(KEY)) { "server" } else { "agent" },
            uses: Some(value(secret, USES)).filter(|uses| !uses.is_empty()).unwrap_or("any").to_owned(),
            expires,
            expiration: expiration.to_owned(),
            description: value(secret, "description").to_owned(),
        })
    }

    fn cells(&self) -> [String; 5] {
        let expires = match self.expires {
            None => "never".to_owned(),
            Some(..=0) => "expired".to_owned(),
            Some(left) => {
                let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
                match (hours, minutes) {
                    (0, 0) => format!("{seconds}s"),
                    (0, _) => format!("{minutes}m"),
                    (..48, _) => format!("{hours}h{minutes}m"),
                    _ => format!("{}d", hours / 24),
                }
            }
        };
        [self.id.clone(), self.role.to_owned(), self.uses.clone(), expires, self.description.clone()]
    }
}

/// As a table.
pub fn text(rows: &[Row]) -> String {
    let lines = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(Row::cells));
    let lines: Vec<[String; 5]> = lines.collect();
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let padded = |line: &[String; 5]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(padded).collect()
}

/// For programs.
pub fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "id": row.id, "role": row.role, "uses": row.uses,
            "expires": Some(&row.expiration).filter(|text| !text.is_empty()), "description": row.description,
        })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::super::Terms;
    use super::*;
    use crate::join::token::{Pin, Token};

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn secret(id: &str, keys: Option<&[u8]>, terms: Terms) -> Secret {
        let ca = component::tls::pki::Ca::new("kubernetes", time::OffsetDateTime::now_utc()).unwrap();
        let pin = Pin::all_of(ca.pair().cert_pem.as_bytes()).unwrap()[0];
        let mut token = Token::new(pin, keys.is_some()).unwrap();
        token.id = id.into();
        terms.secret(&token, keys.map(<[u8]>::to_vec), now()).unwrap()
    }

    #[test]
    fn tokens_are_shown_without_their_secrets() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let mut secrets = vec![
            secret("aaaaaa", None, Terms { ttl: hours(24), ..Terms::default() }),
            secret(
                "bbbbbb",
                Some(b"sealed"),
                Terms { single_use: true, description: "rack 7".into(), ..Terms::default() },
            ),
            secret("cccccc", None, Terms { ttl: hours(24 * 9), ..Terms::default() }),
            secret("dddddd", None, Terms { ttl: Some(Duration::from_secs(59)), ..Terms::default() }),
        ];
        let mut other = secret("eeeeee", None, Terms::default());
        other.data.as_mut().unwrap().remove("usage-bootstrap-authentication");
        secrets.push(other);
        let shown = |after: i64| {
            let at = Timestamp::from_second(now().as_second() + after).unwrap();
            text(&secrets.iter().filter_map(|secret| Row::of(secret, at)).collect::<Vec<_>>())
        };
        expect![[r#"
            ID       ROLE     USES   EXPIRES   DESCRIPTION
            aaaaaa   agent    any    24h0m
            bbbbbb   server   1      never     rack 7
            cccccc   agent    any    9d
            dddddd   agent    any    59s
        "#]]
        .assert_eq(&shown(0));
        expect![[r#"
            ID       ROLE     USES   EXPIRES   DESCRIPTION
            aaaaaa   agent    any    10m
            bbbbbb   server   1      never     rack 7
            cccccc   agent    any    8d
            dddddd   agent    any    expired
        "#]]
        .assert_eq(&shown(24 * 3600 - 600));
        let rows: Vec<_> = secrets.iter().filter_map(|secret| Row::of(secret, now())).collect();
        let shown = json(&rows).to_string();
        expect![[r#"{"description":"","expires":"2026-01-02T00:00:00Z","id":"aaaaaa","role":"agent","uses":"any"}"#]]
            .assert_eq(&json(&rows[..1])[0].to_string());
        for secret in &secrets {
            assert!(!shown.contains(super::value(secret, "token-secret")));
        }
    }
}
