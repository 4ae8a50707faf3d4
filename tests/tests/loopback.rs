//! A server alone on a machine that has no address but loopback: it serves, and says once what it cannot do.

use testkit::Process;

/// Not a test: what others start.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_address_for_others_the_server_is_ready_and_says_so_once() -> anyhow::Result<()> {
    let server = Process::start(None, &["--advertise-address=127.0.0.1"]).await?;
    let admin = server.admin()?;
    let service = admin.get("/api/v1/namespaces/default/services/kubernetes").await?;
    assert_eq!(service.code, 200, "{}", service.body);
    for path in ["/api/v1/namespaces/default/endpoints", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"]
    {
        let list = admin.get(path).await?;
        assert_eq!(list.body["items"].as_array().map(Vec::len), Some(0), "{}", list.body);
    }
    let log = server.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("--advertise-address")).collect();
    assert_eq!(said.len(), 1, "{log}");
    Ok(())
}
