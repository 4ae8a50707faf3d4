//! The API of the running cluster, for kinds that are known by what the server says of itself.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use http::Request;
use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::meta;
use serde_json::{Value, json};

use super::clean::{self, Owner, Reference};

/// Who is noted as the manager of the fields that are written.
const MANAGER: &str = "fieldManager=ferry-snapshot";

/// A kind that the server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    group: String,
    version: String,
    plural: String,
    singular: String,
    short_names: Vec<String>,
    kind: String,
    namespaced: bool,
    /// Whether its status is a part of its own, which writes of the rest leave alone.
    pub has_status: bool,
}

impl Kind {
    /// Namespaces, which every server has.
    pub fn namespaces() -> Self {
        Self {
            group: String::new(),
            version: "v1".into(),
            plural: "namespaces".into(),
            singular: "namespace".into(),
            short_names: vec!["ns".into()],
            kind: "Namespace".into(),
            namespaced: false,
            has_status: true,
        }
    }

    fn path(&self, namespace: &str, name: &str) -> String {
        let version = version_path(&self.group, &self.version);
        let place = if self.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{version}{place}/{}{name}", self.plural)
    }
}

fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// See the module.
pub struct Api {
    client: kube::Client,
    dry: bool,
    kinds: HashMap<GroupVersionKind, Kind>,
}

/// Whether an error is an answer with that code.
pub fn is(error: &anyhow::Error, code: u16) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == code)
}

impl Api {
    /// Through that client; `dry` changes nothing.
    pub fn new(client: kube::Client, dry: bool) -> Self {
        Self { client, dry, kinds: HashMap::new() }
    }

    /// Whether nothing is changed.
    pub fn is_dry(&self) -> bool {
        self.dry
    }

    /// Learns the kinds of these groups' versions.
    pub async fn discover(&mut self, kinds: impl Iterator<Item = GroupVersionKind>) -> anyhow::Result<()> {
        let versions: HashSet<(String, String)> =
            kinds.map(|kind| (kind.group.to_string(), kind.version.to_string())).collect();
        for (group, version) in versions {
            let Some(list) = self.read(&version_path(&group, &version)).await? else { continue };
            let resources = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
            for kind in kinds_of(&group, &version, resources) {
                let gvk = GroupVersionKind::new(group.as_str(), version.as_str(), kind.kind.as_str());
                self.kinds.insert(gvk, kind);
            }
        }
        Ok(())
    }

    /// A kind, if it is served.
    pub fn kind(&self, gvk: &GroupVersionKind) -> Option<&Kind> {
        self.kinds.get(gvk)
    }

    /// Whether people mean that kind by a word: `deployments`, `deploy`, `deployment.apps`.
    pub fn is_called(&self, gvk: &GroupVersionKind, word: &str) -> bool {
        let (word, group) = word.split_once('.').unwrap_or((word, &gvk.group));
        let is_kind = gvk.kind.to_lowercase() == word;
        let known = self.kinds.get(gvk).is_some_and(|kind| {
            kind.plural == word || kind.singular == word || kind.short_names.iter().any(|short| short == word)
        });
        group == gvk.group && (is_kind || known)
    }

    /// An object as kubectl tells it: `deployment.apps/web`.
    pub fn told(&self, gvk: &GroupVersionKind, name: &str) -> String {
        let kind = gvk.kind.to_lowercase();
        if gvk.group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{}/{name}", gvk.group) }
    }

    /// An object; `None` where it is not there.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> anyhow::Result<Option<Value>> {
        self.read(&kind.path(namespace, name)).await
    }

    async fn read(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.client.request(Request::get(path).body(Vec::new())?).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| path.to_owned()),
        }
    }

    /// Makes an object.
    pub async fn create(&self, kind: &Kind, namespace: &str, value: &Value) -> anyhow::Result<Value> {
        let request = Request::post(format!("{}?{MANAGER}", kind.path(namespace, "")));
        self.send(request, value).await
    }

    /// Says whose fields are whose.
    pub async fn managed_by(&self, kind: &Kind, made: &Value, managers: Value) -> anyhow::Result<()> {
        let path = kind.path(meta::namespace(made), meta::name(made));
        let patch = json!({"metadata": {"managedFields": managers}});
        let request = Request::patch(format!("{path}?{MANAGER}"));
        let request = request.header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        let _: Value = self.client.request(request.body(serde_json::to_vec(&patch)?)?).await?;
        Ok(())
    }

    /// Replaces an object by what has its resourceVersion.
    pub async fn replace(&self, kind: &Kind, value: &Value) -> anyhow::Result<Value> {
        let path = kind.path(meta::namespace(value), meta::name(value));
        self.send(Request::put(format!("{path}?{MANAGER}")), value).await
    }

    async fn send(&self, request: http::request::Builder, value: &Value) -> anyhow::Result<Value> {
        let request =
            request.header(http::header::CONTENT_TYPE, "application/json").body(serde_json::to_vec(value)?)?;
        Ok(self.client.request(request).await?)
    }

    /// What has become of an owner that is not brought back.
    pub async fn owner(&self, reference: &Reference, namespace: &str) -> anyhow::Result<Owner> {
        let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
        let gvk = GroupVersionKind::new(group, version, reference.kind.as_str());
        let Some(kind) = self.kind(&gvk) else { return Ok(Owner::Gone) };
        let live = self.get(kind, namespace, &reference.name).await?;
        Ok(live.map_or(Owner::Gone, |live| Owner::Is(meta::uid(&live).to_owned())))
    }

    /// Binds a claim that is about to be made to the volume that it had, if that is still there and waits for it; otherwise it
    /// gets a new one. Says which, if it had one.
    pub async fn volume(&self, claim: &mut Value) -> anyhow::Result<Option<String>> {
        if meta::kind(claim) != "PersistentVolumeClaim" {
            return Ok(None);
        }
        let Some(name) = claim["spec"]["volumeName"].as_str().map(String::from) else {
            clean::unbind(claim);
            return Ok(None);
        };
        let path = format!("/api/v1/persistentvolumes/{name}");
        let volume = self.read(&path).await?;
        let waits = volume.as_ref().is_some_and(|volume| {
            let reference = &volume["spec"]["claimRef"];
            let phase = volume["status"]["phase"].as_str().unwrap_or_default();
            reference["name"] == meta::name(claim)
                && reference["namespace"] == meta::namespace(claim)
                && matches!(phase, "Released" | "Available")
                && meta::deletion_timestamp(volume).is_none()
        });
        if !waits {
            clean::unbind(claim);
            return Ok(Some(format!("its volume {name} is gone: it gets a new one, which is empty")));
        }
        clean::rebind(claim);
        if !self.dry {
            // It remembers the claim that is gone by its UID.
            let patch = json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}});
            let request = Request::patch(format!("{path}?{MANAGER}"));
            let request = request.header(http::header::CONTENT_TYPE, "application/merge-patch+json");
            let _: Value = self.client.request(request.body(serde_json::to_vec(&patch)?)?).await?;
        }
        Ok(Some(format!("its volume {name} waits for it, with what is in it")))
    }
}

/// The kinds in a list of a group's version.
fn kinds_of(group: &str, version: &str, resources: &[Value]) -> Vec<Kind> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: HashSet<&str> = resources.iter().filter_map(|resource| resource["name"].as_str()).collect();
    let whole = resources.iter().filter(|resource| resource["name"].as_str().is_some_and(|name| !name.contains('/')));
    let kind = |resource: &Value| {
        let plural = text(&resource["name"]);
        Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            singular: text(&resource["singularName"]),
            short_names: resource["shortNames"].as_array().into_iter().flatten().map(text).collect(),
            kind: text(&resource["kind"]),
            namespaced: resource["namespaced"] == true,
            has_status: names.contains(format!("{plural}/status").as_str()),
            plural,
        }
    };
    whole.map(kind).collect()
}

/// The kinds whose discovery an object needs: its own, and those of its owners.
pub fn needed(value: &Value) -> impl Iterator<Item = GroupVersionKind> {
    let owner = |reference: Reference| {
        let version = GroupVersion::parse(&reference.api_version).ok()?;
        Some(version.with_kind(reference.kind))
    };
    std::iter::once(meta::gvk(value)).chain(clean::owners(value).into_iter().filter_map(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_the_server_says() {
        let resources = [
            json!({"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment", "shortNames": ["deploy"]}),
            json!({"name": "deployments/status", "namespaced": true, "kind": "Deployment"}),
            json!({"name": "deployments/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling"}),
        ];
        let kinds = kinds_of("apps", "v1", &resources);
        assert_eq!(kinds.len(), 1);
        assert!(kinds[0].has_status);
        assert_eq!(kinds[0].path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(Kind::namespaces().path("", "shop"), "/api/v1/namespaces/shop");
    }
}
