//! Three machines: `a` and `b` on one link, `c` behind a router, and `out` behind it too, which is no node and knows nothing
//! of pods. Each is a network namespace; so is the pod on each node, as the CNI plugins would make it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};

/// The nodes: number, IPv4 address, IPv6 address.
pub const NODES: [(&str, u8, &str, &str); 3] = [
    ("a", 0, "192.0.2.1", "2001:db8:1::1"),
    ("b", 1, "192.0.2.2", "2001:db8:1::2"),
    ("c", 2, "198.51.100.3", "2001:db8:2::3"),
];
pub const OUTSIDE: &str = "203.0.113.99";

/// See the module.
pub struct Net {
    id: String,
}

sockopt_impl!(
    /// `IP_MTU_DISCOVER`.
    CutIpv4,
    SetOnly,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    i32
);
sockopt_impl!(
    /// `IPV6_MTU_DISCOVER`.
    CutIpv6,
    SetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    i32
);

/// A socket whose packets nobody cuts.
fn uncut(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    setsockopt(&socket, CutIpv4, &libc::IP_PMTUDISC_DO).unwrap();
    if address.is_ipv6() {
        setsockopt(&socket, CutIpv6, &libc::IPV6_PMTUDISC_DO).unwrap();
    }
    socket
}

fn run(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-ec", command]).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stdout) + &text(&output.stderr)) }
}

impl Net {
    /// `None`, with a word why, where this cannot be done.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("network{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let programs = run("PATH=$PATH:/usr/sbin; nft --version && ip -V");
        if programs.is_err() || run(&format!("ip netns add {id}-router")).is_err() {
            skips::skip("root, ip and nft", "");
            return None;
        }
        let net = Self { id };
        net.make();
        ["pod-a", "pod-b", "pod-c", "out"].into_iter().for_each(|host| net.answer(host));
        Some(net)
    }

    fn make(&self) {
        let id = &self.id;
        self.at_once("router");
        self.sh(
            "router",
            "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip link add br0 type bridge; ip link set br0 up; ip addr add 192.0.2.254/24 dev br0
             ip addr add 2001:db8:1::fe/64 dev br0 nodad",
        );
        let link = |host: &str, port: &str| {
            self.namespace(host);
            run(&format!("ip link add {port} netns {id}-router type veth peer name eth0 netns {id}-{host}")).unwrap();
            self.sh("router", &format!("ip link set {port} up"));
            self.sh(host, "ip link set lo up; ip link set eth0 up");
        };
        for (name, number, v4, v6) in NODES {
            link(name, &format!("p-{name}"));
            let gateway = if name == "c" {
                self.sh("router", "ip addr add 198.51.100.254/24 dev p-c; ip addr add 2001:db8:2::fe/64 dev p-c nodad");
                ("198.51.100.254", "2001:db8:2::fe")
            } else {
                self.sh("router", &format!("ip link set p-{name} master br0"));
                ("192.0.2.254", "2001:db8:1::fe")
            };
            self.sh(
                name,
                &format!(
                    "ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad
                     ip route add default via {}; ip -6 route add default via {}",
                    gateway.0, gateway.1
                ),
            );
            self.pod(name, number);
        }
        link("out", "p-out");
        self.sh("router", "ip addr add 203.0.113.254/24 dev p-out; ip addr add 2001:db8:9::fe/64 dev p-out nodad");
        self.sh(
            "out",
            &format!(
                "ip addr add {OUTSIDE}/24 dev eth0; ip addr add 2001:db8:9::99/64 dev eth0 nodad
                 ip route add default via 203.0.113.254; ip -6 route add default via 2001:db8:9::fe"
            ),
        );
    }

    fn namespace(&self, host: &str) {
        run(&format!("ip netns add {}-{host}", self.id)).unwrap();
        self.at_once(host);
    }

    /// IPv6 addresses may be used as soon as they are there: nobody else has them.
    fn at_once(&self, host: &str) {
        self.sh(host, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
    }

    /// As the plugins make it: behind the node's bridge, by which it leaves.
    fn pod(&self, node: &str, number: u8) {
        let id = &self.id;
        self.namespace(&format!("pod-{node}"));
        self.sh(
            node,
            &format!(
                "ip link add ferry0 type bridge; ip link set ferry0 up
                 ip addr add 10.244.{number}.1/24 dev ferry0; ip addr add fd00:0:0:{number}::1/64 dev ferry0 nodad
                 ip link add veth0 mtu 1450 type veth peer name eth0 mtu 1450 netns {id}-pod-{node}
                 ip link set veth0 master ferry0 up"
            ),
        );
        self.sh(
            &format!("pod-{node}"),
            &format!(
                "ip link set lo up; ip link set eth0 up
                 ip addr add 10.244.{number}.2/24 dev eth0; ip addr add fd00:0:0:{number}::2/64 dev eth0 nodad
                 ip route add default via 10.244.{number}.1; ip -6 route add default via fd00:0:0:{number}::1"
            ),
        );
    }

    /// Runs a shell script on a host.
    pub fn try_sh(&self, host: &str, script: &str) -> Result<String, String> {
        run(&format!("PATH=$PATH:/usr/sbin exec ip netns exec {}-{host} sh -ec '{script}'", self.id))
    }

    /// The same, which succeeds.
    pub fn sh(&self, host: &str, script: &str) -> String {
        self.try_sh(host, script).unwrap_or_else(|said| panic!("{host}: {script}: {said}"))
    }

    /// A host sends back what it gets at the port 7, in packets that may not be cut.
    fn answer(&self, host: &str) {
        let socket = self.on(host, move || uncut("[::]:7".parse().unwrap())).join().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..n], peer);
            }
        });
    }

    /// Sends `count` packets of so many bytes, which may not be cut, each after the answer to the one before.
    pub fn ask(&self, from: &str, to: &str, bytes: usize, count: usize) -> std::io::Result<()> {
        let to = SocketAddr::new(to.parse().unwrap(), 7);
        let (any, headers) = if to.is_ipv6() { ("[::]:0", 48) } else { ("0.0.0.0:0", 28) };
        let ask = move || {
            let socket = uncut(any.parse().unwrap());
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.connect(to)?;
            let mut buffer = vec![0; 2000];
            for number in 0..count {
                let sent: Vec<u8> = (0..bytes - headers).map(|byte| (byte + number) as u8).collect();
                socket.send(&sent)?;
                let n = socket.recv(&mut buffer)?;
                assert_eq!(buffer[..n], sent);
            }
            Ok(())
        };
        self.on(from, ask).join().unwrap()
    }

    /// Whether one is answered. The first may find that its neighbours do not know each other yet.
    pub fn ping(&self, from: &str, to: &str, bytes: usize) -> std::io::Result<()> {
        self.ask(from, to, bytes, 1).or_else(|_| self.ask(from, to, bytes, 1))
    }

    /// Runs `work` on a thread that lives on a host.
    pub fn on<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}-{host}", self.id);
        std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// A host tells at port 80 who asks.
    pub fn serve(&self, host: &str) {
        let listener = self.on(host, || TcpListener::bind("[::]:80").unwrap()).join().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().map_or(IpAddr::from([0; 4]), |peer| peer.ip().to_canonical());
                let _ = stream.write_all(peer.to_string().as_bytes());
            }
        });
    }

    /// How fast a host gets so many bytes to another one over one connection, in bytes a second.
    pub fn throughput(&self, from: &str, to: (&str, &str), bytes: usize) -> f64 {
        let listener = self.on(to.0, || TcpListener::bind("[::]:0").unwrap()).join().unwrap();
        let address = SocketAddr::new(to.1.parse().unwrap(), listener.local_addr().unwrap().port());
        let taking = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let taken = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            stream.write_all(b"!").unwrap();
            taken
        });
        let sending = self.on(from, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let (block, start) = (vec![0; 1 << 18], Instant::now());
            (0..bytes / block.len()).for_each(|_| stream.write_all(&block).unwrap());
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            bytes as f64 / start.elapsed().as_secs_f64()
        });
        let rate = sending.join().unwrap();
        assert_eq!(taking.join().unwrap(), bytes as u64);
        rate
    }

    /// Whom a host takes the other for.
    pub fn seen_as(&self, from: &str, to: &str) -> String {
        let to = SocketAddr::new(to.parse().unwrap(), 80);
        let ask = move || {
            let mut answer = String::new();
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        self.on(from, ask).join().unwrap().unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let mut hosts: Vec<String> = vec!["router".into(), "out".into()];
        NODES.iter().for_each(|(name, ..)| hosts.extend([format!("pod-{name}"), (*name).to_owned()]));
        for host in hosts {
            let _ = run(&format!("ip netns del {}-{host}", self.id));
        }
    }
}
