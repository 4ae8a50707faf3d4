//! `--feature-gates` and `featureGates` of configuration files: upstream's names with the state that each has in v1.36. What is
//! no name of upstream's, or can't be switched there, is refused in upstream's words; what can't be switched here is said.
//!
//! Follows `k8s.io/component-base/featuregate`; the table is what v1.36 registers for its components.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{anyhow, bail};

use crate::flags::go_bool;

/// The component whose gates these are, where a flag says so.
const COMPONENT: &str = "kube:";
/// Switch all gates of a stage that are not switched themselves.
const ALL: [(&str, &str); 2] = [("AllAlpha", "Alpha"), ("AllBeta", "Beta")];

/// A gate as upstream has it.
struct Gate {
    /// `Alpha`, `Beta`, `GA` or `Deprecated`.
    stage: &'static str,
    on: bool,
    locked: bool,
}

static GATES: LazyLock<BTreeMap<&'static str, Gate>> = LazyLock::new(|| {
    let gate = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, stage, on) = (words.next()?, words.next()?, words.next()? == "on");
        Some((name, Gate { stage, on, locked: words.next() == Some("locked") }))
    };
    include_str!("table.txt").lines().filter_map(gate).collect()
});

/// The flag.
#[derive(clap::Args, Debug, Clone, Default)]
// A group would have this type's name, which those who flatten it may have too.
#[group(skip)]
pub struct Flag {
    /// Features that are switched: name=true or name=false, several with commas.
    #[arg(long, value_delimiter = ',')]
    feature_gates: Vec<String>,
}

impl Flag {
    /// What is switched.
    ///
    /// # Errors
    /// In upstream's words: a name that there is not, a gate that is locked, or what is no switch.
    pub fn gates(&self) -> anyhow::Result<FeatureGates> {
        let mut switched = BTreeMap::new();
        for text in self.feature_gates.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let text = text.strip_prefix(COMPONENT).unwrap_or(text);
            let (name, value) =
                text.split_once('=').ok_or_else(|| anyhow!("missing bool value for {}", text.trim()))?;
            let (name, value) = (name.trim(), value.trim());
            let on = go_bool(value).map_err(|why| anyhow!("invalid value of {name}={value}, err: {why}"))?;
            switched.insert(name.to_owned(), on);
        }
        FeatureGates::new(switched)
    }
}

/// Gates that are switched; all others have upstream's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureGates(BTreeMap<String, bool>);

impl FeatureGates {
    /// Those gates.
    ///
    /// # Errors
    /// As [`Flag::gates`].
    pub fn new(switched: BTreeMap<String, bool>) -> anyhow::Result<Self> {
        for (name, on) in &switched {
            match GATES.get(name.as_str()) {
                Some(gate) if gate.locked && gate.on != *on => {
                    bail!("cannot set feature gate {name} to {on}, feature is locked to {}", gate.on)
                }
                None if !ALL.iter().any(|(all, _)| all == name) => bail!("unrecognized feature gate: {name}"),
                _ => {}
            }
        }
        Ok(Self(switched))
    }

    /// These, and those of `others`, which win.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether a feature is on: as it was switched, or as upstream has it. One that upstream does not know is off.
    pub fn enabled(&self, name: &str) -> bool {
        let gate = GATES.get(name);
        let of_stage = || {
            let gate = gate.filter(|gate| !gate.locked)?;
            let (all, _) = ALL.iter().find(|(_, stage)| *stage == gate.stage)?;
            self.0.get(*all).copied()
        };
        self.0.get(name).copied().or_else(of_stage).unwrap_or_else(|| gate.is_some_and(|gate| gate.on))
    }

    /// The gates that stay as upstream has them although they are switched: all but those that are `honoured`.
    fn ignored(&self, honoured: &[&str]) -> Vec<(&str, bool)> {
        let switched = self.0.iter().map(|(name, on)| (name.as_str(), *on));
        let other = |(name, on): &(&str, bool)| match ALL.iter().find(|(all, _)| all == name) {
            Some((_, stage)) => GATES.values().any(|gate| gate.stage == *stage && !gate.locked && gate.on != *on),
            None => GATES.get(name).is_some_and(|gate| gate.on != *on),
        };
        switched.filter(other).filter(|(name, _)| !honoured.contains(name)).collect()
    }

    /// Says which switched gates change nothing in a component that honours those.
    pub fn warn(&self, honoured: &[&str]) {
        for (name, on) in self.ignored(honoured) {
            tracing::warn!("feature gate {name}={on} changes nothing: Ferry can't switch it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<FeatureGates, String> {
        let feature_gates = text.split(',').map(str::to_owned).collect();
        Flag { feature_gates }.gates().map_err(|error| error.to_string())
    }

    #[test]
    fn what_upstream_refuses_is_refused_in_its_words() {
        let check = |text: &str, want: Result<(), &str>| {
            assert_eq!(parsed(text).map(drop), want.map_err(str::to_owned), "{text}");
        };
        check("", Ok(()));
        check("DRADeviceTaints=false,HPAScaleToZero=true,AllAlpha=false", Ok(()));
        check("kube:DRADeviceTaints=F", Ok(()));
        check("Nonsense=true", Err("unrecognized feature gate: Nonsense"));
        check("JobManagedBy=true", Ok(()));
        check("JobManagedBy=false", Err("cannot set feature gate JobManagedBy to false, feature is locked to true"));
        check("DRADeviceTaints", Err("missing bool value for DRADeviceTaints"));
        let why = "invalid value of DRADeviceTaints=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax";
        check("DRADeviceTaints=maybe", Err(why));
    }

    #[test]
    fn a_gate_has_its_own_state_then_that_of_its_stage_then_upstreams() {
        let check = |text: &str, want: [bool; 3]| {
            let gates = parsed(text).unwrap();
            assert_eq!(
                ["DRADeviceTaints", "HPAScaleToZero", "JobManagedBy"].map(|name| gates.enabled(name)),
                want,
                "{text}"
            );
        };
        check("", [true, false, true]);
        check("DRADeviceTaints=false", [false, false, true]);
        check("AllBeta=false,AllAlpha=true", [false, true, true]);
        check("AllBeta=false,DRADeviceTaints=true", [true, false, true]);
        assert!(!FeatureGates::default().enabled("Nonsense"));
    }

    #[test]
    fn what_cannot_be_switched_is_said() {
        let gates =
            parsed("DRADeviceTaints=false,HPAScaleToZero=true,SELinuxMount=false,JobManagedBy=true,AllAlpha=false");
        assert_eq!(gates.unwrap().ignored(&["DRADeviceTaints"]), [("HPAScaleToZero", true)]);
        assert_eq!(parsed("AllBeta=false").unwrap().ignored(&[]), [("AllBeta", false)]);
        assert_eq!(parsed("JobManagedBy=true").unwrap().ignored(&[]), []);
    }

    #[test]
    fn the_table_is_whole() {
        assert_eq!(GATES.len(), include_str!("table.txt").lines().count());
        for (name, gate) in GATES.iter() {
            assert!(matches!(gate.stage, "Alpha" | "Beta" | "GA" | "Deprecated"), "{name} {}", gate.stage);
            // Upstream never has alpha features on.
            assert!(gate.stage != "Alpha" || !gate.on, "{name}");
        }
    }
}
