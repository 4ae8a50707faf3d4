//! The answer: what is written into the status of each claim.

use std::collections::HashMap;

use k8s_openapi::{
    api::{
        core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
        resource::v1::{
            AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceClaimConfiguration,
            DeviceRequestAllocationResult,
        },
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    request::Wanted,
    search::{Picked, Setup},
};

/// One for each claim. The error concerns all nodes.
pub(crate) fn answer(
    setup: &Setup<'_>,
    found: &[Vec<Picked>],
    chosen: &HashMap<(usize, usize), usize>,
    node: &str,
) -> Result<Vec<AllocationResult>, String> {
    let one = |(claim, picked): (usize, &Vec<Picked>)| {
        let name = setup.claims[claim].metadata.name.as_deref().unwrap_or_default();
        let selector = node_selector(setup, picked, node);
        let selector = selector.map_err(|why| format!("create NodeSelector for claim {name}: {why}"))?;
        let results: Vec<_> = picked.iter().map(|picked| result(setup, claim, picked)).collect();
        let config = configuration(setup, claim, chosen);
        let some = |config: Vec<_>| (!config.is_empty()).then_some(config);
        Ok(AllocationResult {
            allocation_timestamp: None,
            devices: Some(DeviceAllocationResult {
                config: some(config),
                results: (!results.is_empty()).then_some(results),
            }),
            node_selector: selector,
        })
    };
    found.iter().enumerate().map(one).collect()
}

fn result(setup: &Setup<'_>, claim: usize, picked: &Picked) -> DeviceRequestAllocationResult {
    let device = setup.device(picked.at);
    let (request, alternative) = picked.wanted;
    let wanted = &setup.asked[claim][request].alternatives[alternative];
    let some = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let consumed = picked.consumed.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string())));
    DeviceRequestAllocationResult {
        request: wanted.name.clone(),
        driver: device.id.pool.driver.to_string(),
        pool: device.id.pool.pool.to_string(),
        device: device.id.device.to_string(),
        admin_access: wanted.admin.then_some(true),
        tolerations: (!wanted.tolerations.is_empty()).then(|| wanted.tolerations.to_vec()),
        share_id: picked.share_id.clone(),
        consumed_capacity: (!picked.consumed.is_empty()).then(|| consumed.collect()),
        binding_conditions: some(&device.binding_conditions),
        binding_failure_conditions: some(&device.binding_failure_conditions),
    }
}

/// That of each class once, for all requests that are of it; then the claim's own.
fn configuration(
    setup: &Setup<'_>,
    claim: usize,
    chosen: &HashMap<(usize, usize), usize>,
) -> Vec<DeviceAllocationConfiguration> {
    let alternative = |request: usize| chosen.get(&(claim, request)).copied().unwrap_or(0);
    let wanted = |request: usize| setup.asked[claim][request].alternatives.get(alternative(request));
    let all: Vec<&Wanted<'_>> = (0..setup.asked[claim].len()).filter_map(wanted).collect();
    let mut config = vec![];
    let mut classes: Vec<&str> = vec![];
    for of in &all {
        let class = of.class.metadata.name.as_deref().unwrap_or_default();
        if classes.contains(&class) {
            continue;
        }
        classes.push(class);
        let same = all.iter().filter(|other| other.class.metadata.name == of.class.metadata.name);
        let requests: Vec<String> = same.map(|other| other.name.clone()).collect();
        config.extend(of.class.spec.config.iter().flatten().map(|own| DeviceAllocationConfiguration {
            source: "FromClass".to_owned(),
            requests: Some(requests.clone()),
            opaque: own.opaque.clone(),
        }));
    }
    let own = setup.claims[claim].spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
    for own in own {
        // As upstream: once for each request that it names.
        let times = if names(own).is_empty() { 1 } else { all.iter().filter(|of| is_named(own, of)).count() };
        config.extend((0..times).map(|_| DeviceAllocationConfiguration {
            source: "FromClaim".to_owned(),
            requests: own.requests.clone(),
            opaque: own.opaque.clone(),
        }));
    }
    config
}

fn names(config: &DeviceClaimConfiguration) -> &[String] {
    config.requests.as_deref().unwrap_or_default()
}

fn is_named(config: &DeviceClaimConfiguration, of: &Wanted<'_>) -> bool {
    let base = of.name.split('/').next().unwrap_or_default();
    names(config).iter().any(|name| *name == of.name || name == base)
}

/// Where the devices can be used; nothing if everywhere.
fn node_selector(setup: &Setup<'_>, picked: &[Picked], node: &str) -> Result<Option<NodeSelector>, String> {
    let mut term = NodeSelectorTerm::default();
    for picked in picked {
        let (slice, device) = (setup.slice(picked.at), setup.device(picked.at));
        let place = if slice.place_per_device { &device.place } else { &slice.place };
        if place.node.is_some() || device.binds_to_node {
            let name = NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            };
            let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
            return Ok(Some(NodeSelector { node_selector_terms: vec![term] }));
        }
        match place.selector.as_ref().map(|selector| selector.node_selector_terms.as_slice()) {
            None | Some([]) => {}
            Some([only]) => {
                add(&mut term.match_fields, &only.match_fields);
                add(&mut term.match_expressions, &only.match_expressions);
            }
            Some(terms) => {
                return Err(format!("unsupported ResourceSlice.NodeSelector with {} terms", terms.len()));
            }
        }
    }
    let says = term.match_fields.is_some() || term.match_expressions.is_some();
    Ok(says.then(|| NodeSelector { node_selector_terms: vec![term] }))
}

fn add(to: &mut Option<Vec<NodeSelectorRequirement>>, from: &Option<Vec<NodeSelectorRequirement>>) {
    let values = |of: &NodeSelectorRequirement| -> std::collections::BTreeSet<String> {
        of.values.iter().flatten().cloned().collect()
    };
    for new in from.iter().flatten() {
        let same = |old: &NodeSelectorRequirement| {
            (&old.key, &old.operator, values(old)) == (&new.key, &new.operator, values(new))
        };
        if !to.iter().flatten().any(same) {
            to.get_or_insert_default().push(new.clone());
        }
    }
}
