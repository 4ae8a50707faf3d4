//! A node with pods on a bridge, as CNI's bridge plugin makes them, and a machine outside; each a network namespace.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netfilter::Socket;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

/// How long something that must come about is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection that is dropped is waited for.
const DROPPED: Duration = Duration::from_millis(600);

/// The node has 192.0.2.10 (2001:db8::10), and 10.1.0.254 (fd00::fe) on the bridge; pods have 10.1.0.1, .2, ... (fd00::1, ...);
/// outside is 192.0.2.99 (2001:db8::99).
pub struct Net {
    pub id: String,
    pods: usize,
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

fn sh(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Net {
    /// `None`, with a word why, where this can't be done.
    pub fn new(pods: usize) -> Option<Net> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("fpol{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let nft = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin nft --version"]).output();
        let bridged = std::path::Path::new("/proc/sys/net/bridge").exists();
        if !bridged || !nft.is_ok_and(|output| output.status.success()) || !ip(&format!("netns add {id}-node")) {
            skips::skip("root, ip, nft and br_netfilter", "");
            return None;
        }
        let net = Net { id, pods };
        let id = &net.id;
        let on_node = format!("ip netns exec {id}-node");
        sh(&format!(
            "ip -n {id}-node link set lo up
             {on_node} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             {on_node} sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
             ip netns add {id}-out; ip -n {id}-out link set lo up
             ip link add e0 netns {id}-node type veth peer name e0 netns {id}-out
             ip -n {id}-node addr add 192.0.2.10/24 dev e0; ip -n {id}-node addr add 2001:db8::10/64 dev e0 nodad
             ip -n {id}-node link set e0 up
             ip -n {id}-out addr add 192.0.2.99/24 dev e0; ip -n {id}-out addr add 2001:db8::99/64 dev e0 nodad
             ip -n {id}-out link set e0 up
             ip -n {id}-out route add default via 192.0.2.10; ip -n {id}-out route add default via 2001:db8::10
             ip -n {id}-node link add cni0 type bridge; ip -n {id}-node link set cni0 up
             ip -n {id}-node addr add 10.1.0.254/24 dev cni0; ip -n {id}-node addr add fd00::fe/64 dev cni0 nodad"
        ));
        for pod in 1..=pods {
            sh(&format!(
                "ip netns add {id}-{pod}; ip -n {id}-{pod} link set lo up
                 ip link add p{pod} netns {id}-node type veth peer name e0 netns {id}-{pod}
                 ip -n {id}-node link set p{pod} master cni0; ip -n {id}-node link set p{pod} type bridge_slave hairpin on
                 ip -n {id}-node link set p{pod} up
                 ip -n {id}-{pod} addr add 10.1.0.{pod}/24 dev e0; ip -n {id}-{pod} addr add fd00::{pod}/64 dev e0 nodad
                 ip -n {id}-{pod} link set e0 up
                 ip -n {id}-{pod} route add default via 10.1.0.254; ip -n {id}-{pod} route add default via fd00::fe"
            ));
        }
        Some(net)
    }

    /// Runs `work` on a thread that lives in a namespace (`node`, `out` or a pod's number).
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

    pub fn socket(&self) -> Socket {
        self.on("node", || Socket::open().unwrap()).join().unwrap()
    }

    /// A command on a host; what it printed.
    pub fn run(&self, host: &str, command: &str) -> String {
        let on = format!("PATH=$PATH:/usr/sbin exec ip netns exec {}-{host} {command}", self.id);
        let output = Command::new("sh").args(["-ec", &on]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// All hosts answer connections and datagrams to these ports, of both families.
    pub fn serve(&self, ports: &'static [u16]) {
        let pods = (1..=self.pods).map(|pod| pod.to_string());
        for (host, port) in
            pods.chain(["out".into(), "node".into()]).flat_map(|host| ports.iter().map(move |p| (host.clone(), *p)))
        {
            let ready = Arc::new(AtomicBool::new(false));
            let bound = ready.clone();
            self.on(&host, move || {
                let (listener, socket) =
                    (TcpListener::bind(("::", port)).unwrap(), UdpSocket::bind(("::", port)).unwrap());
                bound.store(true, Ordering::Release);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut buffer = [0; 64];
                        while let Ok((n, peer)) = socket.recv_from(&mut buffer) {
                            let _ = socket.send_to(&buffer[..n], peer);
                        }
                    });
                    for stream in listener.incoming() {
                        let Ok(mut stream) = stream else { return };
                        std::thread::spawn(move || echo(&mut stream));
                    }
                });
            });
            wait(|| ready.load(Ordering::Acquire));
        }
    }

    /// Connects from a host to an address, and is answered; or nothing comes back.
    pub fn reaches(&self, from: &str, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        self.on(from, move || {
            let stream = TcpStream::connect_timeout(&address, DROPPED);
            match stream.and_then(|mut stream| ask(&mut stream)) {
                Ok(()) => true,
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => false,
                Err(error) => panic!("{address}: {error}"),
            }
        })
        .join()
        .unwrap()
    }

    /// Sends a packet of any protocol from one pod to another.
    pub fn send(&self, from: u8, to: u8, protocol: u8, payload: &[u8]) {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 1, 0, from, 10, 1, 0, to];
        packet.extend(payload);
        self.on(&from.to_string(), move || {
            let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).unwrap();
            sendto(socket.as_raw_fd(), &packet, &SockaddrIn::new(10, 1, 0, to, 0), MsgFlags::empty()).unwrap();
        })
        .join()
        .unwrap();
    }

    /// A connection that stays.
    pub fn connect(&self, from: &str, address: &str) -> TcpStream {
        let address: SocketAddr = address.parse().unwrap();
        let mut stream = self.on(from, move || TcpStream::connect_timeout(&address, PATIENCE).unwrap()).join().unwrap();
        ask(&mut stream).unwrap();
        stream
    }

    /// The same with a datagram.
    pub fn reaches_by_udp(&self, from: &str, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        self.on(from, move || {
            let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0")).unwrap();
            socket.set_read_timeout(Some(DROPPED)).unwrap();
            let address = match address {
                SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
                v6 => v6,
            };
            socket.send_to(b"?", address).unwrap();
            socket.recv(&mut [0; 8]).is_ok()
        })
        .join()
        .unwrap()
    }
}

fn echo(stream: &mut TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let _ = stream.write_all(&buffer[..n]);
    }
}

/// The connection works in both directions.
pub fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0; 1])
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in ["node".to_owned(), "out".to_owned()].into_iter().chain((1..=self.pods).map(|pod| pod.to_string()))
        {
            ip(&format!("netns del {}-{host}", self.id));
        }
    }
}

pub fn wait(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited for too long");
        std::thread::yield_now();
    }
}
