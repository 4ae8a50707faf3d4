//! Signals and the thresholds at which pods are evicted, as the configuration states them. Upstream: eviction/helpers.go,
//! ParseThresholdConfig.

use crate::config::KubeletConfiguration;
use anyhow::{Context, bail, ensure};
use jiff::SignedDuration;
use machinery::quantity::{Format, Quantity};
use std::collections::BTreeMap;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Signal {
    MemoryAvailable,
    /// What the pods together may still use of what is not reserved.
    AllocatableMemoryAvailable,
    NodeFsAvailable,
    NodeFsInodesFree,
    ImageFsAvailable,
    ImageFsInodesFree,
    PidAvailable,
}

/// The node's condition that a signal sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Condition {
    Disk,
    Memory,
    Pid,
}

impl Condition {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disk => "DiskPressure",
            Self::Memory => "MemoryPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

/// What is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Memory,
    EphemeralStorage,
    Inodes,
    Pids,
}

impl Resource {
    /// As messages and requests name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }
}

impl Signal {
    const ALL: [(&'static str, Self); 7] = [
        ("memory.available", Self::MemoryAvailable),
        ("allocatableMemory.available", Self::AllocatableMemoryAvailable),
        ("nodefs.available", Self::NodeFsAvailable),
        ("nodefs.inodesFree", Self::NodeFsInodesFree),
        ("imagefs.available", Self::ImageFsAvailable),
        ("imagefs.inodesFree", Self::ImageFsInodesFree),
        ("pid.available", Self::PidAvailable),
    ];

    fn parse(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, signal)| *signal).with_context(|| format!("unsupported eviction signal {text}"))
    }

    pub(crate) fn condition(self) -> Condition {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => Condition::Memory,
            Self::PidAvailable => Condition::Pid,
            _ => Condition::Disk,
        }
    }

    pub(crate) fn resource(self) -> Resource {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => Resource::Memory,
            Self::NodeFsAvailable | Self::ImageFsAvailable => Resource::EphemeralStorage,
            Self::NodeFsInodesFree | Self::ImageFsInodesFree => Resource::Inodes,
            Self::PidAvailable => Resource::Pids,
        }
    }

    /// What is left of it as messages print it.
    pub(crate) fn show(self, amount: i64) -> String {
        let format = match self.resource() {
            Resource::Memory | Resource::EphemeralStorage => Format::BinarySi,
            Resource::Inodes | Resource::Pids => Format::DecimalSi,
        };
        Quantity::new(amount, format).canonical()
    }
}

/// A quantity, or a part of the capacity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Amount {
    Quantity(Quantity),
    /// Between 0 and 1; single precision, as upstream's.
    Part(f32),
}

impl Amount {
    pub(crate) fn of(&self, capacity: i64) -> Quantity {
        match self {
            Self::Quantity(quantity) => quantity.clone(),
            Self::Part(part) => Quantity::new((capacity as f64 * f64::from(*part)) as i64, Format::BinarySi),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) signal: Signal,
    pub(crate) value: Amount,
    /// How long it must be met before pods go; zero is a hard threshold.
    pub(crate) grace: SignedDuration,
    /// What is to be freed beyond the threshold once it was met.
    pub(crate) minimum_reclaim: Option<Amount>,
}

impl Threshold {
    pub(crate) fn is_hard(&self) -> bool {
        self.grace.is_zero()
    }
}

/// All thresholds of a configuration.
///
/// # Errors
/// A signal is unknown or a value makes no sense; upstream's kubelet does not start with it either.
pub(crate) fn thresholds(file: &KubeletConfiguration) -> anyhow::Result<Vec<Threshold>> {
    let mut hard = file.eviction_hard.clone();
    if file.merge_default_eviction_settings {
        for (signal, value) in KubeletConfiguration::default().eviction_hard {
            hard.entry(signal).or_insert(value);
        }
    }
    let mut list = statements(&hard)?;
    let mut soft = statements(&file.eviction_soft)?;
    for threshold in &mut soft {
        let grace =
            file.eviction_soft_grace_period.iter().find(|(name, _)| Signal::parse(name).ok() == Some(threshold.signal));
        let name = name(threshold.signal);
        let (_, text) =
            grace.with_context(|| format!("grace period must be specified for the soft eviction threshold {name}"))?;
        let grace = machinery::duration::length(text).map_err(anyhow::Error::msg)?;
        threshold.grace = SignedDuration::try_from(grace)?;
    }
    list.extend(soft);
    for (signal, text) in &file.eviction_minimum_reclaim {
        let signal = Signal::parse(signal)?;
        let reclaim = amount(text)?;
        for threshold in list.iter_mut().filter(|t| t.signal == signal) {
            threshold.minimum_reclaim = Some(reclaim.clone());
        }
    }
    // The pods' share of the memory has the same hard threshold as the node's.
    let allocatable: Vec<Threshold> = list
        .iter()
        .filter(|t| t.signal == Signal::MemoryAvailable && t.is_hard())
        .map(|t| Threshold { signal: Signal::AllocatableMemoryAvailable, ..t.clone() })
        .collect();
    list.extend(allocatable);
    Ok(list)
}

fn name(signal: Signal) -> &'static str {
    Signal::ALL.iter().find(|(_, s)| *s == signal).map_or("", |(name, _)| name)
}

fn statements(list: &BTreeMap<String, String>) -> anyhow::Result<Vec<Threshold>> {
    let mut thresholds = Vec::new();
    for (signal, text) in list {
        // Container and image file systems are one here; upstream, too, puts its own value in the place of such a statement.
        if signal.starts_with("containerfs.") {
            tracing::warn!(signal, "eviction threshold is not supported, that of the image file system counts");
            continue;
        }
        let signal = Signal::parse(signal)?;
        if text == "0%" || text == "100%" {
            continue;
        }
        let value = amount(text)?;
        match &value {
            Amount::Part(part) => {
                ensure!(*part <= 1.0, "eviction percentage threshold {} must be <= 100%: {text}", name(signal))
            }
            Amount::Quantity(quantity) => {
                ensure!(quantity.sign() > 0, "eviction threshold {} must be positive: {text}", name(signal));
            }
        }
        thresholds.push(Threshold { signal, value, grace: SignedDuration::ZERO, minimum_reclaim: None });
    }
    Ok(thresholds)
}

fn amount(text: &str) -> anyhow::Result<Amount> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f32 = percent.parse().with_context(|| format!("invalid percentage {text:?}"))?;
        if !percent.is_finite() || percent < 0.0 {
            bail!("eviction percentage threshold must be >= 0%: {text}");
        }
        return Ok(Amount::Part(percent / 100.0));
    }
    Ok(Amount::Quantity(text.parse()?))
}
