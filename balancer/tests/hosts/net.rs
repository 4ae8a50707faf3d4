//! Hosts on a link, each a network namespace, a switch between them, and a client.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

const PORT: u16 = 8080;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(200);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// See the module.
pub struct Net {
    id: String,
    hosts: Vec<String>,
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

fn sh(command: &str) {
    let output = Command::new("sh").args(["-ec", &format!("PATH=$PATH:/usr/sbin\n{command}")]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Net {
    /// `None`, with a word why, where this can't be done.
    pub fn new(hosts: &[&str]) -> Option<Net> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("balancer{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let nft = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin nft --version"]).output();
        if !nft.is_ok_and(|output| output.status.success()) || !ip(&format!("netns add {id}-switch")) {
            skips::skip("root, ip and nft", "");
            return None;
        }
        let net = Net { id, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        let id = &net.id;
        sh(&format!("ip -n {id}-switch link add br0 type bridge; ip -n {id}-switch link set br0 up"));
        for (at, host) in hosts.iter().enumerate() {
            net.plug(host, Net::addresses(at));
            let [v4, v6] = Net::addresses(at);
            // As the proxy does it, and at the same point.
            sh(&format!(
                "ip netns exec {id}-{host} nft -f - <<E
                table inet services {{
                  chain prerouting {{
                    type nat hook prerouting priority -100
                    ip daddr 192.0.2.100-192.0.2.110 dnat ip to {v4}
                    ip6 daddr 2001:db8::1:100-2001:db8::1:110 dnat ip6 to {v6}
                  }}
                }}\nE"
            ));
            net.serve(host);
        }
        net.plug("out", ["192.0.2.99".to_owned(), "2001:db8::99".to_owned()]);
        Some(net)
    }

    /// The addresses of a host.
    pub fn addresses(at: usize) -> [String; 2] {
        [format!("192.0.2.{}", 11 + at), format!("2001:db8::{}", 11 + at)]
    }

    fn plug(&self, host: &str, [v4, v6]: [String; 2]) {
        let id = &self.id;
        sh(&format!(
            "ip netns add {id}-{host}; ip -n {id}-{host} link set lo up
             ip netns exec {id}-{host} sysctl -qw net.ipv6.conf.default.accept_dad=0
             ip link add eth0 netns {id}-{host} type veth peer name to-{host} netns {id}-switch
             ip -n {id}-switch link set to-{host} master br0 up
             ip -n {id}-{host} addr add {v4}/24 dev eth0; ip -n {id}-{host} addr add {v6}/64 dev eth0 nodad
             ip -n {id}-{host} link set eth0 up"
        ));
    }

    /// Takes a host off the link.
    pub fn cut(&self, host: &str) {
        sh(&format!("ip -n {}-switch link set to-{host} down", self.id));
    }

    /// And puts it back.
    pub fn mend(&self, host: &str) {
        sh(&format!("ip -n {}-switch link set to-{host} up", self.id));
    }

    /// Runs `work` on a thread that lives in a namespace; what it starts lives there, too.
    pub fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}-{host}", self.id);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    /// A server of this process's network is at the same address of a host, until that ends.
    pub fn reach(&self, host: &str, server: SocketAddr, until: CancellationToken) -> anyhow::Result<()> {
        let listener = self.on(host, || TcpListener::bind(server))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        component::supervisor::detached("reach", async move {
            while let Some(Ok((mut from, _))) = until.run_until_cancelled(listener.accept()).await {
                let copied = async move {
                    let mut to = tokio::net::TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                };
                component::supervisor::detached("reached", until.clone().run_until_cancelled_owned(copied));
            }
        });
        Ok(())
    }

    /// Each connection to the host is answered with its name.
    fn serve(&self, host: &str) {
        let listener = self.on(host, || TcpListener::bind(("::", PORT)).unwrap());
        let name = host.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.write_all(name.as_bytes());
            }
        });
    }

    /// The client connects to an address again and again.
    pub fn keep_asking(&self, address: &str) -> Answers {
        let (address, path) =
            (SocketAddr::new(address.parse::<IpAddr>().unwrap(), PORT), format!("/run/netns/{}-out", self.id));
        let (seen, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, end) = (seen.clone(), ended.clone());
        std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            while !end.load(Ordering::Relaxed) {
                let mut host = String::new();
                let stream = TcpStream::connect_timeout(&address, CONNECT);
                let answered = stream.and_then(|mut stream| {
                    stream.set_read_timeout(Some(CONNECT))?;
                    stream.read_to_string(&mut host)
                });
                if answered.is_ok() && !host.is_empty() {
                    told.lock().push((Instant::now(), host));
                }
                std::thread::sleep(PAUSE);
            }
        });
        Answers { seen, ended }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["out", "switch"]) {
            ip(&format!("netns del {}-{host}", self.id));
        }
    }
}

/// Who answered the client, and when.
pub struct Answers {
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
    ended: Arc<AtomicBool>,
}

impl Answers {
    /// The hosts that have answered since then, and the longest time without an answer.
    pub fn since(&self, since: Instant) -> (Vec<String>, Duration) {
        let seen = self.seen.lock();
        let later = || seen.iter().filter(|(at, _)| *at >= since);
        let mut hosts: Vec<String> = later().map(|(_, host)| host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        let times: Vec<Instant> =
            std::iter::once(since).chain(later().map(|(at, _)| *at)).chain([Instant::now()]).collect();
        let longest = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max();
        (hosts, longest.unwrap_or_default())
    }

    /// When another host than this one answered first after that.
    pub fn first_of_others(&self, host: &str, since: Instant) -> Option<Instant> {
        self.seen.lock().iter().find(|(at, who)| *at >= since && who != host).map(|(at, _)| *at)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
