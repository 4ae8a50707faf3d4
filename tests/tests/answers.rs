//! What every answer has, whatever it answers (compared with a kube-apiserver v1.36.2, path by path).

use http::Method;
use testkit::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_the_requests_id_and_is_for_no_cache() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let mut ids = std::collections::BTreeSet::new();
    for (user, groups) in [("admin", &["system:masters"][..]), ("jane", &["system:authenticated"])] {
        let caller = cluster.caller(user, groups);
        for path in [
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/nope",
            "/api/v1/pods",
            "/api/v1/pods?watch=1&timeoutSeconds=1",
            "/api",
            "/apis/apps/v1",
            "/openapi/v2",
            "/livez",
            "/nope",
        ] {
            let answer = caller.raw(Method::GET, path, &[], Vec::new()).await?;
            assert_eq!(answer.header("cache-control"), "no-cache, private", "{user} {path}");
            let id = answer.header("audit-id").to_owned();
            assert_eq!(id.len(), 36, "{user} {path}: {id}");
            assert!(ids.insert(id), "{user} {path}: an id of another request");
            let answer = caller.raw(Method::GET, path, &[("Audit-Id", "my own")], Vec::new()).await?;
            assert_eq!(answer.header("audit-id"), "my own", "{user} {path}");
        }
    }
    Ok(())
}
