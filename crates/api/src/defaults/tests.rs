use expect_test::{Expect, expect};
use machinery::gvk::GroupVersionKind;
use serde_json::{Value, json};

fn check(gvk: (&str, &str, &str), mut object: Value, expected: Expect) {
    let gvk = GroupVersionKind::new(gvk.0, gvk.1, gvk.2);
    super::apply(&gvk, &mut object);
    expected.assert_eq(&object.to_string());
    let mut again = object.clone();
    super::apply(&gvk, &mut again);
    assert_eq!(again, object, "a second time changes nothing");
}

#[test]
fn a_pod_gets_defaults_in_all_its_parts() {
    check(
        ("", "v1", "Pod"),
        json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "web:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "n", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}}),
        expect![[
            r#"{"spec":{"containers":[{"env":[{"name":"n","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}}],"image":"web:1","imagePullPolicy":"IfNotPresent","livenessProbe":{"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1},"name":"a","ports":[{"containerPort":80,"hostPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"hostNetwork":true,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30,"volumes":[{"emptyDir":{},"name":"v"},{"name":"s","secret":{"defaultMode":420,"secretName":"x"}},{"name":"p","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3600,"path":"t"}}]}}]}}"#
        ]],
    );
}

#[test]
fn a_deployment_gets_its_own_and_its_templates() {
    check(
        ("apps", "v1", "Deployment"),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "web"}]}}}}),
        expect![[
            r#"{"spec":{"progressDeadlineSeconds":600,"replicas":1,"revisionHistoryLimit":10,"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},"template":{"spec":{"containers":[{"image":"web","imagePullPolicy":"Always","name":"a","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#
        ]],
    );
    check(
        ("apps", "v1", "Deployment"),
        json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}),
        expect![[
            r#"{"spec":{"progressDeadlineSeconds":600,"replicas":0,"revisionHistoryLimit":10,"strategy":{"type":"Recreate"},"template":{"spec":{"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#
        ]],
    );
}

#[test]
fn pull_policies_follow_the_tag() {
    for (image, policy) in [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("host:5000/web", "Always"),
        ("host:5000/web:2", "IfNotPresent"),
        ("web@sha256:0000000000000000000000000000000000000000000000000000000000000000", "IfNotPresent"),
        ("", "IfNotPresent"),
        ("Not An Image", "IfNotPresent"),
    ] {
        let mut pod = json!({"spec": {"containers": [{"image": image}]}});
        super::apply(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn services_by_type() {
    check(
        ("", "v1", "Service"),
        json!({"spec": {"ports": [{"port": 80}]}}),
        expect![[
            r#"{"spec":{"internalTrafficPolicy":"Cluster","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"}}"#
        ]],
    );
    check(
        ("", "v1", "Service"),
        json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80, "targetPort": "http"}]}}),
        expect![[
            r#"{"spec":{"allocateLoadBalancerNodePorts":true,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","ports":[{"port":80,"protocol":"TCP","targetPort":"http"}],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"type":"LoadBalancer"}}"#
        ]],
    );
    check(
        ("", "v1", "Service"),
        json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
        expect![[r#"{"spec":{"externalName":"a.b","sessionAffinity":"None","type":"ExternalName"}}"#]],
    );
}

#[test]
fn other_kinds() {
    check(
        ("", "v1", "Namespace"),
        json!({"metadata": {"name": "a"}}),
        expect![[
            r#"{"metadata":{"labels":{"kubernetes.io/metadata.name":"a"},"name":"a"},"status":{"phase":"Active"}}"#
        ]],
    );
    check(("", "v1", "Secret"), json!({}), expect![[r#"{"type":"Opaque"}"#]]);
    check(
        ("", "v1", "Node"),
        json!({"status": {"capacity": {"cpu": "2"}}}),
        expect![[r#"{"status":{"allocatable":{"cpu":"2"},"capacity":{"cpu":"2"}}}"#]],
    );
    check(
        ("", "v1", "LimitRange"),
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1"}}]}}),
        expect![[
            r#"{"spec":{"limits":[{"default":{"cpu":"2"},"defaultRequest":{"cpu":"2","memory":"1"},"max":{"cpu":"2"},"min":{"memory":"1"},"type":"Container"}]}}"#
        ]],
    );
    check(
        ("", "v1", "PersistentVolumeClaim"),
        json!({"spec": {"resources": {"requests": {"storage": "1n"}}}}),
        expect![[
            r#"{"spec":{"resources":{"requests":{"storage":"1m"}},"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}"#
        ]],
    );
    check(
        ("", "v1", "ReplicationController"),
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
        expect![[
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"replicas":1,"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#
        ]],
    );
    check(
        ("apps", "v1", "StatefulSet"),
        json!({}),
        expect![[
            r#"{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"},"podManagementPolicy":"OrderedReady","replicas":1,"revisionHistoryLimit":10,"template":{"spec":{"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}},"updateStrategy":{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}}}"#
        ]],
    );
    check(
        ("batch", "v1", "Job"),
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
        expect![[
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"backoffLimit":6,"completionMode":"NonIndexed","completions":1,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","suspend":false,"template":{"metadata":{"labels":{"a":"b"}},"spec":{"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#
        ]],
    );
    check(
        ("batch", "v1", "CronJob"),
        json!({"spec": {"jobTemplate": {"spec": {}}}}),
        expect![[
            r#"{"spec":{"concurrencyPolicy":"Allow","failedJobsHistoryLimit":1,"jobTemplate":{"spec":{"template":{"spec":{"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}},"successfulJobsHistoryLimit":3,"suspend":false}}"#
        ]],
    );
    check(
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Min"}}}}),
        expect![[
            r#"{"spec":{"behavior":{"scaleDown":{"policies":[{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Min"},"scaleUp":{"policies":[{"periodSeconds":15,"type":"Pods","value":4},{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Max","stabilizationWindowSeconds":0}},"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}],"minReplicas":1}}"#
        ]],
    );
    check(
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}}),
        expect![[
            r#"{"spec":{"egress":[{"ports":[{"port":1,"protocol":"TCP"}]}],"policyTypes":["Ingress","Egress"]}}"#
        ]],
    );
    check(
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        json!({"ports": [{"port": 1}]}),
        expect![[r#"{"ports":[{"name":"","port":1,"protocol":"TCP"}]}"#]],
    );
    check(
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        json!({"subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
        expect![[
            r#"{"roleRef":{"apiGroup":"rbac.authorization.k8s.io"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User"},{"kind":"ServiceAccount"}]}"#
        ]],
    );
    check(
        ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"),
        json!({"webhooks": [{"clientConfig": {"service": {}}, "rules": [{}]}]}),
        expect![[
            r#"{"webhooks":[{"clientConfig":{"service":{"port":443}},"failurePolicy":"Fail","matchPolicy":"Equivalent","namespaceSelector":{},"objectSelector":{},"reinvocationPolicy":"Never","rules":[{"scope":"*"}],"timeoutSeconds":10}]}"#
        ]],
    );
    check(
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        json!({"spec": {"names": {"kind": "Foo"}, "versions": [{"name": "v1", "storage": true}]}}),
        expect![[
            r#"{"spec":{"conversion":{"strategy":"None"},"names":{"kind":"Foo","listKind":"FooList","singular":"foo"},"versions":[{"name":"v1","storage":true}]},"status":{"storedVersions":["v1"]}}"#
        ]],
    );
}

#[test]
fn pod_level_requests_follow_the_containers() {
    let mut pod = json!({"spec": {"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [{"resources": {"requests": {"cpu": "1"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "3"}}}, {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}]}});
    super::apply(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
    assert_eq!(pod["spec"]["resources"]["requests"], json!({"cpu": "3", "memory": "1Gi"}));
}

#[test]
fn a_negative_grace_period_is_one_second_in_a_pod_and_stays_in_a_template() {
    let spec = json!({"terminationGracePeriodSeconds": -5});
    let mut pod = json!({"spec": spec});
    super::apply(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 1);
    let mut template = json!({"template": {"spec": spec}});
    super::apply(&GroupVersionKind::new("", "v1", "PodTemplate"), &mut template);
    assert_eq!(template["template"]["spec"]["terminationGracePeriodSeconds"], -5);
}
