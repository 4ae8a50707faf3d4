//! Between the versions of a custom resource: by name only (strategy `None`), or by whoever its definition names.
//!
//! Objects stay as they were written, each in the version that was the stored one then, until they are written again. One
//! that is asked for in another version goes through here.

use std::fmt;

use async_trait::async_trait;
use machinery::status::StatusError;
use parking_lot::Mutex;
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

/// What a pure computation (managedFields) has of conversions, which may take a webhook: the computation runs with those that
/// are known, and notes those that it lacks; these are made meanwhile nobody is held up, and it runs again.
#[derive(Debug, Default)]
pub struct Conversions(Mutex<Vec<Asked>>);

#[derive(Debug)]
struct Asked {
    object: Value,
    to: String,
    /// Once it is made: the object in that version, or nothing where that failed.
    outcome: Option<Option<Value>>,
}

impl Conversions {
    /// An object in the version `to`; nothing where it cannot be converted, or is yet to be.
    pub fn get(&self, object: &Value, to: &str) -> Option<Value> {
        let mut known = self.0.lock();
        match known.iter().find(|asked| asked.to == to && asked.object == *object) {
            Some(asked) => asked.outcome.clone().flatten(),
            None => {
                known.push(Asked { object: object.clone(), to: to.to_owned(), outcome: None });
                None
            }
        }
    }

    /// Whether something was asked for that is yet to be made: what was computed with it does not count.
    pub fn lacking(&self) -> bool {
        self.0.lock().iter().any(|asked| asked.outcome.is_none())
    }

    /// Makes what was asked for, and says whether there was anything: then the computation has to run again. What fails is
    /// told in the log.
    pub async fn make(&self, lookup: &dyn Lookup, custom: &Custom) -> bool {
        let mut made = false;
        loop {
            let wanted = |(at, asked): (usize, &Asked)| {
                asked.outcome.is_none().then(|| (at, asked.object.clone(), asked.to.clone()))
            };
            let next = self.0.lock().iter().enumerate().find_map(wanted);
            let Some((at, object, to)) = next else { return made };
            made = true;
            let outcome = match convert(lookup, custom, vec![object], &to).await {
                Ok(mut converted) => converted.pop(),
                Err(error) => {
                    tracing::warn!(%error, to, "owners of fields are not told in another version");
                    None
                }
            };
            if let Some(asked) = self.0.lock().get_mut(at) {
                asked.outcome = Some(outcome);
            }
        }
    }
}
