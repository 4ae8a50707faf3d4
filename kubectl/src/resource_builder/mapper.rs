//! What kinds the server has: discovery, and the names people use for them (`pod`, `po`, `deployments.v1.apps`, `all`).

use std::sync::Arc;

use machinery::json::Fields;
use serde_json::Value;

use crate::cli::{
    context::{Call, Context},
    failure::{Failure, Outcome},
};

/// A resource of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The group; empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// `pods`.
    pub plural: String,
    /// `pod`.
    pub singular: String,
    /// `Pod`.
    pub kind: String,
    /// `po`.
    pub short_names: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// `get`, `list`, ...
    pub verbs: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Whether this is the version that the group prefers.
    pub preferred: bool,
}

impl Resource {
    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `apps/v1, Resource=deployments`, as upstream's messages name it.
    pub fn group_version_resource(&self) -> String {
        format!("{}/{}, Resource={}", self.group, self.version, self.plural)
    }

    /// `deployment.apps`.
    pub fn kind_group(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// `deployments.apps`.
    pub fn plural_group(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of an object, or of the collection.
    pub fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let within =
            if self.namespaced && !namespace.is_empty() { format!("/namespaces/{namespace}") } else { String::new() };
        let name = name.map(|name| format!("/{}", crate::cli::context::encode(name))).unwrap_or_default();
        format!("{root}/{}{within}/{}{name}", self.version, self.plural)
    }

    /// Whether it can be listed.
    pub fn lists(&self) -> bool {
        self.verbs.iter().any(|verb| verb == "list")
    }
}

/// All of them, in the server's order of preference.
#[derive(Debug, Default)]
pub struct Mapper {
    /// The resources.
    pub resources: Vec<Arc<Resource>>,
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

impl Mapper {
    /// Asks the server.
    pub async fn discover(context: &Context) -> Outcome<Self> {
        let mut resources = Vec::new();
        for root in ["/api", "/apis"] {
            let answer = context.json(Call { accept: AGGREGATED, ..Call::get(root) }).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                from_aggregated(&answer, &mut resources);
            } else {
                from_legacy(context, root, &answer, &mut resources).await?;
            }
        }
        Ok(Self { resources: resources.into_iter().map(Arc::new).collect() })
    }

    /// By any of its names. An exact plural or singular name goes before a short name.
    pub fn find(&self, name: &str) -> Option<Arc<Resource>> {
        let name = name.to_lowercase();
        let (plain, rest) = name.split_once('.').map_or((name.as_str(), None), |(plain, rest)| (plain, Some(rest)));
        let fits_group = |resource: &Resource| match rest {
            None => true,
            Some(rest) => {
                // `plural.group` or `plural.version.group`; a group may be given by its first part.
                let group_fits =
                    |wanted: &str| resource.group == wanted || resource.group.starts_with(&format!("{wanted}."));
                group_fits(rest)
                    || rest
                        .split_once('.')
                        .map_or(rest == resource.version && resource.group.is_empty(), |(version, group)| {
                            version == resource.version && resource.group == group
                        })
            }
        };
        let versioned =
            |resource: &Resource| rest.is_some_and(|rest| rest.split('.').next() == Some(&resource.version));
        let by = |names: &dyn Fn(&Resource) -> bool| {
            let mut fitting = self.resources.iter().filter(|resource| fits_group(resource) && names(resource));
            let all: Vec<_> = fitting.by_ref().collect();
            all.iter()
                .find(|resource| versioned(resource))
                .or_else(|| all.iter().find(|r| r.preferred))
                .or(all.first())
                .map(|r| (*r).clone())
        };
        by(&|resource| resource.plural == plain)
            .or_else(|| by(&|resource| resource.singular == plain || resource.kind.to_lowercase() == plain))
            .or_else(|| by(&|resource| resource.short_names.iter().any(|short| short == plain)))
    }

    /// All resources of a category, such as `all`.
    pub fn category(&self, name: &str) -> Vec<Arc<Resource>> {
        self.resources
            .iter()
            .filter(|resource| resource.preferred && resource.categories.iter().any(|category| category == name))
            .cloned()
            .collect()
    }

    /// By what a manifest says.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.resources.iter().find(|resource| resource.kind == kind && resource.api_version() == api_version).cloned()
    }

    /// By name, or kubectl's complaint.
    pub fn require(&self, name: &str) -> Outcome<Arc<Resource>> {
        self.find(name).ok_or_else(|| Failure::new(format!("the server doesn't have a resource type {name:?}")))
    }
}

fn from_aggregated(list: &Value, into: &mut Vec<Resource>) {
    for group in list["items"].as_array().into_iter().flatten() {
        let mut seen: Vec<String> = Vec::new();
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                let plural = resource.text("resource").to_owned();
                let kind = &resource["responseKind"];
                into.push(Resource {
                    group: group["metadata"].text("name").to_owned(),
                    version: version.text("version").to_owned(),
                    preferred: !seen.contains(&plural),
                    singular: resource.text("singularResource").to_owned(),
                    kind: kind.text("kind").to_owned(),
                    short_names: resource.texts("shortNames").map(str::to_owned).collect(),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: resource.texts("verbs").map(str::to_owned).collect(),
                    categories: resource.texts("categories").map(str::to_owned).collect(),
                    plural: plural.clone(),
                });
                seen.push(plural);
            }
        }
    }
}

async fn from_legacy(context: &Context, root: &str, answer: &Value, into: &mut Vec<Resource>) -> Outcome {
    let mut versions: Vec<(String, String)> = Vec::new();
    if root == "/api" {
        versions.extend(answer.texts("versions").map(|version| (String::new(), version.to_owned())));
    }
    for group in answer["groups"].as_array().into_iter().flatten() {
        let preferred = group["preferredVersion"].text("version").to_owned();
        let mut all: Vec<String> =
            group["versions"].as_array().into_iter().flatten().map(|v| v.text("version").to_owned()).collect();
        all.sort_by_key(|version| *version != preferred);
        versions.extend(all.into_iter().map(|version| (group.text("name").to_owned(), version)));
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    for (group, version) in versions {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        // A group that is down must not keep the others from being used.
        let Ok(list) = context.json(Call::get(path)).await else { continue };
        for resource in list["resources"].as_array().into_iter().flatten() {
            let plural = resource.text("name").to_owned();
            if plural.contains('/') {
                continue;
            }
            let key = (group.clone(), plural.clone());
            into.push(Resource {
                group: group.clone(),
                version: version.clone(),
                preferred: !seen.contains(&key),
                singular: resource.text("singularName").to_owned(),
                kind: resource.text("kind").to_owned(),
                short_names: resource.texts("shortNames").map(str::to_owned).collect(),
                namespaced: resource["namespaced"] == true,
                verbs: resource.texts("verbs").map(str::to_owned).collect(),
                categories: resource.texts("categories").map(str::to_owned).collect(),
                plural,
            });
            seen.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_people_use() {
        let resource = |group: &str, version: &str, plural: &str, kind: &str, short: &str, preferred| {
            Arc::new(Resource {
                group: group.into(),
                version: version.into(),
                plural: plural.into(),
                singular: kind.to_lowercase(),
                kind: kind.into(),
                short_names: vec![short.into()],
                preferred,
                namespaced: true,
                ..Resource::default()
            })
        };
        let mapper = Mapper {
            resources: vec![
                resource("", "v1", "pods", "Pod", "po", true),
                resource("", "v1", "events", "Event", "ev", true),
                resource("apps", "v1", "deployments", "Deployment", "deploy", true),
                resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", true),
                resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", false),
                resource("events.k8s.io", "v1", "events", "Event", "ev", true),
            ],
        };
        for (name, found) in [
            ("pod", "v1/pods"),
            ("po", "v1/pods"),
            ("Pods", "v1/pods"),
            ("deploy", "apps/v1/deployments"),
            ("deployments.apps", "apps/v1/deployments"),
            ("deployment.v1.apps", "apps/v1/deployments"),
            ("hpa", "autoscaling/v2/horizontalpodautoscalers"),
            ("hpa.v1.autoscaling", "autoscaling/v1/horizontalpodautoscalers"),
            ("events", "v1/events"),
            ("events.events.k8s.io", "events.k8s.io/v1/events"),
            ("ev.events", "events.k8s.io/v1/events"),
        ] {
            let resource = mapper.find(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(format!("{}/{}", resource.api_version(), resource.plural), found, "{name}");
        }
        assert!(mapper.find("nothing").is_none());
    }
}
