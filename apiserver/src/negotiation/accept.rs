//! The Accept header: a media type this server can produce, and a form (the object itself, a Table, metadata only).
//! Clients list what they like in order (`application/json;as=Table;v=v1;g=meta.k8s.io,application/json`); the first
//! that can be served wins among equal q-values.

use http::HeaderMap;
use http::header::ACCEPT;
use machinery::status::StatusError;

use crate::filters::request_info::Query;

/// What the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The object or list itself.
    #[default]
    Plain,
    /// `as=Table`.
    Table,
    /// `as=PartialObjectMetadata` or `...List`.
    Metadata,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// YAML instead of JSON.
    pub yaml: bool,
    /// Table or metadata only.
    pub form: Form,
    /// The version of `form`'s kinds: `v1`, or `v1beta1` for old clients.
    pub form_version: &'static str,
    /// `?pretty=true`, or a browser or curl looks.
    pub pretty: bool,
}

const SUPPORTED: &[&str] = &["application/json", "application/yaml"];

impl Accept {
    /// Reads the header; 406 where nothing it lists can be served.
    pub fn parse(headers: &HeaderMap, query: &Query) -> Result<Self, StatusError> {
        let agent = headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let looks = agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0");
        let pretty = if query.has("pretty") { query.flag("pretty") } else { looks };
        let header = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
        if header.trim().is_empty() {
            return Ok(Self { pretty, form_version: "v1", ..Self::default() });
        }
        let mut clauses: Vec<(f32, &str)> = header.split(',').map(|c| (quality(c), c.trim())).collect();
        clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
        clauses
            .into_iter()
            .filter(|(q, _)| *q > 0.0)
            .find_map(|(_, clause)| Self::clause(clause))
            .map(|accept| Self { pretty, ..accept })
            .ok_or_else(|| StatusError::not_acceptable(SUPPORTED))
    }

    fn clause(clause: &str) -> Option<Self> {
        let mut parts = clause.split(';').map(str::trim);
        let yaml = match parts.next()? {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        let mut accept = Self { yaml, form_version: "v1", ..Self::default() };
        let mut group = "meta.k8s.io";
        for part in parts {
            match part.split_once('=') {
                Some(("as", "Table")) => accept.form = Form::Table,
                Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => accept.form = Form::Metadata,
                // Discovery's own forms are negotiated by discovery.
                Some(("as", _)) => return None,
                Some(("v", "v1")) => accept.form_version = "v1",
                Some(("v", "v1beta1")) => accept.form_version = "v1beta1",
                Some(("v", _)) => return None,
                Some(("g", name)) => group = name,
                _ => {}
            }
        }
        (accept.form == Form::Plain || group == "meta.k8s.io").then_some(accept)
    }

    /// For answers that have no other form: 406 where a Table or metadata only is asked for.
    pub fn plain(self) -> Result<Self, StatusError> {
        if self.form == Form::Plain { Ok(self) } else { Err(StatusError::not_acceptable(SUPPORTED)) }
    }

    /// Whether the answer is the resident encoding: bytes that are only copied.
    pub fn resident(&self) -> bool {
        !self.yaml && self.form == Form::Plain && !self.pretty
    }
}

fn quality(clause: &str) -> f32 {
    clause.split(';').find_map(|p| p.trim().strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        for (header, expect) in [
            ("", "json Plain v1"),
            ("*/*", "json Plain v1"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "json Table v1"),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "json Table v1beta1"),
            ("application/vnd.kubernetes.protobuf,application/json", "json Plain v1"),
            ("application/json;q=0.5,application/yaml", "yaml Plain v1"),
            ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "json Metadata v1"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "json Plain v1"),
            ("text/html", "406"),
            ("application/vnd.kubernetes.protobuf", "406"),
        ] {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(ACCEPT, header.parse().expect("header"));
            }
            let got = match Accept::parse(&headers, &Query::default()) {
                Ok(a) => format!("{} {:?} {}", if a.yaml { "yaml" } else { "json" }, a.form, a.form_version),
                Err(error) => error.code.to_string(),
            };
            assert_eq!(got, expect, "{header}");
        }
    }
}
