//! Between the versions of a custom resource: by name only (strategy `None`), or by whoever its definition names.
//!
//! Objects stay as they were written, each in the version that was the stored one then, until they are written again. One
//! that is asked for in another version goes through here.

use std::fmt;

use async_trait::async_trait;
use machinery::status::StatusError;
use serde_json::Value;

use super::Custom;
use crate::lookup::Lookup;

/// Converts objects where that takes more than another name: a webhook.
#[async_trait]
pub trait Convert: fmt::Debug + Send + Sync {
    /// Objects in the version `to` (`group/version`), in their order. What is in it already stays as it is. `lookup` finds
    /// the Service that a webhook is behind.
    ///
    /// # Errors
    /// Where it is not there, fails, or answers with what is not the same objects in that version.
    async fn convert(
        &self,
        lookup: &dyn Lookup,
        custom: &Custom,
        objects: Vec<Value>,
        to: &str,
    ) -> Result<Vec<Value>, StatusError>;
}

/// How a definition's versions are converted.
#[derive(Debug)]
pub enum Conversion {
    /// The same fields under another name.
    None,
    /// By asking.
    By(Box<dyn Convert>),
    /// A webhook that cannot be called, and why.
    Broken(String),
}

impl Conversion {
    /// Whether another version of an object is the same object under another name.
    pub fn is_by_name(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Upstream tells what a conversion failed with in plain words, without a reason.
pub fn failed(message: String) -> StatusError {
    StatusError { message, reason: "".into(), details: None, ..StatusError::internal("") }
}

/// Objects in the version `to` (`group/version`), in their order. What is in it already stays as it is.
///
/// # Errors
/// Where they cannot be converted.
pub async fn convert(
    lookup: &dyn Lookup,
    custom: &Custom,
    mut objects: Vec<Value>,
    to: &str,
) -> Result<Vec<Value>, StatusError> {
    match &*custom.conversion {
        Conversion::None => {
            for object in objects.iter_mut().filter(|object| object["apiVersion"] != to) {
                object["apiVersion"] = to.into();
                custom.conform(object);
            }
            Ok(objects)
        }
        Conversion::By(converter) => converter.convert(lookup, custom, objects, to).await,
        Conversion::Broken(why) => Err(failed(why.clone())),
    }
}

/// One object in the version `to`, for code that can't wait otherwise: other requests of this thread go on in another one.
/// Nothing, and a line in the log, where it failed, or where there is one thread only (in tests).
pub fn waited(lookup: &dyn Lookup, custom: &Custom, object: Value, to: &str) -> Option<Value> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
        return None;
    }
    let convert = convert(lookup, custom, vec![object], to);
    match tokio::task::block_in_place(|| runtime.block_on(convert)) {
        Ok(mut converted) => converted.pop(),
        Err(error) => {
            tracing::warn!(%error, to, "owners of fields are not told in another version");
            None
        }
    }
}
