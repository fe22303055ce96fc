//! Kubernetes manifests: the settings of a pod are valid, and references between manifests exist.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{at, files, settings, string, text, yaml};
use crate::support::http::http_client;
use crate::support::world::World;

fn manifest(name: &str) -> Value {
    yaml(&format!("deploy/kubernetes/{name}.yaml"))
}

fn pod() -> Value {
    at(&manifest("deployment"), "/spec/template/spec").clone()
}

/// Writes the files of the pod's volumes into a folder that replaces the root of the container.
fn write_volumes(pod: &Value, root: &Path) {
    for volume in at(pod, "/volumes").as_array().unwrap() {
        let (source, from) = match (volume.get("configMap"), volume.get("secret")) {
            (Some(config), None) => (manifest("configmap"), string(config, "/name")),
            (None, Some(secret)) => (manifest("secret.example"), string(secret, "/secretName")),
            _ => panic!("a volume of another kind: {volume}"),
        };
        assert_eq!(string(&source, "/metadata/name"), from);
        let mounts = at(pod, "/containers/0/volumeMounts").as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).expect("is mounted");
        let folder = root.join(string(mount, "/mountPath").trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        let contents = source.get("data").or(source.get("stringData")).unwrap();
        for (name, content) in contents.as_object().unwrap() {
            fs::write(folder.join(name), content.as_str().unwrap()).unwrap();
        }
    }
}

#[test]
fn the_settings_of_a_pod_are_valid_and_match_its_container() {
    let (pod, root) = (pod(), tempfile::tempdir().unwrap());
    write_volumes(&pod, root.path());
    let variables = at(&pod, "/containers/0/env").as_array().unwrap().iter().map(|variable| {
        let value = string(variable, "/value");
        let is_path = value.starts_with('/');
        let value = if is_path { format!("{}{value}", root.path().display()) } else { value.to_owned() };
        (string(variable, "/name").to_owned(), value)
    });
    let config = settings(variables);
    assert!(config.hubspot.unique_property.is_some());
    assert_eq!(
        u64::from(config.admin.listen.port()),
        at(&pod, "/containers/0/ports/0/containerPort").as_u64().unwrap()
    );
    assert!(config.admin.listen.ip().is_unspecified());
    let grace_period = at(&pod, "/terminationGracePeriodSeconds").as_u64().unwrap();
    assert!(grace_period >= config.shutdown.grace.as_secs() + 10, "{grace_period} s");
}

#[test]
fn a_pod_has_no_unneeded_rights() {
    let pod = pod();
    let user =
        text("Dockerfile").lines().find_map(|line| line.strip_prefix("USER ").map(str::to_owned)).unwrap();
    let (user, group) = user.split_once(':').unwrap();
    assert_eq!(at(&pod, "/securityContext/runAsNonRoot"), true);
    assert_eq!(at(&pod, "/securityContext/runAsUser").to_string(), user);
    assert_eq!(at(&pod, "/securityContext/runAsGroup").to_string(), group);
    assert_eq!(at(&pod, "/securityContext/fsGroup").to_string(), group);
    assert_eq!(string(&pod, "/securityContext/seccompProfile/type"), "RuntimeDefault");
    assert_eq!(at(&pod, "/automountServiceAccountToken"), false);
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(at(&pod, "/containers/0/securityContext"), &expected);
    assert_eq!(string(&pod, "/containers/0/resources/limits/memory"), "64Mi");
}

#[test]
fn references_between_manifests_are_valid() {
    let deployment = manifest("deployment");
    let labels = at(&deployment, "/spec/template/metadata/labels");
    for (name, pointer) in [
        ("deployment", "/spec/selector/matchLabels"),
        ("deployment", "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels"),
        ("service", "/spec/selector"),
        ("networkpolicy", "/spec/podSelector/matchLabels"),
        ("poddisruptionbudget", "/spec/selector/matchLabels"),
    ] {
        assert_eq!(at(&manifest(name), pointer), labels, "{name} {pointer}");
    }
    let (service, monitor) = (manifest("service"), manifest("servicemonitor"));
    assert_eq!(at(&monitor, "/spec/selector/matchLabels"), at(&service, "/metadata/labels"));
    assert_eq!(at(&monitor, "/spec/endpoints/0/port"), at(&service, "/spec/ports/0/name"));
    let port = at(&deployment, "/spec/template/spec/containers/0/ports/0");
    assert_eq!(at(&service, "/spec/ports/0/targetPort"), &port["name"]);
    assert_eq!(at(&manifest("networkpolicy"), "/spec/ingress/0/ports/0/port"), &port["containerPort"]);
    for probe in ["livenessProbe", "readinessProbe"] {
        let pointer = format!("/spec/template/spec/containers/0/{probe}/httpGet/port");
        assert_eq!(at(&deployment, &pointer), &port["name"], "{probe}");
    }
}

#[test]
fn egress_is_limited_to_dns_the_database_and_hubspot() {
    let policy = manifest("networkpolicy");
    let ports = at(&policy, "/spec/egress").as_array().unwrap().iter().map(|rule| {
        let ports = at(rule, "/ports").as_array().unwrap();
        ports.iter().map(|port| port["port"].as_u64().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(ports.collect::<Vec<_>>(), [vec![53, 53], vec![5432], vec![443]]);
    assert_eq!(at(&policy, "/spec/policyTypes"), &json!(["Ingress", "Egress"]));
}

#[test]
fn the_kustomization_lists_every_manifest_and_this_version() {
    let kustomization = manifest("kustomization");
    let mut listed: Vec<_> = at(&kustomization, "/resources").as_array().unwrap().iter().collect();
    let aside = ["kustomization.yaml", "secret.example.yaml", "servicemonitor.yaml"].map(Value::from);
    listed.extend(&aside);
    listed.sort_by_key(ToString::to_string);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    let mut there: Vec<_> =
        files(&folder).iter().map(|path| Value::from(path.file_name().unwrap().to_str().unwrap())).collect();
    there.sort_by_key(Value::to_string);
    assert_eq!(listed, there.iter().collect::<Vec<_>>());
    let image = at(&kustomization, "/images/0");
    assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"));
    assert_eq!(&image["name"], at(&pod(), "/containers/0/image"));
}

#[tokio::test]
async fn probed_paths_respond_on_a_standby_as_well() {
    let world = World::new().await;
    let (first, second) = (world.start_daemon(), world.start_daemon());
    let pod = pod();
    let monitor = manifest("servicemonitor");
    let paths = [
        string(&pod, "/containers/0/livenessProbe/httpGet/path"),
        string(&pod, "/containers/0/readinessProbe/httpGet/path"),
        string(&monitor, "/spec/endpoints/0/path"),
    ];
    let client = http_client();
    for daemon in [&first, &second] {
        daemon.wait_for_event("schema_prepared").await;
        for path in paths {
            let url = format!("{}{path}", daemon.admin_url().await);
            assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "{path}");
        }
    }
}
