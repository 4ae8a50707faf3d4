//! Plugins that make a pod wait for their permission.

use super::*;
use crate::framework::{
    extension::{Permission, Permit},
    under_way::WaitingPods,
};

/// Makes every pod wait, but for `go`, which sets all that wait free, and `stop`, which turns them away.
struct Gang;

impl Permit for Gang {
    fn permit(&self, pod: &PodInfo, _: &str, waiting: &WaitingPods) -> Permission {
        match &*pod.name {
            "go" => waiting.all().iter().for_each(|other| other.allow("Gang")),
            "stop" => {
                for other in waiting.all() {
                    other.reject("Gang", "one of the gang is missing");
                }
            }
            "never" => return Permission::Now(Status::new(Code::Unschedulable, "not wanted")),
            "broken" => return Permission::Now(Status::new(Code::Error, "out of order")),
            _ => return Permission::Wait(Duration::from_secs(10)),
        }
        Permission::Now(Status::success())
    }
}

impl Plugin for Gang {
    fn name(&self) -> &'static str {
        "Gang"
    }
    fn permit(&self) -> Option<&dyn Permit> {
        Some(self)
    }
}

fn gang() -> Core {
    let config = Config::default();
    let make = |interner: &mut Interner| {
        let mut frameworks = config.frameworks(interner)?;
        frameworks[0].plugins.push(Arc::new(Gang));
        Ok::<_, String>(frameworks)
    };
    Core::new(&Settings::default(), |_| 0, make).expect("the default profile")
}

/// Tries these pods in turn; what came of each, the waiting ones at last.
async fn tried(names: &[&str]) -> String {
    let now = Instant::now();
    let mut core = gang();
    core.node_changed(&node("a", "4", json!({})), now);
    let (mut lines, mut waiting) = (Vec::new(), Vec::new());
    for name in names {
        core.pod_changed(&pod(name, "1", json!({})), now);
        for effect in core.step(now).expect("the pod is ready") {
            match effect {
                Effect::Bind { pod, under_way, .. } if under_way.waits() => waiting.push((pod, under_way)),
                Effect::Bind { pod, .. } => lines.push(format!("{} is bound", pod.name)),
                Effect::Failed { pod, reason, message, .. } => lines.push(format!("{} {reason}: {message}", pod.name)),
                other => panic!("{other:?}"),
            }
        }
    }
    for (pod, under_way) in waiting {
        match under_way.permitted().await {
            Ok(()) => lines.push(format!("{} is permitted", pod.name)),
            Err(why) => {
                let failure = core.profiles()[0].not_permitted(why);
                for effect in core.bound(&pod.uid, Err(failure), now) {
                    let Effect::Failed { pod, reason, message, .. } = effect else { panic!("{effect:?}") };
                    lines.push(format!("{} {reason}: {message}", pod.name));
                }
            }
        }
    }
    lines.join("\n")
}

#[tokio::test(start_paused = true)]
async fn pods_wait_until_a_plugin_says_so() {
    expect![[r#"
        go is bound
        p is permitted
        q is permitted"#]]
    .assert_eq(&tried(&["p", "q", "go"]).await);
    expect![[r#"
        stop is bound
        p Unschedulable: 0/1 nodes are available: 1 one of the gang is missing."#]]
    .assert_eq(&tried(&["p", "stop"]).await);
    expect!["p Unschedulable: 0/1 nodes are available: 1 rejected due to timeout after waiting 10s at plugin Gang."]
        .assert_eq(&tried(&["p"]).await);
    expect![[r#"
        never Unschedulable: 0/1 nodes are available: 1 not wanted.
        broken SchedulerError: running Permit plugin "Gang": out of order"#]]
    .assert_eq(&tried(&["never", "broken"]).await);
}
