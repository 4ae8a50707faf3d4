//! Each pod is counted once, wherever the controller is killed.

use k8s_openapi::api::batch::v1::UncountedTerminatedPods;

use super::*;

/// A server with a job and its pods, and a controller that dies after a number of writes.
struct Cluster {
    job: Job,
    pods: Vec<Arc<Pod>>,
    writes_left: usize,
}

/// The controller is dead.
struct Dead;

impl Cluster {
    fn write(&mut self) -> Result<(), Dead> {
        self.writes_left = self.writes_left.checked_sub(1).ok_or(Dead)?;
        Ok(())
    }

    fn write_status(&mut self, pass: &mut Pass) -> Result<(), Dead> {
        self.write()?;
        self.job.status = Some(pass.status.clone());
        pass.changed = false;
        Ok(())
    }

    /// One pass as the shell makes it, with a memory that is empty.
    fn pass(&mut self) -> Result<(), Dead> {
        let (job, pods, none) = (self.job.clone(), self.pods.clone(), HashSet::new());
        let failures = Failures { count: 0, last: None };
        let observed = Observed { job: &job, pods, removing: &none, satisfied: true, failures, now: now() };
        let (mut pass, plan) = Pass::begin(observed);
        pass.conclude(&plan, Done::default());
        let mut count = pass.count();
        if pass.changed {
            self.write_status(&mut pass)?;
        }
        for released in &count.release {
            self.write()?;
            let uid = key::uid(&released.metadata);
            count.with_finalizer.remove(uid);
            for pod in self.pods.iter_mut().filter(|p| key::uid(&p.metadata) == uid) {
                Arc::make_mut(pod).metadata.finalizers = None;
            }
            // Nothing keeps a deleted pod any more.
            self.pods.retain(|p| p.metadata.finalizers.is_some() || p.metadata.deletion_timestamp.is_none());
        }
        pass.settle(&count.with_finalizer);
        pass.finish(&count);
        if pass.changed {
            self.write_status(&mut pass)?;
        }
        Ok(())
    }
}

/// Kills the controller after each number of writes, and lets another one end what it began.
fn check(spec: Value, pods: &str, want: (i32, i32), completed: &str) {
    let mut writes = 0;
    loop {
        let mut cluster = Cluster { job: job(spec.clone(), json!({})), pods: pods_of(pods), writes_left: writes };
        let finished = cluster.pass().is_ok();
        cluster.writes_left = usize::MAX;
        for _ in 0..3 {
            assert!(cluster.pass().is_ok());
        }
        let status = cluster.job.status.unwrap();
        let counted = (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
        assert_eq!(counted, want, "{spec} killed after {writes} writes");
        assert_eq!(status.completed_indexes.as_deref().unwrap_or_default(), completed);
        assert_eq!(status.uncounted_terminated_pods, Some(UncountedTerminatedPods::default()));
        assert!(cluster.pods.iter().all(|p| p.metadata.finalizers.is_none() || pods::is_active(p)));
        if finished {
            break;
        }
        writes += 1;
    }
    assert!(writes > 3, "something is counted");
}

#[test]
fn each_pod_counts_once_wherever_the_controller_is_killed() {
    let wanted = json!({"parallelism": 1, "completions": 9});
    check(wanted, "Succeeded Failed Succeeded! Running! Failed Running", (2, 3), "");
    check(json!({"completions": 3}), "Succeeded Succeeded Failed Succeeded", (3, 1), "");
    check(json!({"backoffLimit": 0}), "Succeeded Failed Failed", (1, 2), "");
    let indexed = json!({"parallelism": 1, "completions": 9, "completionMode": "Indexed"});
    check(indexed, "0:Succeeded 1:Failed 2:Succeeded! 2:Succeeded 3:Running! 5:Failed 7:Running", (2, 3), "0,2");
    let each = json!({"completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": 9});
    check(each, "0:Succeeded 1:Failed 2:Succeeded", (2, 1), "0,2");
}

#[test]
fn what_another_has_begun_is_ended() {
    let status = json!({"succeeded": 3, "failed": 1, "startTime": before(60),
        "uncountedTerminatedPods": {"succeeded": ["u0", "gone"], "failed": ["u1", "u2", "lost"]}});
    let outcome = pass(
        &job(json!({"completions": 9}), status),
        pods_of("Succeeded Failed Failed~ Running Running"),
        true,
        Failures::default(),
    );
    // Those without a pod, or without its finalizer, were released before; the others are now.
    assert_eq!(outcome.line(), "release 2, active 2, succeeded 5, failed 4");
    assert_eq!((outcome.first.succeeded, outcome.first.failed), (Some(4), Some(3)));
}

#[test]
fn five_hundred_are_counted_in_one_pass() {
    let outcome = pass(
        &job(json!({"completions": 600}), json!({})),
        pods_of(&"Succeeded ".repeat(600)),
        true,
        Failures::default(),
    );
    assert_eq!(outcome.line(), "release 500, succeeded 500, SuccessCriteriaMet/CompletionsReached");
    let exactly = pass(
        &job(json!({"completions": 499}), json!({})),
        pods_of(&"Succeeded ".repeat(499)),
        true,
        Failures::default(),
    );
    assert!(exactly.line().ends_with("Complete/CompletionsReached"));
}

#[test]
fn a_pod_whose_finalizer_is_being_removed_is_counted_no_more() {
    let job = job(json!({"completions": 9}), json!({"succeeded": 1}));
    let removing = ["u0".to_owned()].into();
    let pods = pods_of("Succeeded Succeeded Running Running");
    let failures = Failures::default();
    let observed = Observed { job: &job, pods, removing: &removing, satisfied: true, failures, now: now() };
    let (mut pass, plan) = Pass::begin(observed);
    assert_eq!(pass.succeeded, 2);
    pass.conclude(&plan, Done::default());
    let released: Vec<String> = pass.count().release.iter().map(|p| key::name(&p.metadata).to_owned()).collect();
    assert_eq!(released, ["p1"]);
}
