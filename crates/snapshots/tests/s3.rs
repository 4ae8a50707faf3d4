//! A bucket of a real server that speaks S3's protocol: what is put there is listed, fetched, and goes.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferry_snapshots::target::{Access, Target};

/// A server on a loopback port; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let Some(binary) = std::env::split_paths(&path).map(|dir| dir.join("moto_server")).find(|file| file.is_file())
        else {
            skips::skip("moto_server", "(PyPI: moto[server])");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(binary);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, port })
    }

    /// A request that needs no signature there.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_bucket_keeps_snapshots() {
    let Some(server) = Server::start() else { return };
    let endpoint = Some(format!("http://127.0.0.1:{}", server.port));
    let access = Access { endpoint, ..Access::default() }.with_keys("me", "secret");
    let target = Target::of("s3://backups/of our/cluster", &access).unwrap();
    let said = format!("{:#}", target.list().await.unwrap_err());
    assert!(said.contains("NoSuchBucket"), "{said}");
    assert!(server.ask("PUT /backups").starts_with("HTTP/1.1 200"));
    assert_eq!(target.list().await.unwrap(), []);

    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { dir.path().join(name) };
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ n >> 7) as u8).collect();
    std::fs::write(file("local"), &content).unwrap();
    let names =
        ["manual-aaaaaaaa-20261130T120000Z-7.ferrysnapshot", "manual-aaaaaaaa-20261129T120000Z-6.ferrysnapshot"];
    for name in names {
        target.put(&file("local"), name).await.unwrap();
    }
    std::fs::write(file("note"), "x").unwrap();
    target.put(&file("note"), "note.txt").await.unwrap();
    let found = target.list().await.unwrap();
    let told: Vec<_> = found.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect();
    assert_eq!(told, [(names[1], 3_000_000), (names[0], 3_000_000)], "oldest first, and nothing else");
    assert_eq!(target.place(names[0]), format!("s3://backups/of our/cluster/{}", names[0]));

    let fetched = target.fetch(names[0], dir.path()).await.unwrap();
    assert_eq!(std::fs::read(&fetched).unwrap(), content);
    target.delete(names[0]).await.unwrap();
    target.delete(names[0]).await.unwrap();
    let said = format!("{:#}", target.fetch(names[0], &file("")).await.unwrap_err());
    assert!(said.contains("File exists") || said.contains("NoSuchKey"), "{said}");
    assert_eq!(target.list().await.unwrap().len(), 1);
}

#[test]
fn a_bucket_needs_keys_and_a_name() {
    let said = Target::of("s3://b/p", &Access::default()).unwrap_err().to_string();
    assert_eq!(said, "the keys of the bucket are not known: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    let said = Target::of("gs://b/p", &Access::default()).unwrap_err().to_string();
    assert_eq!(said, "\"gs://b/p\" is neither a folder nor s3://BUCKET/PREFIX");
    assert!(matches!(Target::of("/srv/backups", &Access::default()), Ok(Target::Folder(_))));
}
