//! Requests of claims, understood: how many devices, of which class, by which selectors.

use std::{collections::HashMap, sync::Arc};

use cel::Program;
use k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceRequest, DeviceSelector, DeviceSubRequest, DeviceToleration, ResourceClaim,
};

use crate::{
    RESULTS_MAX, capacity,
    entries::full_name,
    inventory::{Amounts, Device, Slice, quantity},
    pools::{self, Pool, State},
    search::{Allocator, At, Node},
    selector,
};

/// A request of a claim: one thing, or the first that can be had of several.
pub(crate) struct Asked<'a> {
    pub(crate) alternatives: Vec<Wanted<'a>>,
    pub(crate) is_list: bool,
}

/// What one request, or one alternative of it, wants.
pub(crate) struct Wanted<'a> {
    /// As it is named in results: `request`, or `request/alternative`.
    pub(crate) name: String,
    pub(crate) class: Arc<DeviceClass>,
    pub(crate) admin: bool,
    pub(crate) tolerations: &'a [DeviceToleration],
    pub(crate) capacity: Option<Amounts>,
    pub(crate) count: usize,
    /// All there are, where all are wanted.
    pub(crate) all: Option<Vec<At>>,
    of_class: Vec<Arc<Result<Program, String>>>,
    own: Vec<Arc<Result<Program, String>>>,
    /// The claim, as messages name it.
    claim: String,
}

/// The same fields of both forms of a request.
struct Form<'a> {
    /// Without the request's name, if it is an alternative.
    name: &'a str,
    class: &'a str,
    mode: &'a str,
    count: i64,
    admin: bool,
    selectors: &'a [DeviceSelector],
    tolerations: &'a [DeviceToleration],
    capacity: &'a Option<CapacityRequirements>,
}

fn forms(request: &DeviceRequest) -> Vec<Form<'_>> {
    if let Some(exact) = &request.exactly {
        return vec![Form {
            name: &request.name,
            class: &exact.device_class_name,
            mode: exact.allocation_mode.as_deref().unwrap_or_default(),
            count: exact.count.unwrap_or(0),
            admin: exact.admin_access.unwrap_or(false),
            selectors: exact.selectors.as_deref().unwrap_or_default(),
            tolerations: exact.tolerations.as_deref().unwrap_or_default(),
            capacity: &exact.capacity,
        }];
    }
    request.first_available.iter().flatten().map(alternative).collect()
}

fn alternative(sub: &DeviceSubRequest) -> Form<'_> {
    Form {
        name: &sub.name,
        class: &sub.device_class_name,
        mode: sub.allocation_mode.as_deref().unwrap_or_default(),
        count: sub.count.unwrap_or(0),
        admin: false,
        selectors: sub.selectors.as_deref().unwrap_or_default(),
        tolerations: sub.tolerations.as_deref().unwrap_or_default(),
        capacity: &sub.capacity,
    }
}

/// Understands a claim's requests. The error concerns all nodes.
pub(crate) fn asked<'a>(
    with: &Allocator<'_>,
    node: &dyn Node,
    pools: &[Pool],
    matcher: &mut Matcher,
    (index, claim): (usize, &'a ResourceClaim),
) -> Result<Vec<Asked<'a>>, String> {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    let mut asked = vec![];
    for (request_index, request) in requests.enumerate() {
        let is_list = request.exactly.is_none();
        let mut alternatives = vec![];
        for (alternative, form) in forms(request).into_iter().enumerate() {
            let name = if is_list { format!("{}/{}", request.name, form.name) } else { form.name.to_owned() };
            let mut wanted = understood(with, claim, &form, name)?;
            let key = (index, request_index, alternative);
            match form.mode {
                "ExactCount" => {}
                "All" => {
                    let about = format!("claim {}, request {}", wanted.claim, form.name);
                    let all = all(with, node, pools, matcher, key, &wanted, &about)?;
                    wanted.count = all.len();
                    wanted.all = Some(all);
                }
                other => {
                    let (claim, request) = (&wanted.claim, form.name);
                    return Err(format!("claim {claim}, request {request}: unsupported count mode {other}"));
                }
            }
            alternatives.push(wanted);
        }
        asked.push(Asked { alternatives, is_list });
    }
    let least = |asked: &Asked<'_>| asked.alternatives.iter().map(|wanted| wanted.count).min().unwrap_or(0);
    let least = asked.iter().map(least).fold(0, usize::saturating_add);
    if least > RESULTS_MAX {
        let (claim, most) = (full_name(&claim.metadata), RESULTS_MAX);
        return Err(format!("claim {claim}: number of requested devices {least} exceeds the claim limit of {most}"));
    }
    Ok(asked)
}

fn understood<'a>(
    with: &Allocator<'_>,
    claim: &'a ResourceClaim,
    form: &Form<'a>,
    name: String,
) -> Result<Wanted<'a>, String> {
    let claim = full_name(&claim.metadata);
    let about = format!("claim {claim}, request {}", form.name);
    if let Some(at) = form.selectors.iter().position(|selector| selector.cel.is_none()) {
        return Err(format!("{about}, selector #{at}: CEL expression empty (unsupported selector type?)"));
    }
    if form.class.is_empty() {
        return Err(format!("{about}: missing device class name (unsupported request type?)"));
    }
    let class = (with.classes)(form.class).ok_or_else(|| {
        let class = form.class;
        format!("{about}: could not retrieve device class {class}: deviceclass.resource.k8s.io {class:?} not found")
    })?;
    let compiled = |selectors: &[DeviceSelector]| {
        let expressions = selectors.iter().map(|selector| selector.cel.as_ref().map_or("", |cel| &cel.expression));
        expressions.map(|text| with.selectors.get(text)).collect()
    };
    let amounts = |asked: &CapacityRequirements| {
        asked.requests.iter().flatten().map(|(name, amount)| (name.clone(), quantity(amount))).collect()
    };
    Ok(Wanted {
        name,
        of_class: compiled(class.spec.selectors.as_deref().unwrap_or_default()),
        own: compiled(form.selectors),
        class,
        admin: form.admin,
        tolerations: form.tolerations,
        capacity: form.capacity.as_ref().map(amounts),
        count: usize::try_from(form.count).unwrap_or(0),
        all: None,
        claim,
    })
}

/// All devices that are wanted. What all are is not known while a pool is not whole.
fn all(
    with: &Allocator<'_>,
    node: &dyn Node,
    pools: &[Pool],
    matcher: &mut Matcher,
    key: Key,
    wanted: &Wanted<'_>,
    about: &str,
) -> Result<Vec<At>, String> {
    let mut found = vec![];
    for (pool_index, pool) in pools.iter().enumerate() {
        let id = &pool.id;
        match &pool.state {
            State::Incomplete => {
                return Err(format!(
                    "{about}: asks for all devices, but resource pool {id} is currently being updated"
                ));
            }
            State::Invalid => {
                return Err(format!("{about}: asks for all devices, but resource pool {id} is currently invalid"));
            }
            State::Usable(usable) => {
                for (slice_index, slice) in usable.slices.iter().enumerate() {
                    for (device_index, device) in slice.devices.iter().enumerate() {
                        let at = At { pool: pool_index, slice: slice_index, device: device_index };
                        let given = with.allocated.consumed(&device.id);
                        if matcher.matches(node, key, wanted, slice, at)?
                            && capacity::fits(wanted.capacity.as_ref(), device, given, None)
                        {
                            found.push(at);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

/// A claim, a request of it, an alternative of that, by their places.
pub(crate) type Key = (usize, usize, usize);

/// Which devices suit which request: asked once, whatever else is taken.
#[derive(Default)]
pub(crate) struct Matcher(HashMap<(Key, At), bool>);

impl Matcher {
    /// Whether the device is selected, and one of the node's. The error concerns all nodes.
    pub(crate) fn matches(
        &mut self,
        node: &dyn Node,
        key: Key,
        wanted: &Wanted<'_>,
        slice: &Slice,
        at: At,
    ) -> Result<bool, String> {
        if let Some(known) = self.0.get(&(key, at)) {
            return Ok(*known);
        }
        let device = &slice.devices[at.device];
        let matches = wanted.selects(device)? && (!slice.place_per_device || pools::is_at(&device.place, node)?);
        self.0.insert((key, at), matches);
        Ok(matches)
    }
}

impl Wanted<'_> {
    fn selects(&self, device: &Device) -> Result<bool, String> {
        let class = self.class.metadata.name.as_deref().unwrap_or_default();
        let whose = [("class", class, &self.of_class), ("claim", &self.claim, &self.own)];
        for (what, name, selectors) in whose {
            for (index, program) in selectors.iter().enumerate() {
                let failed = |why| format!("{what} {name}: selector #{index}: {why}");
                if !selector::selects(program, device).map_err(failed)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
