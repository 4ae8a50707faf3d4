//! `metrics.k8s.io/v1beta1`: what nodes and pods use of processors and memory, as metrics-server would serve it, without one.
//!
//! Kubelets are asked (`scrape`) only while somebody asks for figures, and for some minutes after: a cluster without
//! autoscalers and without anybody at `kubectl top` pays nothing. The first who asks waits for two measurements that are a
//! little apart; after that there is one every 15 s, and answers come from memory. Each server asks for itself.
//!
//! The group's version belongs to the first source that has it: an APIService of that name, once services are aggregated,
//! stands before this source, which then is asked by nobody. Follows kubernetes-sigs/metrics-server.

mod points;
mod scrape;
mod serve;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use component::Supervisor;
use machinery::gvk::GroupResource;
use model::descriptions::Texts;
use model::resource::{Resource, Verb};
use serde_json::Value;
use writes::Rows;

use super::{Entry, Found, Group, GroupVersion, Input, Source, rows};
use crate::virtual_::Virtual;
use crate::{Server, openapi};
use scrape::Scraper;
use serve::{Measured, Of};

/// The group.
const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
/// That of metrics-server's APIService: after custom resources.
const PRIORITY: i32 = 100;
const READ: &[Verb] = &[Verb::Get, Verb::List];
const COLUMNS: &str = "=Name|cpu|memory|Window";

/// See the module.
pub struct Metrics {
    rows: Arc<Rows>,
    scraper: Arc<Scraper>,
    nodes: Measured,
    pods: Measured,
}

impl Default for Metrics {
    fn default() -> Self {
        let row = |resource, kind| Resource {
            singular: "".into(),
            columns: (COLUMNS, serve::cells),
            ..Resource::virtual_(GROUP, VERSION, resource, kind, READ)
        };
        let rows = [row("nodes", "NodeMetrics").cluster(), row("pods", "PodMetrics")];
        let scraper = Arc::new(Scraper::default());
        Self {
            rows: Arc::new(Rows::new(rows.map(Into::into))),
            nodes: Measured(scraper.clone(), Of::Nodes),
            pods: Measured(scraper.clone(), Of::Pods),
            scraper,
        }
    }
}

impl Source for Metrics {
    fn find(&self, group: &str, version: &str, resource: &str) -> Found {
        rows::find(&self.rows, group, version, resource)
    }

    fn handler(&self, resource: &GroupResource, _: &str) -> Option<&dyn Virtual> {
        match resource.resource.as_str() {
            "nodes" => Some(&self.nodes),
            "pods" => Some(&self.pods),
            _ => None,
        }
    }

    fn groups(&self) -> Vec<Group> {
        rows::groups(&self.rows, |_| PRIORITY)
    }

    fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>> {
        rows::resources(&self.rows, group, version)
    }

    fn documents(&self) -> Vec<String> {
        vec![format!("apis/{GROUP}"), format!("apis/{GROUP}/{VERSION}")]
    }

    fn document(&self, name: &str, texts: &Texts) -> Option<Value> {
        match name.strip_prefix("apis/metrics.k8s.io")? {
            "" => Some(openapi::groups::of_group(GROUP, texts)),
            "/v1beta1" => Some(openapi::metrics::document(GROUP, VERSION, self.rows.all(), texts)),
            _ => None,
        }
    }

    fn inputs(&self, of: Option<GroupVersion<'_>>) -> Vec<Input> {
        rows::inputs(&self.rows, of)
    }

    fn facts(&self, _: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str)) {
        tell("metrics.k8s.io/v1beta1\n");
    }

    fn run(&self, server: &Arc<Server>, tasks: &Supervisor) {
        let (scraper, server) = (self.scraper.clone(), server.clone());
        tasks.restarting("metrics of nodes and pods", move |own| {
            let (scraper, server) = (scraper.clone(), server.clone());
            async move {
                let token = own.token();
                token.run_until_cancelled(scraper.run(&server, &own)).await;
            }
        });
    }
}
