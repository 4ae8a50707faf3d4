//! Waiting for definitions of custom resources, which the server itself writes to: it says what names they have, and holds
//! them until their objects are gone.

use serde_json::Value;
use testkit::Caller;

/// Waits on watches until the definition of that name is as wanted; `None` is a definition that is gone.
///
/// # Errors
/// A request failed.
pub async fn until(caller: &Caller, name: &str, wanted: impl Fn(Option<&Value>) -> bool) -> anyhow::Result<()> {
    let collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    loop {
        let read = caller.get(&format!("{collection}/{name}")).await?;
        if wanted((read.code == 200).then_some(&read.body)) {
            return Ok(());
        }
        let revision = read.body["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let watch = format!("{collection}?watch=true&resourceVersion={revision}&fieldSelector=metadata.name%3D{name}");
        caller.first_event(&watch).await?;
    }
}

/// Whether a definition's resource is served.
pub fn established(definition: Option<&Value>) -> bool {
    let conditions = definition.and_then(|d| d["status"]["conditions"].as_array());
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
}
