//! The parts as processes of their own, with upstream's flags and kubeconfigs, make the same cluster.

use std::collections::BTreeSet;
use std::fs::File;

use ferry_e2e::cluster::Cluster;
use ferry_e2e::machine::{ADDRESS, Machine};
use ferry_e2e::wait;

use crate::service::Manager;

/// Keys, certificates and kubeconfigs as an administrator of upstream's would make them. `$1` where.
const PKI: &str = r#"
mkdir -p $1; cd $1
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=parts-ca 2>/dev/null
cert() {
  openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj "$2" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >$1.ext
  openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out $1.crt -days 3650 -extfile $1.ext 2>/dev/null
}
conf() {
  k="kubectl config --kubeconfig=$1.conf"
  $k set-cluster c --server=https://192.0.2.10:6443 --certificate-authority=ca.crt --embed-certs
  $k set-credentials u --client-certificate=$1.crt --client-key=$1.key --embed-certs
  $k set-context x --cluster=c --user=u; $k use-context x
}
cert apiserver /CN=kube-apiserver DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:192.0.2.10
cert admin /O=system:masters/CN=admin DNS:admin
cert kcm /CN=system:kube-controller-manager DNS:kcm
cert sched /CN=system:kube-scheduler DNS:sched
cert proxy /CN=system:kube-proxy DNS:proxy
cert node /O=system:nodes/CN=system:node:parts DNS:parts,IP:192.0.2.10
for u in admin kcm sched proxy node; do conf $u >/dev/null; done
openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
"#;

const APISERVER: &str = "apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 --advertise-address=192.0.2.10 \
    --service-cluster-ip-range=10.96.0.0/16 --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=sa.pub \
    --service-account-signing-key-file=sa.key --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key \
    --kubelet-preferred-address-types=InternalIP";
const CONTROLLER_MANAGER: &str = "controller-manager --kubeconfig=kcm.conf --authentication-kubeconfig=kcm.conf \
    --authorization-kubeconfig=kcm.conf --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
    --use-service-account-credentials=true --allocate-node-cidrs=false --leader-elect=true";
const SCHEDULER: &str = "scheduler --kubeconfig=sched.conf --leader-elect=true";
const KUBELET: &str =
    "kubelet --config=kubelet.yaml --kubeconfig=node.conf --hostname-override=parts --node-ip=192.0.2.10";
const PROXY: &str =
    "proxy --kubeconfig=proxy.conf --proxy-mode=nftables --cluster-cidr=10.244.0.0/16 --hostname-override=parts";

#[test]
fn five_processes_make_the_same_cluster() {
    let test = "five_processes_make_the_same_cluster";
    let Some(machine) = Machine::new(test, &["openssl", "etcd", "curl"]) else { return };
    // The container runtime with the images is what a `ferry up` that has ended leaves running.
    let mut c = Cluster::up_on(machine, &[]);
    c.sh(&format!("kill {}", c.pid()));
    assert_eq!(c.ended(), Some(0), "{}", c.log());
    c.sh("nft delete table ip kube-proxy 2>/dev/null || true");

    let dir = c.dir.join("p").display().to_string();
    c.sh(&format!("set -- {dir}\n{PKI}"));
    let run = |name: &str, line: &str| {
        let log = File::create(c.dir.join(format!("{name}.log"))).unwrap();
        let script = format!("cd {dir}; exec {line}");
        c.command("sh").args(["-c", &script]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    };
    let ferry = c.ferry().display().to_string();
    let config = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\nfailSwapOn: false\n\
         cgroupDriver: cgroupfs\ncontainerRuntimeEndpoint: unix://{}/containerd/containerd.sock\nclusterDNS: [10.96.0.10]\n\
         clusterDomain: cluster.local\nauthentication: {{anonymous: {{enabled: false}}, x509: {{clientCAFile: {dir}/ca.crt}}, webhook: {{enabled: true}}}}\n\
         authorization: {{mode: Webhook}}\ntlsCertFile: {dir}/node.crt\ntlsPrivateKeyFile: {dir}/node.key\npodLogsDir: {dir}/logs\n\
         imageGCHighThresholdPercent: 100\nevictionHard: {{memory.available: 100Mi, nodefs.available: \"1%\", imagefs.available: \"1%\"}}\n",
        c.data().display()
    );
    std::fs::write(format!("{dir}/kubelet.yaml"), config).unwrap();
    let mut processes =
        vec![run("etcd", &format!("etcd --data-dir {dir}/etcd")), run("apiserver", &format!("{ferry} {APISERVER}"))];
    for (name, line) in [("kcm", CONTROLLER_MANAGER), ("sched", SCHEDULER), ("proxy", PROXY)] {
        processes.push(run(name, &format!("{ferry} {line}")));
    }
    let mut manager = Manager::new(&c);
    let socket = c.dir.join("notify").display().to_string();
    processes.push(run("kubelet", &format!("env NOTIFY_SOCKET={socket} {ferry} {KUBELET} --root-dir={dir}/kubelet")));

    // From here on kubectl speaks to this cluster.
    std::fs::copy(format!("{dir}/admin.conf"), c.data().join("admin.conf")).unwrap();
    c.node_ready();
    manager.hears("READY=1", 1);
    c.apply_example();
    let pods: BTreeSet<String> = c.pods("app=web").into_iter().collect();
    assert_eq!(pods.len(), 3);
    for url in [c.web_url(), c.node_port_url()] {
        let mut seen = BTreeSet::new();
        wait::until(&format!("all pods answer {url}"), || {
            let answer = c.sh(&format!("curl -s --max-time 5 {url}"));
            seen.insert(answer.split(' ').next().unwrap_or_default().to_owned());
            if seen == pods { Ok(()) } else { Err(format!("{answer}: {seen:?}")) }
        });
    }
    let pod = pods.first().unwrap();
    assert_eq!(c.kubectl(&format!("exec {pod} -- cat /etc/web/message")), "hello from Ferry");
    assert!(c.kubectl(&format!("logs {pod}")).contains("serving on port 8080"));
    for leader in ["kube-controller-manager", "kube-scheduler"] {
        assert!(
            c.kubectl(&format!("get lease {leader} -n kube-system -o jsonpath={{.spec.holderIdentity}}")).contains("_")
        );
    }
    let token = c.kubectl(&format!("exec {pod} -- cat /var/run/secrets/kubernetes.io/serviceaccount/token"));
    let bad = c.sh(&format!("curl -sk -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' https://{ADDRESS}:6443/api/v1/secrets"));
    assert_eq!(bad, "403", "the pod's token is known, and may not");
    for process in &mut processes {
        assert!(process.try_wait().unwrap().is_none(), "a part has ended");
    }
    c.kubectl("delete deployment,service,configmap web");
    wait::until("the pods are gone", || match c.pods("app=web").len() {
        0 => Ok(()),
        n => Err(n.to_string()),
    });
    c.sh("pkill -f 'ferry (apiserver|kubelet|proxy|scheduler|controller-manager)' || true; pkill etcd || true");
    for mut process in processes {
        process.wait().unwrap();
    }
}
