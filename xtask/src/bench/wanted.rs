//! The figures to reach, as data: of which server, in which shape, by which value.

/// One figure to reach.
#[derive(Debug)]
pub(crate) struct Wanted {
    server: &'static str,
    /// What the shape's name begins with.
    shape: &'static str,
    /// The value's name.
    pub(crate) value: &'static str,
    bound: Bound,
    pub(crate) text: &'static str,
}

#[derive(Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// At most this share of upstream's.
    Share(f64),
    /// At least so many times upstream's.
    Times(f64),
    /// Nothing else.
    Exactly(f64),
}

use Bound::{AtLeast, AtMost, Exactly, Share, Times};

const FERRY: &str = "ferry";
const ON_ETCD: &str = "ferry on etcd";

const ALL: &[Wanted] = &[
    wanted(FERRY, "start to ready", "median", AtMost(0.3), "300 ms or less"),
    wanted(FERRY, "create 10000 pods", "rate", AtLeast(3_000.0), "3,000/s or more"),
    wanted(FERRY, "create", "rate", Times(8.0), "8 times upstream's throughput"),
    wanted(ON_ETCD, "create", "rate", Times(3.0), "3 times upstream's throughput on the same etcd"),
    wanted(FERRY, "create", "CPU each", Share(0.2), "a fifth of upstream's CPU a pod"),
    wanted(ON_ETCD, "create", "without its store", Share(0.2), "a fifth of upstream's CPU a pod"),
    wanted(FERRY, "get pods", "CPU each", Share(0.1), "a tenth of upstream's CPU a request"),
    wanted(FERRY, "list 10000 pods", "median", AtMost(0.04), "40 ms or less"),
    wanted(FERRY, "list 50000 pods", "median", Share(0.1), "a tenth of upstream's time"),
    wanted(FERRY, "list 50000 pods", "more memory", AtMost(10e6), "10 MB or less"),
    wanted(FERRY, "watch, 1000 watchers", "CPU each", Share(0.2), "a fifth of upstream's CPU an event"),
    wanted(FERRY, "watch, 1000 watchers", "p99", AtMost(0.01), "p99 under 10 ms"),
    wanted(FERRY, "memory with 50000 pods", "resident", AtMost(300e6), "300 MB or less"),
    wanted(FERRY, "memory with both encodings of 50000 pods", "resident", AtMost(450e6), "450 MB or less"),
    wanted(FERRY, "kill -9 with 50000 pods", "first list", AtMost(0.5), "500 ms or less"),
    wanted(FERRY, "snapshot of 50000 pods", "saved and verified", AtMost(0.5), "500 ms or less"),
    wanted(FERRY, "snapshot of 50000 pods", "restored and serving", AtMost(2.0), "2 s or less"),
    wanted(FERRY, "Deployment of 10000 pods on 5000 nodes", "all bound", AtMost(4.0), "4 s or less"),
    wanted(FERRY, "schedule 20000 waiting pods without constraints, 5000", "rate", AtLeast(5_000.0), "5,000/s or more"),
    wanted(FERRY, "schedule 4000 waiting pods with spread", "rate", AtLeast(1_500.0), "1,500/s or more"),
    wanted(FERRY, "Job of 10000 completions, 500 at once", "complete", AtMost(30.0), "30 s or less"),
    wanted(FERRY, "Job of 10000 completions", "succeeded", Exactly(10_000.0), "each completion counted once"),
    wanted(FERRY, "Job of 10000 completions", "indexes", Exactly(10_000.0), "each index once"),
    wanted(FERRY, "Job of 10000 completions", "pods made", Exactly(10_000.0), "no pod too many"),
    wanted(FERRY, "DaemonSet on 5000 nodes", "all available", AtMost(5.0), "5 s or less"),
    wanted(FERRY, "1000 StatefulSets of 3", "all ready", AtMost(10.0), "10 s or less"),
    wanted(FERRY, "1000 HorizontalPodAutoscalers", "manager beyond idle", AtMost(3.0), "3 % of a core or less"),
    wanted(FERRY, "1000 HorizontalPodAutoscalers", "autoscalers that compute", Exactly(1_000.0), "all compute"),
    wanted(FERRY, "controller manager with 50000 pods on 5000", "resident", AtMost(120e6), "120 MB or less"),
    wanted(FERRY, "10000 Services of 2 endpoints", "all answer", AtMost(0.5), "500 ms or less"),
    wanted(FERRY, "10000 Services of 2 endpoints", "one more", AtMost(0.01), "10 ms or less"),
    wanted(FERRY, "controller manager with 50000 pods", "pods", Exactly(50_000.0), "none made or taken away"),
];

const fn wanted(
    server: &'static str,
    shape: &'static str,
    value: &'static str,
    bound: Bound,
    text: &'static str,
) -> Wanted {
    Wanted { server, shape, value, bound, text }
}

/// What is wanted of a server in a shape.
pub(crate) fn of(server: &str, shape: &str) -> Vec<&'static Wanted> {
    ALL.iter().filter(|w| w.server == server && shape.starts_with(w.shape)).collect()
}

impl Wanted {
    /// Whether a value reaches it; `None` where that takes upstream's value and there is none.
    pub(crate) fn reached(&self, value: f64, upstream: Option<f64>) -> Option<bool> {
        Some(match self.bound {
            AtMost(most) => value <= most,
            AtLeast(least) => value >= least,
            Share(share) => value <= share * upstream?,
            Times(times) => value >= times * upstream?,
            Exactly(number) => value == number,
        })
    }
}
