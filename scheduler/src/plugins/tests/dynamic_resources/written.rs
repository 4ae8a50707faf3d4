//! What is written for a pod, on a server that keeps what it is sent.

use std::sync::Arc;

use expect_test::expect;
use http::{Method, Request, Response};
use k8s_openapi::api::{core::v1::Pod as ApiPod, resource::v1::ResourceClaim};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{World, check, claim, node, one_claim, pod, shown, with, world};
use crate::{
    events::Recorder,
    framework::{
        extension::{Binding, Cycle},
        state::CycleState,
        under_way::UnderWay,
    },
};

/// A server that keeps objects, by their path; each write has the next version.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    objects: std::collections::BTreeMap<String, Value>,
    requests: Vec<String>,
    version: u64,
    /// Refuses so many updates of a status for a conflict.
    conflicts: u32,
}

impl Server {
    fn put(&self, object: &ResourceClaim) {
        let name = object.metadata.name.clone().expect("a name");
        let path = format!("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}");
        self.0.lock().objects.insert(path, serde_json::to_value(object).expect("JSON"));
    }

    fn client(&self) -> kube::Client {
        let kept = self.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let kept = kept.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let (code, answer) = kept.lock().answer(&parts.method, parts.uri.path(), &body);
                let response = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, kube::Error>(response.expect("a response"))
            }
        });
        kube::Client::new(service, "default")
    }

    fn requests(&self) -> String {
        self.0.lock().requests.join("\n")
    }

    fn claim(&self, name: &str) -> Value {
        let path = format!("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}");
        self.0.lock().objects.get(&path).cloned().unwrap_or_default()
    }
}

impl Kept {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (path, is_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        let short = path.rsplit('/').next().unwrap_or_default();
        self.requests.push(format!("{method} {short}{}", if is_status { "/status" } else { "" }));
        let refusal = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        if *method == Method::PUT && is_status && self.conflicts > 0 {
            self.conflicts -= 1;
            return refusal(409, "Conflict");
        }
        self.version += 1;
        let mut path = path.to_owned();
        if *method == Method::POST {
            path = format!("{path}/made");
            self.objects.insert(path.clone(), body.clone());
            let meta = &mut self.objects.get_mut(&path).expect("it")["metadata"];
            (meta["name"], meta["uid"]) = (json!("made"), json!("made"));
        }
        if *method == Method::PATCH {
            return (200, json!({"metadata": {"name": short}, "patched": body}));
        }
        let version = self.version + 100;
        let Some(object) = self.objects.get_mut(&path) else { return refusal(404, "NotFound") };
        match *method {
            Method::PUT if is_status => object["status"] = body["status"].clone(),
            Method::PUT => object["metadata"] = body["metadata"].clone(),
            Method::DELETE => return (200, self.objects.remove(&path).unwrap_or_default()),
            _ => {}
        }
        if *method != Method::GET {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
        }
        (200, object.clone())
    }
}

/// Reserves on a node, and returns what a binding needs.
fn reserved(world: &mut World, pod: &ApiPod, node: &str, server: &Server) -> Binding {
    let pod = world.cache.read_pod(pod);
    let snapshot = world.cache.snapshot();
    let mut cycle = Cycle::new(&pod, snapshot);
    let status = world.plugin.pre_filter().expect("it looks").pre_filter(&mut cycle).0;
    assert!(status.is_success(), "{status:?}");
    let place = snapshot.node(snapshot.place(node).expect("a node"));
    let status = world.plugin.filter().expect("it filters").filter(&cycle, place);
    assert!(status.is_success(), "{status:?}");
    let status = world.plugin.reserve().expect("it reserves").reserve(&mut cycle, place);
    assert!(status.is_success(), "{status:?}");
    let node_name: Arc<str> = Arc::from(node);
    Binding {
        client: server.client(),
        under_way: Arc::new(UnderWay::new(pod.clone(), node_name.clone(), vec![])),
        pod: pod.clone(),
        node_name,
        kept: Arc::new(std::mem::take(&mut cycle.kept)),
        recorder: Recorder::unheard(),
        metrics: Arc::default(),
    }
}

fn needed(world: &World, kept: &CycleState) -> bool {
    world.plugin.pre_bind().expect("it prepares").needed(kept)
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_its_devices_and_its_pod_before_the_pod_is_bound() {
    let server = Server::default();
    server.put(&claim("shared", json!({})));
    server.0.lock().conflicts = 1;
    let mut world = with(&[claim("shared", json!({}))]);
    let binding = reserved(&mut world, &one_claim(), "a", &server);
    let devices = world.cache.snapshot().devices.clone();
    assert!(devices.is_in_flight("shared") && needed(&world, &binding.kept));
    let status = world.plugin.pre_bind().expect("it prepares").pre_bind(&binding).await;
    assert_eq!(shown(&status), "Success");
    check(
        server.requests(),
        expect![[r#"
            PUT shared
            PUT shared/status
            GET shared
            PUT shared/status"#]],
    );
    let written = server.claim("shared");
    assert_eq!(written["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    let status = &written["status"];
    assert_eq!(status["reservedFor"], json!([{"resource": "pods", "name": "p", "uid": "p"}]));
    assert!(status["allocation"]["allocationTimestamp"].is_string());
    assert_eq!(status["allocation"]["devices"]["results"][0]["device"], "gpu-0");
    // It counts before the informer shows it, and is nobody's in flight.
    assert!(!devices.is_in_flight("shared"));
    let known = devices.claim("default", "shared").expect("the claim");
    assert!(known.status.as_ref().is_some_and(|status| status.allocation.is_some()));

    // It is not bound after all.
    world.plugin.reserve().expect("it reserves").unreserve(&binding.kept, &binding.pod, "a");
    world.plugin.reserve().expect("it reserves").undo(&binding).await;
    assert!(server.requests().ends_with("GET shared\nPATCH shared/status"), "{}", server.requests());
}

#[tokio::test]
async fn nothing_written_is_given_back_at_once() {
    let server = Server::default();
    let mut world = with(&[claim("shared", json!({}))]);
    let binding = reserved(&mut world, &one_claim(), "a", &server);
    world.plugin.reserve().expect("it reserves").unreserve(&binding.kept, &binding.pod, "a");
    assert!(!world.cache.snapshot().devices.is_in_flight("shared"));
    world.plugin.reserve().expect("it reserves").undo(&binding).await;
    assert_eq!(server.requests(), "");
    // The server does not know the claim: the pod is tried again, and the devices are free.
    let binding = reserved(&mut world, &one_claim(), "a", &server);
    let status = world.plugin.pre_bind().expect("it prepares").pre_bind(&binding).await;
    assert_eq!(shown(&status), "Error add finalizer to claim default/shared: NotFound");
    world.plugin.reserve().expect("it reserves").unreserve(&binding.kept, &binding.pod, "a");
    world.plugin.reserve().expect("it reserves").undo(&binding).await;
    assert!(!world.cache.snapshot().devices.is_in_flight("shared"));
}

fn with_gpus() -> ApiPod {
    let requests = json!({"requests": {"example.com/gpu": "1"}});
    pod("p", json!({"containers": [{"name": "c", "resources": requests}]}))
}

#[tokio::test]
async fn a_claim_is_made_for_extended_resources_that_are_devices() {
    let server = Server::default();
    let mut world = with(&[]);
    check(
        world.filter(&with_gpus()),
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable cannot allocate all claims"#]],
    );
    let binding = reserved(&mut world, &with_gpus(), "a", &server);
    let status = world.plugin.pre_bind().expect("it prepares").pre_bind(&binding).await;
    assert_eq!(shown(&status), "Success");
    check(
        server.requests(),
        expect![[r#"
            POST resourceclaims
            PUT made
            PUT made/status
            PATCH p/status"#]],
    );
    let made = server.claim("made");
    assert_eq!(made["metadata"]["generateName"], "p-extended-resources-");
    assert_eq!(made["metadata"]["annotations"], json!({"resource.kubernetes.io/extended-resource-claim": "true"}));
    assert_eq!(made["spec"]["devices"]["requests"][0]["name"], "container-0-request-0");

    // Of an earlier attempt: no node will do until it is gone.
    check(
        world.filter(&with_gpus()),
        expect![[r#"
            a UnschedulableAndUnresolvable cannot schedule extended resource claim
            b UnschedulableAndUnresolvable cannot schedule extended resource claim"#]],
    );
    world.plugin.reserve().expect("it reserves").unreserve(&binding.kept, &binding.pod, "a");
    world.plugin.reserve().expect("it reserves").undo(&binding).await;
    assert!(server.claim("made").is_null(), "{}", server.requests());
}

#[tokio::test]
async fn a_node_that_has_the_resource_itself_needs_no_devices() {
    let plugin = || node("c", json!({"allocatable": {"example.com/gpu": "2"}}));
    let mut world = world().with(&[plugin()], &[]);
    check(
        world.filter(&with_gpus()),
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable cannot allocate all claims
            c Success"#]],
    );
    let binding = reserved(&mut world, &with_gpus(), "c", &Server::default());
    assert!(!needed(&world, &binding.kept));
}
