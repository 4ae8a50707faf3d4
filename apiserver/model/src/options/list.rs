//! ListOptions: which objects, at which revision, and how a watch begins. The combinations of resourceVersion,
//! resourceVersionMatch, limit and continue follow `storage/interfaces.go` and `storage/cacher/delegator`; the faults
//! `apimachinery/pkg/apis/meta/internalversion/validation`.

use machinery::field::{Error, ErrorList, Path};
use machinery::go;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::StatusError;

use super::{integer, refuse};
use crate::request_info::Query;

/// How exact a read's revision must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// Everything acknowledged before the read.
    MostRecent,
    /// Whatever is there.
    Any,
    /// At least this revision.
    NotOlderThan(i64),
    /// This very revision.
    Exact(i64),
}

/// ListOptions.
#[derive(Debug, Clone)]
pub struct List {
    /// Which labels.
    pub labels: LabelSelector,
    /// Which fields.
    pub fields: FieldSelector,
    /// Which revision, for lists.
    pub at: ReadAt,
    /// The resourceVersion as given; a watch starts after it.
    pub resource_version: Option<i64>,
    /// The most items; 0: all.
    pub limit: usize,
    /// Where the page before ended.
    pub continue_token: Option<String>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the state.
    pub initial_events: Option<bool>,
    /// How long a watch lives; 0 or none: as long as the server likes, less than 0: it ends at once.
    pub timeout_seconds: Option<i64>,
}

impl List {
    /// From the query of a list or of the delete of a collection.
    pub fn parse(query: &Query) -> Result<Self, StatusError> {
        let mut options = Self::read(query)?;
        let text = query.get("resourceVersion");
        let rule = query.get("resourceVersionMatch");
        refuse("ListOptions", faults_of_list(query))?;
        if options.continue_token.is_some() {
            if text.is_some_and(|version| version != "0") {
                let why = "specifying resource version is not allowed when using continue";
                return Err(StatusError::bad_request(why));
            }
            return Ok(options);
        }
        let invalid = |e: StatusError| StatusError::bad_request(format!("invalid resource version: {}", e.message));
        options.resource_version = text.map(parse_revision).transpose().map_err(invalid)?;
        options.at = match (options.resource_version, rule) {
            (None, _) => ReadAt::MostRecent,
            (Some(revision), Some("Exact")) => ReadAt::Exact(revision),
            (Some(0), _) => ReadAt::Any,
            // Upstream's legacy rule: a limit makes a resourceVersion without a match rule exact.
            (Some(revision), None) if options.limit > 0 => ReadAt::Exact(revision),
            (Some(revision), _) => ReadAt::NotOlderThan(revision),
        };
        if options.at == ReadAt::Any {
            // As upstream: whatever is there is there as a whole.
            options.limit = 0;
        }
        Ok(options)
    }

    /// From the query of a watch.
    pub fn parse_watch(query: &Query) -> Result<Self, StatusError> {
        let mut options = Self::read(query)?;
        refuse("ListOptions", faults_of_watch(query))?;
        options.initial_events = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
        options.resource_version = query.get("resourceVersion").map(parse_revision).transpose()?;
        Ok(options)
    }

    fn read(query: &Query) -> Result<Self, StatusError> {
        let given = |name| query.all(name).next().map(integer).transpose();
        let limit = given("limit")?.unwrap_or_default();
        let timeout_seconds = given("timeoutSeconds")?;
        let labels =
            LabelSelector::parse(query.get("labelSelector").unwrap_or_default()).map_err(StatusError::bad_request)?;
        let fields =
            FieldSelector::parse(query.get("fieldSelector").unwrap_or_default()).map_err(StatusError::bad_request)?;
        Ok(Self {
            labels,
            fields,
            at: ReadAt::MostRecent,
            resource_version: None,
            limit: usize::try_from(limit).unwrap_or_default(),
            continue_token: query.get("continue").map(str::to_string),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: None,
            timeout_seconds,
        })
    }
}

/// A resourceVersion as clients send it. The fault is upstream's, which is no API error and thus a 500.
pub fn parse_revision(text: &str) -> Result<i64, StatusError> {
    // What no revision can be is of the future, as any other that is too large.
    go::parse_uint::<u64>(text).map(|n| i64::try_from(n).unwrap_or(i64::MAX)).map_err(|detail| {
        let message = Error::invalid(&Path::new("resourceVersion"), text, detail).to_string();
        StatusError { code: 500, reason: "".into(), message, details: None, continue_token: String::new() }
    })
}

fn match_path() -> Path {
    Path::new("resourceVersionMatch")
}

fn faults_of_list(query: &Query) -> ErrorList {
    let mut errors = ErrorList::default();
    if let Some(rule) = query.get("resourceVersionMatch") {
        let mut forbid = |why: &str| errors.push(Error::forbidden(&match_path(), why));
        if query.get("resourceVersion").is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.get("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(rule, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&match_path(), rule, ["Exact", "NotOlderThan", ""]));
        }
        if rule == "Exact" && query.get("resourceVersion") == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&match_path(), why));
        }
    }
    if query.has("sendInitialEvents") {
        errors.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
    }
    errors
}

fn faults_of_watch(query: &Query) -> ErrorList {
    let mut errors = ErrorList::default();
    let rule = query.get("resourceVersionMatch");
    let state = query.has("sendInitialEvents");
    let mut forbid = |why: &str| errors.push(Error::forbidden(&match_path(), why));
    if state && rule != Some("NotOlderThan") {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    let Some(rule) = rule else { return errors };
    if !state {
        forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if rule != "NotOlderThan" {
        errors.push(Error::not_supported(&match_path(), rule, ["NotOlderThan"]));
    }
    if query.get("continue").is_some() {
        errors.push(Error::forbidden(&match_path(), "resourceVersionMatch is forbidden when continue is provided"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_of_a_list_is_what_its_options_together_say() {
        let at = |query: &str| List::parse(&Query::parse(query)).map(|o| (o.at, o.limit)).map_err(|e| e.code);
        for (query, expect) in [
            ("", Ok((ReadAt::MostRecent, 0))),
            ("resourceVersion=&limit=2", Ok((ReadAt::MostRecent, 2))),
            ("resourceVersion=0&limit=2", Ok((ReadAt::Any, 0))),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", Ok((ReadAt::Any, 0))),
            ("resourceVersion=7", Ok((ReadAt::NotOlderThan(7), 0))),
            ("resourceVersion=7&limit=2", Ok((ReadAt::Exact(7), 2))),
            ("resourceVersion=7&limit=2&resourceVersionMatch=NotOlderThan", Ok((ReadAt::NotOlderThan(7), 2))),
            ("resourceVersion=7&resourceVersionMatch=Exact", Ok((ReadAt::Exact(7), 0))),
            ("resourceVersion=0&resourceVersionMatch=Exact", Err(422)),
            ("resourceVersionMatch=Exact", Err(422)),
            ("resourceVersion=7&resourceVersionMatch=exact", Err(422)),
            ("resourceVersion=x", Err(400)),
            ("sendInitialEvents=true", Err(422)),
            ("continue=x&resourceVersion=7", Err(400)),
            ("continue=x&resourceVersion=0", Ok((ReadAt::MostRecent, 0))),
            ("limit=-1", Ok((ReadAt::MostRecent, 0))),
            ("limit=", Err(400)),
        ] {
            assert_eq!(at(query), expect, "{query}");
        }
    }

    #[test]
    fn a_watchs_faults_are_told_all_at_once() {
        let faults = |query: &str| faults_of_watch(&Query::parse(query)).len();
        for (query, expect) in [
            ("", 0),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 0),
            ("sendInitialEvents=false", 1),
            ("sendInitialEvents=true&resourceVersionMatch=Exact", 2),
            ("resourceVersionMatch=NotOlderThan", 1),
            ("resourceVersionMatch=Exact&continue=x", 3),
        ] {
            assert_eq!(faults(query), expect, "{query}");
        }
    }
}
