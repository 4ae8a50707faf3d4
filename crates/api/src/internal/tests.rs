//! Structs as upstream's messages show them.

use serde_json::json;

use super::*;
use crate::schema;

#[test]
fn json_is_indented_as_go_does() {
    assert_eq!(
        indent(r#"[{"a":"x\":{,","b":[],"c":{},"d":[1,2]}]"#),
        "[\n {\n  \"a\": \"x\\\":{,\",\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n   1,\n   2\n  ]\n }\n]"
    );
}

#[test]
fn structs_are_shown_with_the_names_of_go_and_what_is_not_set() {
    let check = |package: &str, ty: &str, value: Value, want: &str| {
        let ty = schema::named(package, ty).expect("the table has the type");
        assert_eq!(show(&value, ty), want);
    };
    check("networking.v1", "ServiceCIDRSpec", json!({"cidrs": ["10.0.0.0/8"]}), r#"{"CIDRs":["10.0.0.0/8"]}"#);
    check(
        "networking.v1",
        "ParentReference",
        json!({"resource": "services", "name": "a<b"}),
        r#"{"Group":"","Resource":"services","Namespace":"","Name":"a\u003cb"}"#,
    );
    check(
        "flowcontrol.v1",
        "FlowSchemaSpec",
        json!({"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1, "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": []}],
        }]}),
        concat!(
            r#"{"PriorityLevelConfiguration":{"Name":"exempt"},"MatchingPrecedence":1,"DistinguisherMethod":null,"#,
            r#""Rules":[{"Subjects":[{"Kind":"Group","User":null,"Group":{"Name":"g"},"ServiceAccount":null}],"#,
            r#""ResourceRules":[{"Verbs":["*"],"APIGroups":["*"],"Resources":["*"],"ClusterScope":true,"Namespaces":[]}],"#,
            r#""NonResourceRules":null}]}"#
        ),
    );
    check("meta.v1", "LabelSelector", json!({"matchLabels": {"a": "b"}}), r#"{"matchLabels":{"a":"b"}}"#);
}
/// What upstream's types printed.
#[test]
fn fields_stand_where_the_internal_types_have_them() {
    let check = |ty: &str, value: Value, want: &str| {
        assert_eq!(show(&value, schema::named("core.v1", ty).expect("the table has the type")), want);
    };
    let template = json!({"metadata": {"labels": {"app": "pi"}, "creationTimestamp": null}, "spec": {"hostNetwork": true, "shareProcessNamespace": false, "serviceAccount": "robot", "serviceAccountName": "robot", "volumes": [{"name": "v", "iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0, "chapAuthSession": true}}], "containers": [{"name": "c", "image": "pi", "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}], "resources": {"requests": {"cpu": "100m"}}, "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 10}, "ports": [{"containerPort": 80, "protocol": "TCP"}], "tty": true, "terminationMessagePath": "/dev/termination-log", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}], "restartPolicy": "Never", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "tolerations": [{"key": "a", "operator": "Exists"}]}});
    let printed = concat!(
        r#"{"labels":{"app":"pi"},"Spec":{"Volumes":[{"Name":"v","HostPath":null,"EmptyDir":null,"#,
        r#""GCEPersistentDisk":null,"AWSElasticBlockStore":null,"GitRepo":null,"Secret":null,"#,
        r#""NFS":null,"ISCSI":{"TargetPortal":"t","IQN":"i","Lun":0,"ISCSIInterface":"","FSType":"","#,
        r#""ReadOnly":false,"Portals":null,"DiscoveryCHAPAuth":false,"SessionCHAPAuth":true,"#,
        r#""SecretRef":null,"InitiatorName":null},"Glusterfs":null,"PersistentVolumeClaim":null,"#,
        r#""RBD":null,"Quobyte":null,"FlexVolume":null,"Cinder":null,"CephFS":null,"Flocker":null,"#,
        r#""DownwardAPI":null,"FC":null,"AzureFile":null,"ConfigMap":null,"VsphereVolume":null,"#,
        r#""AzureDisk":null,"PhotonPersistentDisk":null,"Projected":null,"PortworxVolume":null,"#,
        r#""ScaleIO":null,"StorageOS":null,"CSI":null,"Ephemeral":null,"Image":null}],"#,
        r#""InitContainers":null,"Containers":[{"Name":"c","Image":"pi","Command":null,"Args":null,"#,
        r#""WorkingDir":"","Ports":[{"Name":"","HostPort":0,"ContainerPort":80,"Protocol":"TCP","#,
        r#""HostIP":""}],"EnvFrom":null,"Env":[{"Name":"A","Value":"","#,
        r#""ValueFrom":{"FieldRef":{"APIVersion":"v1","FieldPath":"metadata.name"},"#,
        r#""ResourceFieldRef":null,"ConfigMapKeyRef":null,"SecretKeyRef":null,"FileKeyRef":null}}],"#,
        r#""Resources":{"Limits":null,"Requests":{"cpu":"100m"},"Claims":null},"ResizePolicy":null,"#,
        r#""RestartPolicy":null,"RestartPolicyRules":null,"VolumeMounts":[{"Name":"v","ReadOnly":false,"#,
        r#""RecursiveReadOnly":null,"MountPath":"/v","SubPath":"","MountPropagation":null,"#,
        r#""SubPathExpr":""}],"VolumeDevices":null,"LivenessProbe":{"Exec":null,"HTTPGet":null,"#,
        r#""TCPSocket":{"Port":80,"Host":""},"GRPC":null,"InitialDelaySeconds":0,"TimeoutSeconds":0,"#,
        r#""PeriodSeconds":10,"SuccessThreshold":0,"FailureThreshold":0,"#,
        r#""TerminationGracePeriodSeconds":null},"ReadinessProbe":null,"StartupProbe":null,"#,
        r#""Lifecycle":null,"TerminationMessagePath":"/dev/termination-log","#,
        r#""TerminationMessagePolicy":"","ImagePullPolicy":"","SecurityContext":null,"Stdin":false,"#,
        r#""StdinOnce":false,"TTY":true}],"EphemeralContainers":null,"RestartPolicy":"Never","#,
        r#""TerminationGracePeriodSeconds":30,"ActiveDeadlineSeconds":null,"DNSPolicy":"ClusterFirst","#,
        r#""NodeSelector":null,"ServiceAccountName":"robot","AutomountServiceAccountToken":null,"#,
        r#""NodeName":"","SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"#,
        r#""ShareProcessNamespace":false,"HostUsers":null,"SELinuxOptions":null,"WindowsOptions":null,"#,
        r#""RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"SupplementalGroups":null,"#,
        r#""SupplementalGroupsPolicy":null,"FSGroup":null,"FSGroupChangePolicy":null,"Sysctls":null,"#,
        r#""SeccompProfile":null,"AppArmorProfile":null,"SELinuxChangePolicy":null},"#,
        r#""ImagePullSecrets":null,"Hostname":"","Subdomain":"","SetHostnameAsFQDN":null,"#,
        r#""Affinity":null,"SchedulerName":"default-scheduler","Tolerations":[{"Key":"a","#,
        r#""Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}],"HostAliases":null,"#,
        r#""PriorityClassName":"","Priority":null,"PreemptionPolicy":null,"DNSConfig":null,"#,
        r#""ReadinessGates":null,"RuntimeClassName":null,"Overhead":null,"EnableServiceLinks":null,"#,
        r#""TopologySpreadConstraints":null,"OS":null,"SchedulingGates":null,"ResourceClaims":null,"#,
        r#""Resources":null,"HostnameOverride":null,"SchedulingGroup":null}}"#,
    );
    check("PodTemplateSpec", template, printed);
    let volume = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "rbd": {"monitors": ["m"], "image": "i", "pool": "p"}, "volumeMode": "Block"});
    let printed = concat!(
        r#"{"Capacity":{"storage":"1Gi"},"GCEPersistentDisk":null,"AWSElasticBlockStore":null,"#,
        r#""HostPath":null,"Glusterfs":null,"NFS":null,"RBD":{"CephMonitors":["m"],"RBDImage":"i","#,
        r#""FSType":"","RBDPool":"p","RadosUser":"","Keyring":"","SecretRef":null,"ReadOnly":false},"#,
        r#""Quobyte":null,"ISCSI":null,"FlexVolume":null,"Cinder":null,"CephFS":null,"FC":null,"#,
        r#""Flocker":null,"AzureFile":null,"VsphereVolume":null,"AzureDisk":null,"#,
        r#""PhotonPersistentDisk":null,"PortworxVolume":null,"ScaleIO":null,"Local":null,"#,
        r#""StorageOS":null,"CSI":null,"AccessModes":["ReadWriteOnce"],"ClaimRef":null,"#,
        r#""PersistentVolumeReclaimPolicy":"","StorageClassName":"","MountOptions":null,"#,
        r#""VolumeMode":"Block","NodeAffinity":null,"VolumeAttributesClassName":null}"#,
    );
    check("PersistentVolumeSpec", volume, printed);
}
