//! Which objects of a snapshot are meant.

use anyhow::bail;
use machinery::meta;
use serde_json::Value;

use super::live::Api;

/// An object of a snapshot.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its key in the store.
    pub key: String,
    /// As a client would see it then.
    pub value: Value,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A namespace, or objects in it.
    pub namespace: Option<String>,
    /// `(type, name)`; all if there is none.
    resources: Vec<(String, String)>,
}

impl Filter {
    /// What the flags say.
    ///
    /// # Errors
    /// A resource is not given as TYPE/NAME.
    pub fn of(namespace: Option<&str>, resources: &[String]) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for text in resources {
            match text.split_once('/') {
                Some((ty, name)) if !ty.is_empty() && !name.is_empty() && !name.contains('/') => {
                    all.push((ty.to_lowercase(), name.to_owned()));
                }
                _ => bail!("--resource {text:?} is not TYPE/NAME, as in deployments/web"),
            }
        }
        Ok(Self { namespace: namespace.map(String::from), resources: all })
    }

    /// Whether single objects in a namespace are meant.
    pub fn names_some(&self) -> bool {
        self.namespace.is_some() && !self.resources.is_empty()
    }

    /// Whether the object of a key can be meant: a look at the key spares most of a snapshot's objects the reading. Keys end in
    /// the namespace, if there is one, and the name.
    pub fn can_be(&self, key: &str) -> bool {
        let mut parts = key.rsplit('/');
        let (name, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match &self.namespace {
            Some(namespace) => before == namespace || before == "namespaces" && name == namespace,
            None => self.resources.iter().any(|(_, wanted)| wanted == name),
        }
    }

    /// Whether it is in the namespace, or is it; without one, whether it is in none.
    pub fn is_in(&self, value: &Value) -> bool {
        let is_namespace = meta::kind(value) == "Namespace" && meta::api_version(value) == "v1";
        match &self.namespace {
            Some(namespace) if is_namespace => meta::name(value) == namespace,
            Some(namespace) => meta::namespace(value) == namespace,
            None => meta::namespace(value).is_empty(),
        }
    }

    /// Whether the object was asked for by its name.
    pub fn is_named(&self, object: &Object, api: &Api) -> bool {
        let (gvk, name) = (meta::gvk(&object.value), meta::name(&object.value));
        self.resources.iter().any(|(ty, wanted)| wanted == name && api.is_called(&gvk, ty))
    }
}

/// The objects that are meant.
///
/// # Errors
/// One that was asked for by name is not there, or none is.
pub fn chosen(objects: Vec<Object>, filter: &Filter, api: &Api) -> anyhow::Result<Vec<Object>> {
    if filter.resources.is_empty() {
        let Some(namespace) = &filter.namespace else {
            bail!("--namespace or --resource says what is to be brought back")
        };
        if objects.is_empty() {
            bail!("there is no namespace {namespace} in this snapshot");
        }
        return Ok(objects);
    }
    for (ty, name) in &filter.resources {
        let is = |object: &&Object| meta::name(&object.value) == name && api.is_called(&meta::gvk(&object.value), ty);
        if !objects.iter().any(|object| is(&object)) {
            match &filter.namespace {
                Some(namespace) => bail!("there is no {ty}/{name} in the namespace {namespace} of this snapshot"),
                None => bail!(
                    "there is no {ty}/{name} at the cluster scope of this snapshot; in a namespace? (--namespace)"
                ),
            }
        }
    }
    Ok(objects.into_iter().filter(|object| filter.is_named(object, api)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_meant_are_passed_over() {
        let shop = Filter::of(Some("shop"), &[]).unwrap();
        for (key, expect) in [
            ("/registry/pods/shop/web", true),
            ("/registry/services/specs/shop/web", true),
            ("/registry/namespaces/shop", true),
            ("/registry/namespaces/other", false),
            ("/registry/pods/other/shop", false),
            ("/registry/example.com/things/shop/a", true),
        ] {
            assert_eq!(shop.can_be(key), expect, "{key}");
        }
        let role = Filter::of(None, &["clusterroles/view".into()]).unwrap();
        assert!(role.can_be("/registry/clusterroles/view") && !role.can_be("/registry/clusterroles/edit"));
        let said = Filter::of(None, &["web".into()]).unwrap_err().to_string();
        assert_eq!(said, "--resource \"web\" is not TYPE/NAME, as in deployments/web");
    }
}
