//! What a StatefulSet that goes in order owes: a pod is made when all of lower ordinals serve, and deleted, for an
//! update, when all others serve and those of higher ordinals are of one other revision.
//!
//! That holds exactly where pods that are ready stay so until their deletion is asked for, as those of the ledger do.

use std::collections::BTreeMap;

use super::{Ledger, Pod};

impl Ledger {
    /// What is wrong with the order in which a set of so many replicas was made and updated, `owner` being its uid.
    /// What comes after the `until`th revision of the store (it is being deleted) is left out.
    pub fn stateful_faults(&self, owner: &str, replicas: u32, until: i64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut now: BTreeMap<u32, &Pod> = BTreeMap::new();
        for seen in self.of(owner).take_while(|seen| seen.revision <= until) {
            let pod = &seen.pod;
            let Some(ordinal) = ordinal(&pod.name).filter(|ordinal| *ordinal < replicas) else {
                faults.push(format!("{} is none of its pods", pod.name));
                continue;
            };
            let at = format!("at revision {}", seen.revision);
            let before = now.get(&ordinal).copied();
            let serving = |of: u32| now.get(&of).is_some_and(|pod| pod.serves());
            match before {
                None if seen.gone => {}
                None => {
                    let wanting: Vec<u32> = (0..ordinal).filter(|lower| !serving(*lower)).collect();
                    if !wanting.is_empty() {
                        faults.push(format!("{at} {} was made when {wanting:?} did not serve", pod.name));
                    }
                }
                Some(was) if was.uid != pod.uid => {
                    faults.push(format!("{at} {} was made while {} was there", pod.name, was.uid));
                }
                Some(was) if seen.gone && !was.terminating => {
                    faults.push(format!("{at} {} went without a kubelet's word", pod.name));
                }
                Some(was) if pod.terminating && !was.terminating => {
                    let others = (0..replicas).filter(|other| *other != ordinal);
                    let wanting: Vec<u32> = others.filter(|other| !serving(*other)).collect();
                    if !wanting.is_empty() {
                        faults.push(format!("{at} {} was deleted when {wanting:?} did not serve", pod.name));
                    }
                    let above: Vec<&Pod> = now.range(ordinal + 1..).map(|(_, pod)| *pod).collect();
                    let updated = above.iter().all(|other| other.revision != pod.revision);
                    if !updated || above.windows(2).any(|pair| pair[0].revision != pair[1].revision) {
                        let above: Vec<_> = above.iter().map(|other| (&other.name, &other.revision)).collect();
                        faults.push(format!("{at} {} of {} was deleted before {above:?}", pod.name, pod.revision));
                    }
                }
                Some(_) => {}
            }
            match seen.gone {
                true => drop(now.remove(&ordinal)),
                false => drop(now.insert(ordinal, pod)),
            }
        }
        faults
    }
}

fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}
