//! Where the pods' network is configured, which the crate `network` makes. The private containerd's plugins have a folder of
//! their own. A runtime that was there before Ferry says where it looks for a configuration, and gets Ferry's there if it has
//! none; a plugin that is installed later goes before it by its name, and `ferry down` takes it away. What stands in the way
//! is said in one line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::network::{Cni, Config, Mode};
use anyhow::Context;
use controller_manager::{NodeRangeSizes, NodeRanges};
use proto::cri::{StatusRequest, StatusResponse};
use serde_json::Value;

use super::flags::{Layout, Up};
use super::{BRIDGE, SERVICE_RANGE, cri};
use crate::join::settings::Settings;

/// The file's name: the runtime takes the first of its folder, and this is to be the last.
const FILE: &str = "99-ferry.conflist";
/// What the configuration needs of the plugins; the runtime itself needs `loopback`.
const PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];
/// Where Debian keeps them.
const DEBIAN: &str = "/usr/lib/cni";
/// How long a runtime may take to answer after it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where nodes have their ranges of pods' addresses from, as the flags say.
pub fn ranges(flags: &Up) -> anyhow::Result<NodeRanges> {
    let sizes = NodeRangeSizes {
        any: flags.node_cidr_mask_size,
        ipv4: flags.node_cidr_mask_size_ipv4,
        ipv6: flags.node_cidr_mask_size_ipv6,
    };
    NodeRanges::new(&flags.cluster_cidr, SERVICE_RANGE, sizes)
        .with_context(|| format!("--cluster-cidr={}", flags.cluster_cidr))
}

/// A node's part of the network, with the private containerd's configuration.
pub fn config(settings: &Settings, layout: &Layout, node: &str) -> Config {
    let folder = layout.containerd();
    let file = folder.join("cni/10-ferry.conflist");
    let cni = (settings.network != Mode::None).then(|| cni(file, folder.join("ipam")));
    let cluster = settings.cluster_cidrs.clone();
    Config { node_name: node.to_owned(), mode: settings.network, cluster, cni, mtu: None }
}

fn cni(file: PathBuf, ipam: PathBuf) -> Cni {
    Cni { file, ipam, bridge: BRIDGE.into() }
}

/// Where a runtime looks for a configuration, and for the plugins.
#[derive(Debug, PartialEq, Eq)]
struct Folders {
    configuration: PathBuf,
    plugins: Vec<PathBuf>,
}

/// Has a runtime that has no network given a configuration, once the node has its range, unless that cannot be; then why, in
/// one line. Where somebody else's plugin makes the network it makes all of it.
pub async fn provide(endpoint: &str, layout: &Layout, pods: &mut Config) -> anyhow::Result<Option<String>> {
    let mut client = cri::connect(&cri::checked_path_of(endpoint)?).await.with_context(|| {
        format!("no container runtime answers at {endpoint}; start it, or leave --container-runtime-endpoint out for a private containerd")
    })?;
    let status = answer(&mut client).await.with_context(|| {
        format!("{endpoint} does not speak the container runtime interface v1; of containerd: take \"cri\" out of disabled_plugins in its configuration, and restart it")
    })?;
    let ours = fs::read_to_string(layout.cni_file()).ok().map(PathBuf::from).filter(|file| file.exists());
    let wanted = pods.cni.take().is_some();
    if let Some(file) = ours.filter(|_| wanted) {
        // From the start before, perhaps of another version.
        pods.cni = Some(cni(file, layout.data.join("ipam")));
        return Ok(None);
    }
    let (mode, fault) = (std::mem::replace(&mut pods.mode, Mode::None), fault(&status));
    let Some(fault) = fault.filter(|_| wanted) else { return Ok(None) };
    let Some(folders) = folders(&status) else {
        return Ok(Some(format!(
            "the container runtime has no network ({fault}), and does not say where it looks for a CNI configuration: put one where it does"
        )));
    };
    if let Some(obstacle) = obstacle(&folders) {
        return Ok(Some(format!("the container runtime has no network ({fault}): {obstacle}")));
    }
    let file = folders.configuration.join(FILE);
    if let Err(error) = can_be_written(&folders.configuration) {
        return Ok(Some(format!("the container runtime has no network ({fault}), and cannot be given one: {error:#}")));
    }
    // What is written is taken away, whenever it is.
    fs::write(layout.cni_file(), file.as_os_str().as_encoded_bytes())?;
    pods.mode = mode;
    pods.cni = Some(cni(file, layout.data.join("ipam")));
    Ok(None)
}

/// Takes the configuration away again.
pub fn remove(layout: &Layout) -> anyhow::Result<()> {
    let Ok(file) = fs::read_to_string(layout.cni_file()) else { return Ok(()) };
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {file}"))
        }
        _ => Ok(fs::remove_file(layout.cni_file())?),
    }
}

/// The runtime's status; one that has just started listens before it can answer.
async fn answer(client: &mut cri::Client) -> Result<StatusResponse, tonic::Status> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match client.status(StatusRequest { verbose: true }).await {
            Ok(answer) => return Ok(answer.into_inner()),
            // What is not there now will not be there in a moment.
            Err(status) if status.code() == tonic::Code::Unimplemented => return Err(status),
            Err(status) if tokio::time::Instant::now() > deadline => return Err(status),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Why the runtime's network is not ready; `None` if it is.
fn fault(status: &StatusResponse) -> Option<String> {
    let conditions = status.status.iter().flat_map(|status| &status.conditions);
    let network = conditions.into_iter().find(|condition| condition.r#type == "NetworkReady")?;
    (!network.status).then(|| format!("{}: {}", network.reason, network.message.trim()))
}

/// What a verbose status says about folders: containerd's loader of configurations, or its configuration (whose names
/// are others in version 2).
fn folders(status: &StatusResponse) -> Option<Folders> {
    let parsed = |key: &str| status.info.get(key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let loader = parsed("cniconfig").unwrap_or_default();
    let config = parsed("config").map(|mut config| config["cni"].take()).unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
    let configuration = text(&loader["PluginConfDir"]).or_else(|| text(&config["confDir"]))?;
    let lists = [&loader["PluginDirs"], &config["binDirs"]];
    let mut plugins: Vec<PathBuf> =
        lists.iter().filter_map(|list| list.as_array()).flatten().filter_map(text).collect();
    plugins.extend(text(&config["binDir"]));
    let mut seen = std::collections::BTreeSet::new();
    plugins.retain(|folder| seen.insert(folder.clone()));
    Some(Folders { configuration, plugins })
}

/// What keeps the configuration from working.
fn obstacle(folders: &Folders) -> Option<String> {
    let others: Vec<String> = fs::read_dir(&folders.configuration)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "conf" || e == "conflist" || e == "json"))
        .filter(|path| path.file_name().is_some_and(|name| name != FILE))
        .map(|path| path.display().to_string())
        .collect();
    if !others.is_empty() {
        return Some(format!("mend or remove {}, which is there and is not Ferry's", others.join(", ")));
    }
    let there = |folder: &Path, plugin: &str| folder.join(plugin).is_file();
    let missing: Vec<&str> =
        PLUGINS.iter().copied().filter(|plugin| !folders.plugins.iter().any(|folder| there(folder, plugin))).collect();
    if missing.is_empty() {
        return None;
    }
    let places: Vec<String> = folders.plugins.iter().map(|folder| folder.display().to_string()).collect();
    let (missing, places) = (missing.join(", "), places.join(" or "));
    let hint = match PLUGINS.iter().all(|plugin| there(Path::new(DEBIAN), plugin)) {
        true => format!(
            "they are in {DEBIAN}: link or copy them there, or name that folder as bin_dir in the runtime's configuration"
        ),
        false => "install them there".into(),
    };
    Some(format!("it looks for CNI plugins in {places}, where {missing} are missing; {hint}"))
}

/// Found out by writing, for a moment, under a name that is no configuration's.
fn can_be_written(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let probe = folder.join(".99-ferry.new");
    fs::write(&probe, "")
        .and_then(|()| fs::remove_file(&probe))
        .with_context(|| format!("writing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn status(info: &[(&str, Value)], network: bool) -> StatusResponse {
        let condition = proto::cri::RuntimeCondition {
            r#type: "NetworkReady".into(),
            status: network,
            reason: "NetworkPluginNotReady".into(),
            message: "Network plugin returns error: cni plugin not initialized".into(),
        };
        StatusResponse {
            status: Some(proto::cri::RuntimeStatus { conditions: vec![condition] }),
            info: info.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn runtimes_say_where_they_look() {
        let found = |info: &[(&str, Value)]| {
            folders(&status(info, false)).map(|f| {
                let plugins: Vec<String> = f.plugins.iter().map(|p| p.display().to_string()).collect();
                format!("{} {}", f.configuration.display(), plugins.join(":"))
            })
        };
        let loader = json!({ "PluginDirs": ["/opt/cni/bin"], "PluginConfDir": "/etc/cni/net.d", "Networks": [] });
        let old = json!({ "cni": { "binDir": "/usr/lib/cni", "confDir": "/a" }, "sandboxImage": "x" });
        let new = json!({ "cni": { "binDir": "", "binDirs": ["/b", "/c"], "confDir": "/a" } });
        assert_eq!(found(&[("cniconfig", loader.clone())]).as_deref(), Some("/etc/cni/net.d /opt/cni/bin"));
        assert_eq!(found(&[("config", old.clone())]).as_deref(), Some("/a /usr/lib/cni"));
        assert_eq!(found(&[("config", new)]).as_deref(), Some("/a /b:/c"));
        assert_eq!(
            found(&[("cniconfig", loader), ("config", old)]).as_deref(),
            Some("/etc/cni/net.d /opt/cni/bin:/usr/lib/cni")
        );
        // CRI-O says nothing of it, a runtime may say nothing at all.
        assert_eq!(found(&[("config", json!({ "sandboxImage": "x" }))]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn what_stands_in_the_way_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let (configuration, plugins) = (dir.path().join("conf"), dir.path().join("bin"));
        let folders = Folders { configuration: configuration.clone(), plugins: vec![plugins.clone()] };
        let said = || {
            let text = obstacle(&folders).unwrap_or_else(|| "nothing".into());
            let text = text.replace(&dir.path().display().to_string(), "DIR");
            text.split_once("; ").map(|(head, _)| head.to_owned()).unwrap_or(text)
        };
        expect!["it looks for CNI plugins in DIR/bin, where bridge, host-local, loopback, portmap are missing"]
            .assert_eq(&said());
        fs::create_dir(&plugins).unwrap();
        for plugin in ["bridge", "host-local", "portmap"] {
            fs::write(plugins.join(plugin), "").unwrap();
        }
        expect!["it looks for CNI plugins in DIR/bin, where loopback are missing"].assert_eq(&said());
        fs::write(plugins.join("loopback"), "").unwrap();
        expect!["nothing"].assert_eq(&said());
        can_be_written(&configuration).unwrap();
        fs::write(configuration.join(FILE), "{}").unwrap();
        fs::write(configuration.join("README"), "").unwrap();
        expect!["nothing"].assert_eq(&said());
        fs::write(configuration.join("10-other.conf"), "").unwrap();
        expect!["mend or remove DIR/conf/10-other.conf, which is there and is not Ferry's"].assert_eq(&said());
    }

    #[test]
    fn a_network_that_is_ready_or_unspoken_of_is_no_fault() {
        assert_eq!(fault(&status(&[], true)), None);
        assert_eq!(fault(&StatusResponse::default()), None);
        expect!["NetworkPluginNotReady: Network plugin returns error: cni plugin not initialized"]
            .assert_eq(&fault(&status(&[], false)).unwrap());
    }

    #[test]
    fn what_was_written_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("data")).unwrap();
        remove(&layout).unwrap();
        let file = dir.path().join("net.d").join(FILE);
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "{}").unwrap();
        fs::write(dir.path().join("net.d/10-other.conf"), "").unwrap();
        fs::write(layout.cni_file(), file.as_os_str().as_encoded_bytes()).unwrap();
        remove(&layout).unwrap();
        assert!(!file.exists() && dir.path().join("net.d/10-other.conf").exists() && !layout.cni_file().exists());
        remove(&layout).unwrap();
    }
}
