//! A node, its pods and an outside client, each a network namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netfilter::Socket;
use nix::sched::{CloneFlags, setns};

pub const NODE_IP: &str = "192.0.2.10";
const PATIENCE: Duration = Duration::from_secs(20);

/// A network of its own: the node, with pods 10.1.0.1, .2, ... behind it and a client 192.0.2.99 in front.
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
        let id = format!("fpx{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let nft = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin nft --version"]).output();
        if !nft.is_ok_and(|output| output.status.success()) || !ip(&format!("netns add {id}-node")) {
            skips::skip("root, ip and nft", "");
            return None;
        }
        let net = Net { id, pods };
        let id = &net.id;
        let on_node = format!("ip netns exec {id}-node");
        sh(&format!("{on_node} ip link set lo up; {on_node} sysctl -qw net.ipv4.ip_forward=1"));
        sh(&format!(
            "ip netns add {id}-out; ip -n {id}-out link set lo up
             ip link add e0 netns {id}-node type veth peer name e0 netns {id}-out
             ip -n {id}-node addr add {NODE_IP}/24 dev e0; ip -n {id}-node link set e0 up
             ip -n {id}-out addr add 192.0.2.99/24 dev e0; ip -n {id}-out link set e0 up
             ip -n {id}-out route add default via {NODE_IP}; ip -n {id}-node route add default via 192.0.2.99
             {on_node} sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.e0.send_redirects=0"
        ));
        for pod in 1..=pods {
            sh(&format!(
                "ip netns add {id}-{pod}; ip -n {id}-{pod} link set lo up
                 ip link add p{pod} netns {id}-node type veth peer name e0 netns {id}-{pod}
                 ip -n {id}-node addr add 10.1.0.254/32 dev p{pod}; ip -n {id}-node link set p{pod} up
                 ip -n {id}-node route add 10.1.0.{pod}/32 dev p{pod}
                 ip -n {id}-{pod} addr add 10.1.0.{pod}/32 dev e0; ip -n {id}-{pod} link set e0 up
                 ip -n {id}-{pod} route add 10.1.0.254/32 dev e0; ip -n {id}-{pod} route add default via 10.1.0.254"
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

    /// Pods answer each connection to 8080 with their number and the peer they see.
    pub fn serve(&self) {
        for pod in 1..=self.pods {
            let ready = Arc::new(AtomicBool::new(false));
            let bound = ready.clone();
            self.on(&pod.to_string(), move || {
                let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
                bound.store(true, Ordering::Release);
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { return };
                    let peer = stream.peer_addr().map(|peer| peer.ip());
                    let _ = stream.write_all(format!("{pod} {}", peer.unwrap_or(IpAddr::from([0; 4]))).as_bytes());
                }
            });
            wait(|| ready.load(Ordering::Acquire));
        }
    }

    /// Connects from a host; returns what the pod said, or the error.
    pub fn ask(&self, from: &str, address: &str) -> Result<String, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        let ask = move || {
            let mut stream =
                TcpStream::connect_timeout(&address, Duration::from_secs(3)).map_err(|error| error.kind())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
            Ok(answer)
        };
        self.on(from, ask).join().unwrap()
    }

    /// Which pods answer in `times` tries.
    pub fn pods_of(&self, from: &str, address: &str, times: usize) -> Vec<String> {
        let mut pods: Vec<String> =
            (0..times).map(|_| self.ask(from, address).unwrap().split(' ').next().unwrap().to_owned()).collect();
        pods.sort();
        pods.dedup();
        pods
    }
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
