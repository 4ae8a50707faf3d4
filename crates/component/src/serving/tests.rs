//! A server answers health checks and metrics, and ends in order.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn ask(address: SocketAddr, path: &str) -> String {
    ask_with(address, path, "").await
}

async fn ask_with(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split_whitespace().nth(1).unwrap().to_owned();
    format!("{status} {}", answer.split("\r\n\r\n").nth(1).unwrap())
}

#[tokio::test]
async fn health_is_open_and_metrics_are_guarded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, root) = (listener.local_addr().unwrap(), Supervisor::new());
    let ready = Checks::new().with("informer-sync", || Err("1 of 2 synced".into()));
    let server = Server::new(Checks::new(), ready).metrics(|text| text.line("answers_total", &[], &[], 42.0));
    let server = server.authorized(|parts| async move {
        (parts.headers.get("authorization").is_none()).then(|| StatusCode::UNAUTHORIZED.into_response())
    });
    let serving = root.vital("serving", |own| server.serve(listener, own));
    assert_eq!(ask(address, "/healthz").await, "200 ok");
    assert_eq!(ask(address, "/livez?verbose").await, "200 [+]ping ok\n[+]tasks ok\nlivez check passed\n");
    assert_eq!(
        ask(address, "/readyz").await,
        "500 [+]ping ok\n[+]tasks ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n"
    );
    assert_eq!(ask(address, "/metrics").await, "401 ");
    assert_eq!(ask(address, "/elsewhere").await, "404 ");
    let known = ask_with(address, "/metrics", "authorization: me\r\n").await;
    assert!(known.starts_with("200 answers_total 42\n# HELP ferry_task_panics_total "), "{known}");
    root.stop();
    root.finish().await.unwrap();
    serving.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn connections_are_told_to_end_and_not_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, root) = (listener.local_addr().unwrap(), Supervisor::new());
    let (asked, begun) = tokio::sync::oneshot::channel();
    let asked = Arc::new(std::sync::Mutex::new(Some(asked)));
    let slow = get(move || {
        asked.lock().unwrap().take().unwrap().send(()).unwrap();
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            "done"
        }
    });
    root.vital("serving", |own| serve(Router::new().route("/slow", slow), listener, own));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /none HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 20]).await.unwrap();
    let answer = tokio::spawn(async move { ask(address, "/slow").await });
    begun.await.unwrap();
    let began = std::time::Instant::now();
    root.stop();
    root.finish().await.unwrap();
    assert_eq!(answer.await.unwrap(), "200 done");
    assert!(began.elapsed() < DRAIN / 2, "an idle connection is not waited for: {:?}", began.elapsed());
}
