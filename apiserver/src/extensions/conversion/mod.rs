//! Between the versions of a custom resource: by name only (strategy `None`), or by a webhook.
//!
//! Objects stay as they were written, each in the version that was the stored one then, until they are written again. One that
//! is asked for in another version goes through here; what was asked for in one request is sent to a webhook in one call. Follows `apiextensions-apiserver/pkg/apiserver/conversion`.

use machinery::status::StatusError;
use serde_json::Value;

use super::custom::Custom;
use crate::registry::Registry;
use crate::webhook::Webhook;

mod review;
#[cfg(test)]
mod served;
#[cfg(test)]
mod tests;

/// How a definition's versions are converted.
#[derive(Debug)]
pub enum Conversion {
    /// The same fields under another name.
    None,
    /// By asking.
    Webhook {
        /// Whom.
        webhook: Box<Webhook>,
        /// Versions of ConversionReview that it speaks.
        reviews: Vec<String>,
    },
    /// A webhook that cannot be called, and why.
    Broken(String),
}

impl Conversion {
    /// Of a definition's spec.
    pub fn read(spec: &Value) -> Self {
        let conversion = &spec["conversion"];
        if conversion["strategy"] != "Webhook" {
            return Self::None;
        }
        let reviews = conversion["webhook"]["conversionReviewVersions"].as_array().into_iter().flatten();
        let reviews = reviews.filter_map(Value::as_str).map(str::to_string).collect();
        match Webhook::new(&conversion["webhook"]["clientConfig"]) {
            Ok(webhook) => Self::Webhook { webhook: Box::new(webhook), reviews },
            Err(why) => Self::Broken(why),
        }
    }

    /// Whether another version of an object is the same object under another name.
    pub fn is_by_name(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Upstream tells what a conversion failed with in plain words, without a reason.
fn failed(message: String) -> StatusError {
    StatusError { message, reason: "".into(), details: None, ..StatusError::internal("") }
}

/// One object in the version `to`, for code that can't wait otherwise: other requests of this thread go on in another one.
/// Nothing, and a line in the log, where it failed, or where there is one thread only (in tests).
pub fn waited(registry: &Registry, custom: &Custom, object: Value, to: &str) -> Option<Value> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
        return None;
    }
    let convert = convert(registry, custom, vec![object], to);
    match tokio::task::block_in_place(|| runtime.block_on(convert)) {
        Ok(mut converted) => converted.pop(),
        Err(error) => {
            tracing::warn!(%error, to, "owners of fields are not told in another version");
            None
        }
    }
}

/// Objects in the version `to` (`group/version`), in their order. What is in it already stays as it is.
///
/// # Errors
/// Where a webhook is not there, fails, or answers with what is not the same objects in that version.
pub async fn convert(
    registry: &Registry,
    custom: &Custom,
    mut objects: Vec<Value>,
    to: &str,
) -> Result<Vec<Value>, StatusError> {
    let (webhook, reviews) = match &*custom.conversion {
        Conversion::None => {
            for object in objects.iter_mut().filter(|object| object["apiVersion"] != to) {
                object["apiVersion"] = to.into();
                custom.conform(object);
            }
            return Ok(objects);
        }
        Conversion::Broken(why) => return Err(failed(why.clone())),
        Conversion::Webhook { webhook, reviews } => (webhook, reviews),
    };
    let asked: Vec<&Value> = objects.iter().filter(|object| object["apiVersion"] != to).collect();
    let Some(first) = asked.first() else { return Ok(objects) };
    let of = review::Subject::of(first, asked.len() > 1);
    let (uid, count) = (crate::access::random_uuid(), asked.len());
    let request = review::request(reviews, &asked, to, &uid).map_err(failed)?;
    let answer = webhook.post(registry, &request).await.map_err(|why| failed(of.failed(&why)))?;
    let converted = review::converted(&request, answer, &uid).map_err(|why| failed(of.failed(&why)))?;
    if converted.len() != count {
        return Err(failed(of.count(converted.len(), count)));
    }
    let originals = objects.iter_mut().filter(|object| object["apiVersion"] != to);
    for (at, (object, new)) in originals.zip(converted).enumerate() {
        let mut new = review::accept(&of, object, new, to, at).map_err(failed)?;
        custom.conform(&mut new);
        *object = new;
    }
    Ok(objects)
}
