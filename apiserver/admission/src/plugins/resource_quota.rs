//! ResourceQuota: what a namespace's quotas have left is taken before an object is stored, in the quota's status, by
//! compare-and-swap. The quota controller counts again later, and so gives back what writes that failed have taken.
//! Follows `apiserver/pkg/admission/plugin/resourcequota`; no resource is limited where no quota names it.

use async_trait::async_trait;
use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::check::same;
use model::resource::Sort;
use model::resources::{DEVICE_CLASSES, PODS, RESOURCE_CLAIMS, RESOURCE_QUOTAS};
use serde_json::{Value, json};
use usage::amounts::{Amounts, add, amounts};
use usage::devices::{DeviceClasses, claimant, is_of};
use usage::{Counted, Evaluator, Facts};
use writes::admission::{Operation, Plugin, Request};

use super::forbidden;

/// See the module.
pub struct ResourceQuota;

#[async_trait]
impl Plugin for ResourceQuota {
    fn handles(&self, request: &Request<'_>) -> bool {
        // Events are not counted: whoever writes them is not whom a quota is for.
        let kept = request.resource.resource != "events" && !matches!(request.resource.sort, Sort::Virtual);
        let counted = evaluator(request).counted;
        kept && request.namespace.is_some()
            && matches!(
                (counted, request.operation, request.subresource),
                (_, Operation::Create, None)
                    | (Counted::Pods, Operation::Update, None | Some("resize"))
                    | (Counted::Services | Counted::DeviceClaims, Operation::Update, None)
                    | (Counted::Claims, Operation::Update, None | Some("status"))
            )
    }

    async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        let quotas = request.registry.list(&RESOURCE_QUOTAS, request.namespace);
        if quotas.is_empty() || !counts(request, obj) {
            return Ok(());
        }
        let no = |why: String| Err(forbidden(request, obj, why));
        let classes = classes(request);
        let evaluator = evaluator(request).with(&classes);
        let facts = Facts::of(evaluator.counted, obj);
        let mut concerned = Vec::new();
        for quota in &quotas {
            let (name, hard) = (meta::name(quota), hard(quota));
            let named: Vec<&str> = hard.keys().map(String::as_str).filter(|n| evaluator.names(n)).collect();
            if named.is_empty() || !facts.fit(&quota["spec"]) {
                continue;
            }
            if let Some(why) = evaluator.lacks(&named, obj) {
                return no(format!("failed quota: {name}: {why}"));
            }
            let used = amounts(quota["status"].sub("used"));
            if named.iter().any(|n| !used.contains_key(*n)) {
                return no(format!("status unknown for quota: {name}, resources: {}", named.join(",")));
            }
            concerned.push(quota);
        }
        let usage = usage(request, &classes, obj);
        let negative: Vec<&str> = usage.iter().filter(|(_, v)| v.sign() < 0).map(|(n, _)| n.as_str()).collect();
        if !negative.is_empty() {
            return no(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        // All are asked before anything is taken of one.
        let mut taken = Vec::new();
        for quota in concerned {
            let more = increase(request, &classes, quota, &usage);
            if more.is_empty() {
                continue;
            }
            if let Err(why) = charged(quota, &more) {
                return no(why);
            }
            taken.push((quota, more));
        }
        for (quota, more) in taken.into_iter().filter(|_| !request.dry_run) {
            let mut take = |quota: &Value| charged(quota, &more).map_err(|why| forbidden(request, obj, why));
            let name = meta::name(quota);
            match request.registry.update_part(&RESOURCE_QUOTAS, request.namespace, name, "status", &mut take).await {
                // It went meanwhile, and asks for nothing more.
                Err(error) if error.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }
}

fn evaluator<'a>(request: &'a Request<'_>) -> Evaluator<'a> {
    Evaluator::of(&request.resource.group, &request.resource.resource)
}

/// The classes of devices, where they tell what an object uses.
fn classes(request: &Request<'_>) -> DeviceClasses {
    match evaluator(request).counted {
        Counted::DeviceClaims => DeviceClasses::of(request.registry.list(&DEVICE_CLASSES, None).iter().map(|c| &**c)),
        _ => DeviceClasses::default(),
    }
}

/// What an object uses; a claim of devices also as extended resources.
fn usage(request: &Request<'_>, classes: &DeviceClasses, obj: &Value) -> Amounts {
    let evaluator = evaluator(request);
    let mut usage = evaluator.usage(obj, Timestamp::now());
    if evaluator.counted == Counted::DeviceClaims {
        let registry = request.registry;
        let pod = claimant(obj).and_then(|(pod, _)| registry.get(&PODS, request.namespace, pod)).filter(|pod| {
            let others = registry.list(&RESOURCE_CLAIMS, request.namespace);
            is_of(obj, pod, others.iter().map(|other| &**other))
        });
        let pods = Evaluator::of("", "pods");
        let of_pod = pod.map(|pod| pods.usage(&pod, Timestamp::now())).unwrap_or_default();
        classes.charge(&mut usage, &of_pod);
    }
    usage
}

fn hard(quota: &Value) -> Amounts {
    amounts(quota["status"].sub("hard"))
}

/// Whether this write can change what is used.
fn counts(request: &Request<'_>, obj: &Value) -> bool {
    let Some(old) = request.old.filter(|_| request.operation == Operation::Update) else { return true };
    let counted = evaluator(request).counted;
    let facts = |obj: &Value| Facts::of(counted, obj);
    match (counted, request.subresource) {
        (Counted::Pods, None) => facts(old).terminating != facts(obj).terminating,
        (Counted::Claims, Some(_)) => {
            !same(old["status"].sub("allocatedResources"), obj["status"].sub("allocatedResources"))
                || facts(old).attributes_classes != facts(obj).attributes_classes
        }
        _ => true,
    }
}

/// What a write uses beyond what its object used before, of what a quota limits.
fn increase(request: &Request<'_>, classes: &DeviceClasses, quota: &Value, used: &Amounts) -> Amounts {
    let counted = evaluator(request).counted;
    let fits = |old: &&Value| request.operation == Operation::Update && Facts::of(counted, old).fit(&quota["spec"]);
    let before = match request.old.filter(fits) {
        Some(old) => usage(request, classes, old),
        None => Amounts::new(),
    };
    let hard = hard(quota);
    let more = used.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(name, amount)| {
        let more = before.get(name).map_or_else(|| amount.clone(), |before| amount.sub(before));
        (name.clone(), more)
    });
    more.filter(|(_, more)| more.sign() > 0).collect()
}

/// A quota after something was taken of it, or what it says instead.
fn charged(quota: &Value, more: &Amounts) -> Result<Value, String> {
    let (hard, mut used) = (hard(quota), amounts(quota["status"].sub("used")));
    let before = used.clone();
    add(&mut used, more);
    let over: Vec<&str> = more
        .keys()
        .filter(|name| hard.get(*name).zip(used.get(*name)).is_some_and(|(hard, used)| used > hard))
        .map(String::as_str)
        .collect();
    if !over.is_empty() {
        let told = |of: &Amounts| {
            let parts = over.iter().filter_map(|name| Some(format!("{name}={}", of.get(*name)?.canonical())));
            parts.collect::<Vec<_>>().join(",")
        };
        let (name, more, used, hard) = (meta::name(quota), told(more), told(&before), told(&hard));
        return Err(format!("exceeded quota: {name}, requested: {more}, used: {used}, limited: {hard}"));
    }
    let mut quota = quota.clone();
    for name in more.keys() {
        if let Some(amount) = used.get(name) {
            quota["status"]["used"][name] = json!(amount.canonical());
        }
    }
    Ok(quota)
}
