//! Pods on one bridge: what they send each other is switched, not routed, and passes the rules of addresses only where the
//! kernel is told to show it to them (`br_netfilter`).

use std::fs;
use std::path::Path;

const SWITCHES: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

/// Has the kernel show bridged packets to the rules, in this network namespace. Where it does not, that is said: policies
/// between pods of this node are not kept, if they are on a bridge.
pub fn show_packets() {
    show_in(Path::new("/proc/sys/net/bridge"), || {
        let _ = std::process::Command::new("modprobe").arg("br_netfilter").output();
    });
}

fn show_in(folder: &Path, load: impl FnOnce()) -> bool {
    if !folder.exists() {
        load();
    }
    let mut all = true;
    for switch in SWITCHES {
        let path = folder.join(switch);
        let is_on = || fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1");
        if !is_on() && fs::write(&path, "1").is_err() || !is_on() {
            all = false;
            tracing::warn!(
                "{} is not 1: packets between pods on one bridge of this node do not meet network policies \
                 (load the kernel module br_netfilter)",
                path.display()
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_turned_on_and_what_is_missing_is_loaded() {
        let folder = std::env::temp_dir().join(format!("ferry-policies-bridge-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!show_in(&folder.join("missing"), || ()));
        let on = || SWITCHES.map(|switch| fs::read_to_string(folder.join("bridge").join(switch)).unwrap_or_default());
        let load = || {
            fs::create_dir_all(folder.join("bridge")).unwrap();
            SWITCHES.iter().for_each(|switch| fs::write(folder.join("bridge").join(switch), "0\n").unwrap());
        };
        assert!(show_in(&folder.join("bridge"), load));
        assert_eq!(on(), ["1", "1"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
