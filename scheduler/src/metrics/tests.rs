//! What is written of metrics.

use super::*;

#[test]
fn names_and_labels_are_upstreams() {
    let metrics = Arc::new(Metrics::default());
    let profile = OfProfile::new(metrics.clone(), Arc::from("default-scheduler"), ["NodeName", "NodePorts"]);
    profile.attempted(Outcome::Scheduled, Duration::from_millis(2));
    profile.ran(Point::Filter, Code::Success, Duration::from_micros(150));
    profile.plugin_ran(1, Point::PreFilter, Code::Skip, Duration::from_micros(1));
    profile.evaluated(0, Point::Filter);
    profile.turned_away(0, true);
    metrics.incoming("PodAdd", "active").add(1);
    metrics.bound(20, Duration::from_secs(1), true);
    metrics.evicted(false, Duration::from_secs(1));
    metrics.prepared(("p", "timeout"), ["d", "e"].into_iter(), ["d"].into_iter(), Duration::from_secs(3));
    let mut out = Text::default();
    metrics.write(&mut out);
    let text = out.finish();
    for line in [
        "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
        "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.002\"} 1",
        "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.001\"} 0",
        "scheduler_framework_extension_point_duration_seconds_bucket{extension_point=\"Filter\",profile=\"default-scheduler\",status=\"Success\",le=\"0.0002\"} 1",
        "scheduler_plugin_execution_duration_seconds_count{extension_point=\"PreFilter\",plugin=\"NodePorts\",status=\"Skip\"} 1",
        "scheduler_plugin_evaluation_total{extension_point=\"Filter\",plugin=\"NodeName\",profile=\"default-scheduler\"} 1",
        "scheduler_unschedulable_pods{plugin=\"NodeName\",profile=\"default-scheduler\"} 1",
        "scheduler_queue_incoming_pods_total{event=\"PodAdd\",queue=\"active\"} 1",
        "scheduler_pending_pods{queue=\"gated\"} 0",
        "scheduler_cache_size{type=\"assumed_pods\"} 0",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1",
        "scheduler_pod_scheduling_attempts_sum 20",
        "scheduler_preemption_attempts_total 0",
        "scheduler_pod_scheduled_after_flush_total 1",
        "scheduler_preemption_goroutines_execution_total{result=\"error\"} 1",
        "scheduler_dra_bindingconditions_wait_duration_seconds_sum{driver=\"e\",profile=\"p\",status=\"timeout\"} 3",
        "scheduler_dra_bindingconditions_allocations_total{driver=\"d\",profile=\"p\",status=\"timeout\"} 1",
        "scheduler_goroutines{operation=\"binding\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
    }
}
