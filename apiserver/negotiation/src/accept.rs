//! What a client accepts: an encoding, and a form (the object itself, a Table, metadata only). Follows
//! `apiserver/pkg/endpoints/handlers/negotiation` and, for the order of the header's clauses, `munnerz/goautoneg`:
//! the first clause that an endpoint can serve wins, and a clause that asks for a form it cannot serve is passed over.

use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::request::Parts;
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::request_info::Query;

/// What the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The object or list itself.
    #[default]
    Plain,
    /// `as=Table`.
    Table,
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=PartialObjectMetadataList`.
    MetadataList,
}

/// What an endpoint can serve.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Whether objects have a protobuf form: custom ones have none.
    pub protobuf: bool,
    /// Whether Tables and metadata are made.
    pub forms: bool,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// How it is written.
    pub encoding: Encoding,
    /// Table or metadata only.
    pub form: Form,
    /// The version of `form`'s kinds: `v1`, or `v1beta1` for old clients.
    pub form_version: &'static str,
    /// JSON indented: `?pretty=true`, or a browser or curl looks.
    pub pretty: bool,
    /// Whether a large answer may be compressed.
    pub gzip: bool,
}

impl Accept {
    /// Whether the body is JSON that people read.
    pub fn is_indented(&self) -> bool {
        self.pretty && self.encoding == Encoding::Json
    }
}

/// What a request says of its answer. Kept beside it, so that an error from any step is written as the client wants.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    accept: Option<HeaderValue>,
    pretty: bool,
    gzip: bool,
}

impl Asked {
    /// From the head of a request.
    pub fn of(parts: &Parts, query: &Query) -> Self {
        let header = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let agent = header(USER_AGENT);
        let looks = ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known));
        let pretty =
            query.get("pretty").map_or(looks, |text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"));
        let gzip = header(ACCEPT_ENCODING).split(',').any(|token| token.trim() == "gzip");
        Self { accept: parts.headers.get(ACCEPT).cloned(), pretty, gzip }
    }

    /// What an endpoint answers with; 406 where it can serve nothing of what is asked for.
    pub fn negotiate(&self, offer: Offer) -> Result<Accept, StatusError> {
        self.find(offer).ok_or_else(|| StatusError::not_acceptable(&Encoding::ALL.map(Encoding::media_type)))
    }

    /// [`negotiate`](Self::negotiate) for a watch, which YAML has no frames for.
    pub fn negotiate_stream(&self, offer: Offer) -> Result<Accept, StatusError> {
        let accept = self.negotiate(offer)?;
        if accept.encoding == Encoding::Yaml {
            return Err(StatusError::not_acceptable(&[
                "application/json;stream=watch",
                Encoding::Protobuf.stream_type(),
            ]));
        }
        Ok(Accept { gzip: false, ..accept })
    }

    /// What an error is written in; `None` where nothing fits, and it is indented JSON then.
    pub fn for_error(&self) -> Option<Accept> {
        self.find(Offer { protobuf: true, forms: false })
    }

    fn find(&self, offer: Offer) -> Option<Accept> {
        let plain = Accept { form_version: "v1", pretty: self.pretty, gzip: self.gzip, ..Accept::default() };
        let header = self.accept.as_ref().map_or(Some(""), |v| v.to_str().ok()).unwrap_or_default();
        if header.is_empty() {
            return Some(plain);
        }
        clauses(header).into_iter().find_map(|clause| {
            let fits = |encoding: &Encoding| encoding.matches(clause.kind, clause.subtype);
            Encoding::ALL.into_iter().filter(fits).find_map(|encoding| clause.accept(encoding, offer, &plain))
        })
    }
}

/// One media range of the header.
struct Clause<'h> {
    kind: &'h str,
    subtype: &'h str,
    quality: f32,
    parameters: Vec<(&'h str, &'h str)>,
}

impl<'h> Clause<'h> {
    fn parse(text: &'h str) -> Option<Self> {
        let space = |text: &'h str| text.trim_matches(' ');
        let mut parts = text.split(';');
        let mut media = parts.next()?.splitn(2, '/');
        let kind = space(media.next()?);
        let subtype = match media.next().filter(|s| !s.is_empty()) {
            Some(subtype) if subtype.contains('/') => return None,
            Some(subtype) => space(subtype),
            None if kind == "*" => "*",
            None => return None,
        };
        let mut clause = Self { kind, subtype, quality: 1.0, parameters: Vec::new() };
        for (name, value) in parts.filter_map(|p| p.split_once('=')).filter(|(_, v)| !v.is_empty() && !v.contains('='))
        {
            match space(name) {
                "q" => clause.quality = value.parse().unwrap_or(0.0),
                name => clause.parameters.push((name, space(value))),
            }
        }
        Some(clause)
    }

    /// Whether it stands before another. No order in the strict sense, which is why the sort below is upstream's.
    fn before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }

    fn accept(&self, encoding: Encoding, offer: Offer, plain: &Accept) -> Option<Accept> {
        let mut accept = Accept { encoding, ..plain.clone() };
        let (mut group, mut version, mut kind, mut converts) = ("", "", "", false);
        for (name, value) in &self.parameters {
            match *name {
                "as" => (kind, converts) = (value, true),
                "g" => (group, converts) = (value, true),
                "v" => (version, converts) = (value, true),
                "stream" if *value != "watch" || encoding == Encoding::Yaml => return None,
                "sv" if !offer.forms || *value != "v1" => return None,
                "pretty" => accept.pretty |= *value == "1",
                _ => {}
            }
        }
        if !converts {
            return (offer.protobuf || encoding != Encoding::Protobuf).then_some(accept);
        }
        accept.form = match kind {
            "Table" if encoding != Encoding::Protobuf => Form::Table,
            "PartialObjectMetadata" => Form::Metadata,
            "PartialObjectMetadataList" => Form::MetadataList,
            _ => return None,
        };
        accept.form_version = match version {
            "v1" => "v1",
            // Its list has other field numbers; clients that old speak JSON.
            "v1beta1" if encoding != Encoding::Protobuf => "v1beta1",
            _ => return None,
        };
        (offer.forms && group == "meta.k8s.io").then_some(accept)
    }
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> =
        header.split(',').filter_map(|text| Clause::parse(text.trim_matches(' '))).collect();
    for i in 1..clauses.len() {
        let mut at = i;
        while at > 0 && clauses[at].before(&clauses[at - 1]) {
            clauses.swap(at, at - 1);
            at -= 1;
        }
    }
    clauses
}

#[cfg(test)]
mod tests;
