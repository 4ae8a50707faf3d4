//! What the server serves: for the controllers that deal with every kind there is.

use std::time::Duration;

use futures::future::join_all;
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::Client;
use tokio::{sync::Mutex, time::Instant};

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(30);
/// How long a kind that was looked for and not found is taken to be missing.
const MISSED: Duration = Duration::from_secs(2);

/// A kind as the server serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Its group's preferred version, or the only one that has it.
    pub(crate) preferred: bool,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|v| self.verbs.iter().any(|has| has == v))
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of its collection, in a namespace if it has namespaces and one is given.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api/" } else { "/apis/" };
        let api = self.api_version();
        match self.namespaced && !namespace.is_empty() {
            true => format!("{root}{api}/namespaces/{namespace}/{}", self.plural),
            false => format!("{root}{api}/{}", self.plural),
        }
    }
}

/// What was found, and which group versions did not answer (an aggregated server that is down, say).
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) resources: Vec<Resource>,
    pub(crate) failed: Vec<String>,
}

/// Asks the server for everything that it serves.
///
/// # Errors
/// It does not even list its groups.
pub(crate) async fn discover(client: &Client) -> kube::Result<Discovered> {
    let groups: APIGroupList = get(client, "/apis").await?;
    let mut versions = vec![(String::new(), "v1".to_owned(), true)];
    for group in groups.groups {
        let preferred = group.preferred_version.as_ref().map(|v| v.version.clone());
        for v in group.versions {
            let is_preferred = Some(&v.version) == preferred.as_ref();
            versions.push((group.name.clone(), v.version, is_preferred));
        }
    }
    let ask = |(group, version, preferred): &(String, String, bool)| {
        let path = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/{version}") };
        let preferred = *preferred;
        async move { (preferred, get::<APIResourceList>(client, &path).await) }
    };
    let answers = join_all(versions.iter().map(ask)).await;
    let mut found = Discovered::default();
    for ((group, version, _), (preferred, answer)) in versions.iter().zip(answers) {
        match answer {
            Ok(list) => {
                found.resources.extend(list.resources.into_iter().filter(|r| !r.name.contains('/')).map(|r| Resource {
                    group: group.clone(),
                    version: version.clone(),
                    plural: r.name,
                    kind: r.kind,
                    namespaced: r.namespaced,
                    preferred,
                    verbs: r.verbs,
                }))
            }
            Err(error) => found.failed.push(format!("{group}/{version}: {}", client::message(&error))),
        }
    }
    promote(&mut found.resources);
    Ok(found)
}

/// A resource that its group's preferred version lacks is preferred in the first version that has it.
fn promote(resources: &mut [Resource]) {
    for i in 0..resources.len() {
        let same = |r: &Resource| r.group == resources[i].group && r.plural == resources[i].plural;
        let first = resources.iter().position(same) == Some(i);
        let promoted = first && !resources.iter().any(|r| same(r) && r.preferred);
        resources[i].preferred |= promoted;
    }
}

/// Remembers what the server serves, and asks again when something is missing, or when that is a while ago.
pub(crate) struct Served {
    client: Client,
    found: Mutex<Option<(Instant, Discovered)>>,
}

impl Served {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, found: Mutex::default() }
    }

    /// The first resource that is `wanted`.
    ///
    /// # Errors
    /// The server can't be asked, or only in part and it is not among what answered.
    pub(crate) async fn find(&self, wanted: impl Fn(&Resource) -> bool) -> anyhow::Result<Option<Resource>> {
        let mut found = self.found.lock().await;
        let age = found.as_ref().map(|(at, _)| at.elapsed());
        let known = |found: &Discovered| found.resources.iter().find(|r| wanted(r)).cloned();
        if let Some((_, discovered)) = &*found {
            let resource = known(discovered);
            if age < Some(if resource.is_some() { FRESH } else { MISSED }) {
                return Ok(resource);
            }
        }
        let (_, discovered) = found.insert((Instant::now(), discover(&self.client).await?));
        let resource = known(discovered);
        anyhow::ensure!(
            resource.is_some() || discovered.failed.is_empty(),
            "unable to retrieve the complete list of server APIs: {}",
            discovered.failed.join(", ")
        );
        Ok(resource)
    }

    /// Everything that is served; none if a part of the server does not answer.
    pub(crate) async fn all(&self) -> Option<Vec<Resource>> {
        let mut found = self.found.lock().await;
        let (_, discovered) = found.insert((Instant::now(), discover(&self.client).await.ok()?));
        discovered.failed.is_empty().then(|| discovered.resources.clone())
    }
}

/// Whether a resource has a subresource.
///
/// # Errors
/// Its group's version does not answer.
pub(crate) async fn has_subresource(client: &Client, resource: &Resource, name: &str) -> kube::Result<bool> {
    let path = if resource.group.is_empty() { "/api/" } else { "/apis/" };
    let list: APIResourceList = get(client, &format!("{path}{}", resource.api_version())).await?;
    let name = format!("{}/{name}", resource.plural);
    Ok(list.resources.iter().any(|r| r.name == name))
}

/// What the server answers at a path.
///
/// # Errors
/// It does not, or something else.
pub(crate) async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> kube::Result<T> {
    client.request(Request::get(path).body(vec![]).map_err(kube::Error::HttpError)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_is_preferred_once() {
        let r = |version: &str, plural: &str, preferred| Resource {
            group: "g".into(),
            version: version.into(),
            plural: plural.into(),
            kind: "K".into(),
            namespaced: true,
            preferred,
            verbs: vec![],
        };
        let mut all =
            [r("v1", "a", true), r("v1beta1", "a", false), r("v1beta1", "b", false), r("v1alpha1", "b", false)];
        promote(&mut all);
        assert_eq!(all.map(|r| r.preferred), [true, false, true, false]);
        assert_eq!(r("v1", "a", true).path("ns"), "/apis/g/v1/namespaces/ns/a");
    }
}
