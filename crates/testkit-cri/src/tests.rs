use super::*;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use std::time::Duration;
use tonic::Code;

#[tokio::test(start_paused = true)]
async fn containers_end_by_themselves_and_by_signals() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeRuntime::start(&folder.path().join("cri.sock"), || 7).expect("served");
    let channel = tonic::transport::Endpoint::from_shared(fake.endpoint()).expect("an address").connect().await;
    let mut client = RuntimeServiceClient::new(channel.expect("connected"));
    fake.world().programs.insert("short".into(), Program::ends(Duration::from_secs(5), 3));
    fake.world().programs.insert("stubborn".into(), Program::stubborn());
    fake.world().rule(Rule::on("RunPodSandbox").fails(Code::Unavailable, "not yet").times(1));

    let config = |name: &str| cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata { name: name.into(), ..Default::default() }),
        ..Default::default()
    };
    let run = |name: &str| cri::RunPodSandboxRequest { config: Some(config(name)), ..Default::default() };
    assert_eq!(client.run_pod_sandbox(run("p")).await.expect_err("refused once").code(), Code::Unavailable);
    let sandbox = client.run_pod_sandbox(run("p")).await.expect("run").into_inner().pod_sandbox_id;
    let mut ids = Vec::new();
    for image in ["short", "stubborn"] {
        let config = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: image.into(), attempt: 0 }),
            image: Some(cri::ImageSpec { user_specified_image: image.into(), ..Default::default() }),
            labels: [("io.kubernetes.container.name".to_owned(), image.to_owned())].into(),
            ..Default::default()
        };
        let request =
            cri::CreateContainerRequest { pod_sandbox_id: sandbox.clone(), config: Some(config), sandbox_config: None };
        let container_id = client.create_container(request).await.expect("created").into_inner().container_id;
        let request = cri::StartContainerRequest { container_id: container_id.clone() };
        client.start_container(request).await.expect("started");
        ids.push(container_id);
    }
    assert!(fake.world().runs("p", "short") && fake.world().runs("p", "stubborn"));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!fake.world().runs("p", "short"));
    let begin = tokio::time::Instant::now();
    let stop = cri::StopContainerRequest { container_id: ids[1].clone(), timeout: 30 };
    client.stop_container(stop).await.expect("stopped");
    assert_eq!(begin.elapsed().as_secs(), 30);
    let codes: Vec<i32> = fake.world().containers.iter().map(|c| c.exit_code).collect();
    assert_eq!(codes, [3, 137]);
    assert_eq!(fake.world().calls_of("StopContainer"), ["StopContainer stubborn 30"]);
}
