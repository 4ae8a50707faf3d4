//! The search: one device after the other for each request of each claim, taking back what leads nowhere. The first
//! solution is the answer.
//!
//! Upstream: `structured/internal/incubating/allocator_incubating.go`. Within one request devices are tried in one order
//! only, since it does not matter which of them came first.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::NodeSelector,
    resource::v1::{AllocationResult, DeviceClass, ResourceClaim},
};

use crate::{
    RESULTS_MAX,
    allocated::Allocated,
    answer, capacity,
    constraint::Constraint,
    counters::Counters,
    entries::full_name,
    inventory::{Amounts, Device, Inventory, Slice},
    pools::{self, Pool, State},
    request::{self, Asked, Matcher, Wanted},
    selector::Selectors,
    taints,
};

/// The node that devices are wanted on.
pub trait Node {
    /// Its name.
    fn name(&self) -> &str;
    /// Whether a selector selects it. The error says why the selector is none.
    fn matches(&self, selector: &NodeSelector) -> Result<bool, String>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// On this node; others may do.
    OnNode(String),
    /// Anywhere: a claim, a class or a slice is wrong.
    Fatal(String),
    /// It took too long.
    Aborted(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnNode(why) | Self::Fatal(why) | Self::Aborted(why) => f.write_str(why),
        }
    }
}

/// What is known when devices are looked for; the same for all nodes.
pub struct Allocator<'a> {
    /// What there is.
    pub inventory: &'a Inventory,
    /// What is taken.
    pub allocated: &'a Allocated,
    /// Classes by name.
    pub classes: &'a (dyn Fn(&str) -> Option<Arc<DeviceClass>> + Sync),
    /// Expressions that were understood.
    pub selectors: &'a Selectors,
    /// Names a share of a device: another UID each time.
    pub share_id: &'a (dyn Fn() -> String + Sync),
    /// Whether, and why, to give up.
    pub expired: &'a (dyn Fn() -> Option<String> + Sync),
}

/// A device by its place among the pools of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct At {
    pub(crate) pool: usize,
    pub(crate) slice: usize,
    pub(crate) device: usize,
}

/// A device that is wanted: by the places of its claim, of the request in it, of the alternative in that, and its number.
#[derive(Clone, Copy, Default)]
struct Slot {
    claim: usize,
    request: usize,
    alternative: usize,
    device: usize,
}

/// A device that was found.
pub(crate) struct Picked {
    pub(crate) at: At,
    /// The request and its alternative.
    pub(crate) wanted: (usize, usize),
    pub(crate) share_id: Option<String>,
    pub(crate) consumed: Amounts,
    /// It consumes counters of its pool.
    counted: bool,
}

/// What is searched.
pub(crate) struct Setup<'a> {
    pub(crate) claims: &'a [Arc<ResourceClaim>],
    pub(crate) pools: Vec<Pool>,
    /// By claim and request.
    pub(crate) asked: Vec<Vec<Asked<'a>>>,
}

impl Setup<'_> {
    pub(crate) fn slice(&self, at: At) -> &Slice {
        &self.pools[at.pool].slices()[at.slice]
    }

    pub(crate) fn device(&self, at: At) -> &Device {
        &self.slice(at).devices[at.device]
    }
}

/// Why a search ends.
enum Stop {
    /// There is no room for so many devices: only what came before can change that.
    TooMany,
    Failed(Failure),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(Failure::Fatal(why))
    }
}

struct Search<'a> {
    with: &'a Allocator<'a>,
    node: &'a dyn Node,
    setup: &'a Setup<'a>,
    matcher: Matcher,
    constraints: Vec<Vec<Constraint>>,
    counters: Counters,
    /// Which claims are about to get a device.
    taken: HashMap<At, BTreeSet<usize>>,
    /// How many shares of a device are about to be given, and what of it.
    shares: HashMap<At, (usize, Amounts)>,
    found: Vec<Vec<Picked>>,
    /// Which alternative of a list was taken, by claim and request.
    chosen: HashMap<(usize, usize), usize>,
    steps: u64,
}

impl Allocator<'_> {
    /// Devices on a node for claims that have none: what is to be written of each, or nothing if there are not enough.
    ///
    /// # Errors
    /// What is wrong with the claims, their classes or the slices, in upstream's words.
    pub fn allocate(
        &self,
        node: &dyn Node,
        claims: &[Arc<ResourceClaim>],
    ) -> Result<Option<Vec<AllocationResult>>, Failure> {
        self.allocate_counting(node, claims).0
    }

    /// The same, and in how many steps.
    pub(crate) fn allocate_counting(
        &self,
        node: &dyn Node,
        claims: &[Arc<ResourceClaim>],
    ) -> (Result<Option<Vec<AllocationResult>>, Failure>, u64) {
        let (setup, matcher, constraints) = match self.prepare(node, claims) {
            Ok(prepared) => prepared,
            Err(why) => return (Err(Failure::Fatal(why)), 0),
        };
        let mut search = Search {
            with: self,
            node,
            setup: &setup,
            matcher,
            constraints,
            counters: Counters::default(),
            taken: HashMap::new(),
            shares: HashMap::new(),
            found: claims.iter().map(|_| vec![]).collect(),
            chosen: HashMap::new(),
            steps: 0,
        };
        let outcome = search.next(Slot::default(), false, At::default());
        let result = match outcome {
            Ok(true) => {
                answer::answer(&setup, &search.found, &search.chosen, node.name()).map(Some).map_err(Failure::Fatal)
            }
            Err(Stop::Failed(failure)) => Err(failure),
            Ok(false) | Err(Stop::TooMany) => match setup.pools.iter().any(|p| matches!(p.state, State::Invalid)) {
                true => Err(Failure::OnNode("invalid resource pools were encountered".to_owned())),
                false => Ok(None),
            },
        };
        (result, search.steps)
    }

    #[allow(clippy::type_complexity)]
    fn prepare<'c>(
        &self,
        node: &dyn Node,
        claims: &'c [Arc<ResourceClaim>],
    ) -> Result<(Setup<'c>, Matcher, Vec<Vec<Constraint>>), String> {
        let pools = pools::gather(self.inventory, node).map_err(|why| format!("gather pool information: {why}"))?;
        let (mut matcher, mut asked, mut constraints) = (Matcher::default(), vec![], vec![]);
        for (index, claim) in claims.iter().enumerate() {
            asked.push(request::asked(self, node, &pools, &mut matcher, (index, claim))?);
            let of_claim = claim.spec.devices.iter().flat_map(|devices| devices.constraints.iter().flatten());
            let understood = of_claim.enumerate().map(|(i, constraint)| {
                let claim = full_name(&claim.metadata);
                let why = || format!("claim {claim}, constraint #{i}: empty constraint (unsupported constraint type?)");
                Constraint::new(constraint).ok_or_else(why)
            });
            constraints.push(understood.collect::<Result<_, _>>()?);
        }
        Ok((Setup { claims, pools, asked }, matcher, constraints))
    }
}

impl<'a> Search<'a> {
    /// Finds the device of a slot and all after it. In a list the alternative is either to be chosen or, `chosen`, is.
    fn next(&mut self, slot: Slot, chosen: bool, from: At) -> Result<bool, Stop> {
        self.steps += 1;
        if let Some(why) = (self.with.expired)() {
            return Err(Stop::Failed(Failure::Aborted(format!("filter operation aborted: {why}"))));
        }
        let setup = self.setup;
        let Some(requests) = setup.asked.get(slot.claim) else { return Ok(true) };
        let Some(asked) = requests.get(slot.request) else {
            let next = Slot { claim: slot.claim + 1, ..Slot::default() };
            return match self.next(next, false, At::default()) {
                // Another choice in this claim may leave it at fewer in the next.
                Err(Stop::TooMany) => Ok(false),
                other => other,
            };
        };
        if asked.is_list && !chosen {
            return self.choose(slot, asked.alternatives.len());
        }
        let wanted = &asked.alternatives[slot.alternative];
        if wanted.all.as_ref().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        if slot.device >= wanted.count {
            let next = Slot { claim: slot.claim, request: slot.request + 1, ..Slot::default() };
            return self.next(next, false, At::default());
        }
        if self.found[slot.claim].len() + wanted.count - slot.device > RESULTS_MAX {
            return Err(Stop::TooMany);
        }
        let next = Slot { device: slot.device + 1, ..slot };
        if let Some(all) = &wanted.all {
            let at = all[slot.device];
            return Ok(self.take(slot, wanted, at, true)? && self.go_on(slot, at, next, chosen, At::default())?);
        }
        for pool in from.pool..setup.pools.len() {
            let slices = setup.pools[pool].slices();
            let first = if pool == from.pool { from.slice } else { 0 };
            for (slice, devices) in slices.iter().enumerate().skip(first) {
                let here = (pool, slice) == (from.pool, from.slice);
                for device in if here { from.device } else { 0 }..devices.devices.len() {
                    let at = At { pool, slice, device };
                    let after = At { pool, slice, device: device + 1 };
                    if self.suits(slot, wanted, at)?
                        && self.take(slot, wanted, at, false)?
                        && self.go_on(slot, at, next, chosen, after)?
                    {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The first alternative of a list with which all after it can be found.
    fn choose(&mut self, slot: Slot, alternatives: usize) -> Result<bool, Stop> {
        let mut too_many = true;
        for alternative in 0..alternatives {
            match self.next(Slot { alternative, ..slot }, true, At::default()) {
                Err(Stop::TooMany) => continue,
                Ok(true) => {
                    self.chosen.insert((slot.claim, slot.request), alternative);
                    return Ok(true);
                }
                Ok(false) => too_many = false,
                Err(stop) => return Err(stop),
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// What comes after a device that was taken; it is given back if that is nothing.
    fn go_on(&mut self, slot: Slot, at: At, next: Slot, chosen: bool, from: At) -> Result<bool, Stop> {
        let done = self.next(next, chosen, from);
        if !matches!(done, Ok(true)) {
            self.give_back(slot, at);
        }
        done
    }

    fn is_in_use(&self, at: At) -> bool {
        self.with.allocated.has(&self.setup.device(at).id) || self.taken.get(&at).is_some_and(|of| !of.is_empty())
    }

    fn is_taken_for(&self, at: At, claim: usize) -> bool {
        self.taken.get(&at).is_some_and(|of| of.contains(&claim))
    }

    fn suits(&mut self, slot: Slot, wanted: &Wanted<'_>, at: At) -> Result<bool, Stop> {
        let in_use = if wanted.admin { self.is_taken_for(at, slot.claim) } else { self.is_in_use(at) };
        let key = (slot.claim, slot.request, slot.alternative);
        Ok(!in_use
            && self.matcher.matches(self.node, key, wanted, self.setup.slice(at), at)?
            && self.has_capacity(wanted, at))
    }

    fn has_capacity(&self, wanted: &Wanted<'_>, at: At) -> bool {
        let device = self.setup.device(at);
        let given = self.with.allocated.consumed(&device.id);
        capacity::fits(wanted.capacity.as_ref(), device, given, self.shares.get(&at).map(|(_, amounts)| amounts))
    }

    /// Takes a device that suits, if it is free. `must`: there is no other, and what keeps it from us is a mistake.
    fn take(&mut self, slot: Slot, wanted: &Wanted<'_>, at: At, must: bool) -> Result<bool, Stop> {
        let (setup, allocated) = (self.setup, self.with.allocated);
        let device = setup.device(at);
        let in_use = match wanted.admin {
            true => !device.is_shared && self.is_taken_for(at, slot.claim),
            false => self.is_in_use(at),
        };
        if in_use || !taints::all_tolerated(&device.taints, wanted.tolerations) || !self.has_capacity(wanted, at) {
            return Ok(false);
        }
        let given_in_part = allocated.consumed(&device.id).is_some() || self.shares.contains_key(&at);
        // Who shares a device shares what it consumes.
        let free = device.consumes.is_empty() || (device.is_shared && given_in_part);
        let counted = !free;
        if counted
            && let State::Usable(usable) = &setup.pools[at.pool].state
            && !self.counters.take(at.pool, usable, allocated, device)
        {
            return Ok(false);
        }
        let constraints = &mut self.constraints[slot.claim];
        if let Some(broken) = constraints.iter_mut().position(|constraint| !constraint.add(&wanted.name, device)) {
            if must {
                let (claim, request) = (full_name(&setup.claims[slot.claim].metadata), base(&wanted.name));
                let what = format!("cannot add device {} because a claim constraint would not be satisfied", device.id);
                return Err(format!("claim {claim}, request {request}: {what}").into());
            }
            constraints[..broken].iter_mut().for_each(|constraint| constraint.remove(&wanted.name));
            if counted {
                self.counters.release(at.pool, device);
            }
            return Ok(false);
        }
        let (mut share_id, mut consumed) = (None, Amounts::new());
        if device.is_shared {
            share_id = Some((self.with.share_id)());
            consumed = capacity::all_consumed(wanted.capacity.as_ref(), device);
            let (shares, amounts) = self.shares.entry(at).or_default();
            *shares += 1;
            for (name, amount) in &consumed {
                let sum = amounts.get(name).map_or_else(|| amount.clone(), |sum| sum.add(amount));
                amounts.insert(name.clone(), sum);
            }
        } else {
            self.taken.entry(at).or_default().insert(slot.claim);
        }
        let wanted = (slot.request, slot.alternative);
        self.found[slot.claim].push(Picked { at, wanted, share_id, consumed, counted });
        Ok(true)
    }

    /// Gives back the device that was taken last.
    fn give_back(&mut self, slot: Slot, at: At) {
        let setup = self.setup;
        let device = setup.device(at);
        let name = &setup.asked[slot.claim][slot.request].alternatives[slot.alternative].name;
        self.constraints[slot.claim].iter_mut().for_each(|constraint| constraint.remove(name));
        let Some(picked) = self.found[slot.claim].pop() else { return };
        if picked.counted {
            self.counters.release(at.pool, device);
        }
        if let Some(of) = self.taken.get_mut(&at) {
            of.remove(&slot.claim);
        }
        if device.is_shared
            && let Some((shares, amounts)) = self.shares.get_mut(&at)
        {
            *shares -= 1;
            for (name, amount) in &picked.consumed {
                if let Some(sum) = amounts.get_mut(name) {
                    *sum = sum.sub(amount);
                }
            }
            if *shares == 0 {
                self.shares.remove(&at);
            }
        }
    }
}

/// The last part of a request's name.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
