//! Conversion by webhooks: a definition's `spec.conversion` becomes a converter of its objects. What was asked for in one
//! request is sent to a webhook in one call. Follows `apiextensions-apiserver/pkg/apiserver/conversion`.

use async_trait::async_trait;
use machinery::status::StatusError;
use model::custom::Custom;
use model::custom::conversion::{Conversion, Convert, failed};
use model::lookup::Lookup;
use serde_json::Value;

use crate::webhook::Webhook;

mod review;
#[cfg(test)]
mod tests;

/// The conversion that a definition's spec asks for.
pub fn read(spec: &Value) -> Conversion {
    let conversion = &spec["conversion"];
    if conversion["strategy"] != "Webhook" {
        return Conversion::None;
    }
    let reviews = conversion["webhook"]["conversionReviewVersions"].as_array().into_iter().flatten();
    let reviews = reviews.filter_map(Value::as_str).map(str::to_string).collect();
    match Webhook::new(&conversion["webhook"]["clientConfig"]) {
        Ok(webhook) => Conversion::By(Box::new(Converter { webhook, reviews })),
        Err(why) => Conversion::Broken(why),
    }
}

/// A conversion webhook.
#[derive(Debug)]
struct Converter {
    webhook: Webhook,
    /// Versions of ConversionReview that it speaks.
    reviews: Vec<String>,
}

#[async_trait]
impl Convert for Converter {
    async fn convert(
        &self,
        lookup: &dyn Lookup,
        custom: &Custom,
        mut objects: Vec<Value>,
        to: &str,
    ) -> Result<Vec<Value>, StatusError> {
        let asked: Vec<&Value> = objects.iter().filter(|object| object["apiVersion"] != to).collect();
        let Some(first) = asked.first() else { return Ok(objects) };
        let of = review::Subject::of(first, asked.len() > 1);
        let (uid, count) = (model::random::random_uuid(), asked.len());
        let request = review::request(&self.reviews, &asked, to, &uid).map_err(failed)?;
        let answer = self.webhook.post(lookup, &request).await.map_err(|why| failed(of.failed(&why)))?;
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
}
