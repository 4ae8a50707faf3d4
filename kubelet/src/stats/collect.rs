//! Asks the runtime, the cgroups and, for all of it, the disk.

use super::{
    Bytes, Container, Cpu, Fs, Node, Pod, PodRef, Processes, Rlimit, Runtime, Summary, Swap, Time, Used, Volume,
    network,
};
use crate::{cgroups::Usage, cri, eviction::usage, node::machine, node_agent::Agent, pod};
use component::supervisor;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use proto::cri as runtime;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

/// Upstream's `volumeStatsAggPeriod`.
const DISK_SECS: i64 = 60;

/// Processors, memory and swap alone: what autoscaling reads, and asks for often.
pub(crate) async fn cpu_and_memory(agent: &Arc<Agent>) -> cri::Result<Summary> {
    let now = Time(agent.clock.now().as_nanosecond() as i64);
    let (containers, sandboxes) =
        (agent.runtime.list_containers(None).await?, agent.runtime.list_sandboxes(None).await?);
    let stats = agent.runtime.container_stats().await?;
    let agent = agent.clone();
    let work = move || {
        let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
        let running: HashMap<&str, &runtime::Container> = containers
            .iter()
            .filter(|c| c.state() == runtime::ContainerState::ContainerRunning)
            .map(|c| (c.id.as_str(), c))
            .collect();
        let sandboxes: HashMap<&str, &runtime::PodSandbox> = sandboxes.iter().map(|s| (s.id.as_str(), s)).collect();
        for stats in &stats {
            let id = stats.attributes.as_ref().map_or("", |a| a.id.as_str());
            let Some(container) = running.get(id) else { continue };
            let Some(sandbox) = sandboxes.get(container.pod_sandbox_id.as_str()) else { continue };
            let pod = pods.entry(sandbox.id.clone()).or_insert_with(|| of_sandbox(sandbox));
            pod.containers.push(of_container(&agent, stats, container, &pod.pod_ref.uid, now));
        }
        let mut pods: Vec<Pod> = pods.into_values().collect();
        pods.iter_mut().for_each(|pod| pod.used = of_pod(&agent, pod, now));
        agent.stats.rates.lock().forget(now.0);
        Summary { node: of_node(&agent, now), pods }
    };
    Ok(supervisor::blocking("what pods use", work).await?)
}

/// With file systems, networks and processes.
pub(crate) async fn everything(agent: &Arc<Agent>) -> cri::Result<Summary> {
    let mut summary = cpu_and_memory(agent).await?;
    let images = agent.runtime.image_fs().await?.into_iter().next();
    let disk = on_disk(agent).await?;
    let agent = agent.clone();
    let work = move || {
        let now = Time(agent.clock.now().as_nanosecond() as i64);
        let root = agent.gauges.disk(&agent.config.root_dir).unwrap_or_default();
        let images = of_images(&agent, images, now);
        let node = &mut summary.node;
        node.network = network::of_process("self", now);
        node.fs = Some(file_system(root, now));
        node.runtime = Some(Runtime { image_fs: images, container_fs: images });
        node.rlimit = agent.gauges.tasks().map(|t| Rlimit { time: now, maxpid: t.limit, curproc: t.running });
        let pods: HashMap<String, Arc<ApiPod>> =
            agent.all_pods().into_iter().map(|p| (pod::uid(&p).to_owned(), p)).collect();
        for told in &mut summary.pods {
            if let Some(api) = pods.get(&told.pod_ref.uid) {
                let process = agent.cgroups.process_of_pod(&told.pod_ref.uid);
                told.network = process.and_then(|pid| network::of_process(&pid, now));
                let group = agent.cgroups.usage_of_pod(&told.pod_ref.uid);
                told.processes = group.map(|group| Processes { count: group.processes });
                if let Some(used) = disk.get(&told.pod_ref.uid) {
                    storage(told, api, used, root, images, now);
                }
            }
        }
        summary
    };
    Ok(supervisor::blocking("summary of what is used", work).await?)
}

/// What pods take of the disk, not older than a minute.
async fn on_disk(agent: &Arc<Agent>) -> cri::Result<usage::Usages> {
    let now = agent.clock.now();
    if let Some((at, known)) =
        agent.stats.disk.lock().as_ref().filter(|(at, _)| now.duration_since(*at).as_secs() < DISK_SECS)
    {
        tracing::trace!(%at, "the disk was looked at lately");
        return Ok(known.clone());
    }
    let found = usage::collect(agent, &agent.all_pods(), |_| true).await?;
    *agent.stats.disk.lock() = Some((now, found.clone()));
    Ok(found)
}

/// Adds what the pod takes of the node's disk and of the images'.
fn storage(pod: &mut Pod, api: &ApiPod, used: &usage::Usage, root: machine::Disk, images: Fs, now: Time) {
    let on_root = |disk: usage::Disk| Fs {
        used_bytes: disk.bytes as u64,
        inodes_used: disk.inodes as u64,
        ..file_system(root, now)
    };
    for container in &mut pod.containers {
        let Some(found) = used.containers.iter().find(|c| c.name == container.name) else { continue };
        container.logs = Some(on_root(found.logs));
        if let Some(layer) = &mut container.rootfs {
            *layer = Fs { time: layer.time, used_bytes: layer.used_bytes, inodes_used: layer.inodes_used, ..images };
        }
    }
    pod.volumes = used.volumes.iter().map(|(name, disk)| Volume { fs: on_root(*disk), name: name.clone() }).collect();
    pod.ephemeral_storage = Some(on_root(used.ephemeral_storage(api)));
}

fn of_sandbox(sandbox: &runtime::PodSandbox) -> Pod {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    Pod {
        pod_ref: PodRef { name: metadata.name, namespace: metadata.namespace, uid: metadata.uid },
        start_time: Time(sandbox.created_at),
        containers: Vec::new(),
        used: Used::default(),
        network: None,
        volumes: Vec::new(),
        ephemeral_storage: None,
        processes: None,
    }
}

fn value(value: &Option<runtime::UInt64Value>) -> u64 {
    value.as_ref().map_or(0, |v| v.value)
}

/// What the runtime says, and zero where it says nothing, as upstream.
fn of_container(
    agent: &Agent,
    stats: &runtime::ContainerStats,
    container: &runtime::Container,
    uid: &str,
    now: Time,
) -> Container {
    let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
    let at = |stamp: i64| if stamp == 0 { now } else { Time(stamp) };
    let total = value(&cpu.usage_core_nano_seconds);
    let measured = agent.stats.rates.lock().observe(&container.id, at(cpu.timestamp).0, total);
    let swap = match &stats.swap {
        Some(swap) => Swap {
            time: at(swap.timestamp),
            swap_available_bytes: swap.swap_available_bytes.as_ref().map(|v| v.value),
            swap_usage_bytes: value(&swap.swap_usage_bytes),
        },
        None => swap(agent.cgroups.usage_of_container(uid, &container.id).unwrap_or_default(), now),
    };
    let layer = stats.writable_layer.as_ref().map(|layer| Fs {
        time: at(layer.timestamp),
        used_bytes: value(&layer.used_bytes),
        inodes_used: value(&layer.inodes_used),
        ..Fs::default()
    });
    Container {
        name: container.metadata.clone().unwrap_or_default().name,
        start_time: Time(container.created_at),
        used: Used {
            cpu: Some(Cpu {
                time: at(cpu.timestamp),
                usage_nano_cores: cpu.usage_nano_cores.as_ref().map(|v| v.value).or(measured),
                usage_core_nano_seconds: total,
            }),
            memory: Some(Bytes {
                time: at(memory.timestamp),
                available_bytes: memory.available_bytes.as_ref().map(|v| v.value),
                usage_bytes: value(&memory.usage_bytes),
                working_set_bytes: value(&memory.working_set_bytes),
                rss_bytes: value(&memory.rss_bytes),
                page_faults: value(&memory.page_faults),
                major_page_faults: value(&memory.major_page_faults),
            }),
            swap: Some(swap),
        },
        rootfs: layer,
        logs: None,
    }
}

/// The pod's cgroup; where it has none, its containers together.
fn of_pod(agent: &Agent, pod: &Pod, now: Time) -> Used {
    match agent.cgroups.usage_of_pod(&pod.pod_ref.uid) {
        Some(group) => of_group(agent, &pod.pod_ref.uid, group, now),
        None => sum(&pod.containers),
    }
}

fn of_group(agent: &Agent, id: &str, group: Usage, now: Time) -> Used {
    Used {
        cpu: Some(Cpu {
            time: now,
            usage_nano_cores: agent.stats.rates.lock().observe(id, now.0, group.cpu_ns),
            usage_core_nano_seconds: group.cpu_ns,
        }),
        memory: Some(Bytes {
            time: now,
            available_bytes: group.memory_limit_bytes.map(|limit| limit.saturating_sub(group.working_set_bytes)),
            usage_bytes: group.memory_bytes,
            working_set_bytes: group.working_set_bytes,
            rss_bytes: group.rss_bytes,
            page_faults: group.page_faults,
            major_page_faults: group.major_page_faults,
        }),
        swap: Some(swap(group, now)),
    }
}

fn swap(group: Usage, time: Time) -> Swap {
    let available = group.swap_limit_bytes.map(|limit| limit.saturating_sub(group.swap_bytes));
    Swap { time, swap_available_bytes: available, swap_usage_bytes: group.swap_bytes }
}

/// Containers together; of the last one's time, as upstream.
pub(super) fn sum(containers: &[Container]) -> Used {
    let mut all = Used::default();
    for used in containers.iter().map(|c| &c.used) {
        if let Some(cpu) = used.cpu {
            let so_far = all.cpu.unwrap_or_default();
            all.cpu = Some(Cpu {
                time: cpu.time,
                usage_nano_cores: Some(cpu.usage_nano_cores.unwrap_or(0) + so_far.usage_nano_cores.unwrap_or(0)),
                usage_core_nano_seconds: cpu.usage_core_nano_seconds + so_far.usage_core_nano_seconds,
            });
        }
        if let Some(memory) = used.memory {
            let so_far = all.memory.unwrap_or_default();
            all.memory = Some(Bytes {
                time: memory.time,
                available_bytes: Some(memory.available_bytes.unwrap_or(0) + so_far.available_bytes.unwrap_or(0)),
                usage_bytes: memory.usage_bytes + so_far.usage_bytes,
                working_set_bytes: memory.working_set_bytes + so_far.working_set_bytes,
                rss_bytes: memory.rss_bytes + so_far.rss_bytes,
                page_faults: memory.page_faults + so_far.page_faults,
                major_page_faults: memory.major_page_faults + so_far.major_page_faults,
            });
        }
        if let Some(swap) = used.swap {
            let so_far = all.swap.unwrap_or_default();
            let available = swap.swap_available_bytes.unwrap_or(0) + so_far.swap_available_bytes.unwrap_or(0);
            all.swap = Some(Swap {
                time: swap.time,
                swap_available_bytes: Some(available),
                swap_usage_bytes: swap.swap_usage_bytes + so_far.swap_usage_bytes,
            });
        }
    }
    all
}

/// The whole machine, whose memory is the limit.
fn of_node(agent: &Agent, now: Time) -> Node {
    let total = agent.gauges.memory().total.try_into().ok();
    let machine = Usage { memory_limit_bytes: total, ..agent.cgroups.node_usage() };
    let used = of_group(agent, "/", machine, now);
    let pods = Container {
        name: "pods".into(),
        start_time: Time(agent.started.as_nanosecond() as i64),
        used: of_group(agent, "/kubepods", agent.cgroups.pods_usage(), now),
        rootfs: None,
        logs: None,
    };
    Node {
        node_name: agent.config.node_name.clone(),
        system_containers: vec![pods],
        start_time: Time(machine::booted_secs().saturating_mul(1_000_000_000)),
        used,
        network: None,
        fs: None,
        runtime: None,
        rlimit: None,
    }
}

fn file_system(disk: machine::Disk, time: Time) -> Fs {
    Fs {
        time,
        available_bytes: Some(disk.available),
        capacity_bytes: Some(disk.capacity),
        used_bytes: disk.capacity.saturating_sub(disk.available),
        inodes_free: Some(disk.inodes_free),
        inodes: Some(disk.inodes),
        inodes_used: disk.inodes.saturating_sub(disk.inodes_free),
    }
}

/// The images' file system, and what images take of it.
fn of_images(agent: &Agent, told: Option<runtime::FilesystemUsage>, now: Time) -> Fs {
    let told = told.unwrap_or_default();
    let place = told.fs_id.as_ref().map(|id| Path::new(&id.mountpoint)).filter(|path| !path.as_os_str().is_empty());
    let disk = place.and_then(|path| agent.gauges.disk(path).ok());
    let disk = disk.or_else(|| agent.gauges.disk(&agent.config.root_dir).ok()).unwrap_or_default();
    Fs {
        time: if told.timestamp == 0 { now } else { Time(told.timestamp) },
        used_bytes: value(&told.used_bytes),
        inodes_used: value(&told.inodes_used),
        ..file_system(disk, now)
    }
}
