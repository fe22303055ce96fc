//! `compose.yaml` and its variant with the simulator: settings, secrets and rights of an instance.

use std::fs;

use course_sync::config::Config;
use serde_json::{Value, json};

use super::{at, settings, string, text, yaml};

const INSTANCES: [&str; 2] = ["course-sync-1", "course-sync-2"];

/// The configuration of an instance, from its secrets and the variables of these files. Later files override earlier
/// ones.
fn load_config(files: &[&Value], instance: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let secrets = at(files[0], &format!("/services/{instance}/secrets")).as_array().unwrap();
    for secret in secrets.iter().map(|name| name.as_str().unwrap()) {
        let source = string(files[0], &format!("/secrets/{secret}/file"));
        assert_eq!(source, format!("${{COURSE_SYNC_SECRETS:-./secrets}}/{secret}"));
        fs::write(folder.path().join(secret), "postgres://of:any@kind/").unwrap();
    }
    let mut variables = serde_json::Map::new();
    for file in files {
        variables.extend(at(file, &format!("/services/{instance}/environment")).as_object().unwrap().clone());
    }
    let place = format!("{}/", folder.path().display());
    settings(
        variables
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap().replace("/run/secrets/", &place))),
    )
}

#[test]
fn the_settings_of_an_instance_are_valid_and_match_its_container() {
    let compose = yaml("deploy/compose.yaml");
    for instance in INSTANCES {
        let config = load_config(&[&compose], instance);
        assert!(config.hubspot.unique_property.is_some());
        assert_eq!(config.hubspot.base_url, "https://api.hubapi.com");
        let grace_period = string(&compose, &format!("/services/{instance}/stop_grace_period"));
        let grace_period = humantime::parse_duration(grace_period).unwrap();
        assert!(grace_period.as_secs() >= config.shutdown.grace.as_secs() + 10, "{grace_period:?}");
    }
}

#[test]
fn containers_have_no_unneeded_rights() {
    let (compose, variant) = (yaml("deploy/compose.yaml"), yaml("deploy/compose.simulator.yaml"));
    let services = INSTANCES.map(|name| (&compose, name)).into_iter().chain([(&variant, "simulator")]);
    for (file, name) in services {
        let service = at(file, &format!("/services/{name}"));
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert_eq!(service["pids_limit"], 64, "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        assert!(service.get("user").is_none() && service.get("privileged").is_none(), "{name}");
    }
    for instance in INSTANCES {
        assert_eq!(string(&compose, &format!("/services/{instance}/mem_limit")), "64m");
        assert!(at(&compose, "/services").get(instance).unwrap().get("ports").is_none(), "is published");
    }
    for port in at(&variant, "/services/simulator/ports").as_array().unwrap() {
        assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{port} is published to the network");
    }
}

#[test]
fn the_database_matches_the_documented_url() {
    let compose = yaml("deploy/compose.yaml");
    let (user, name) = (
        string(&compose, "/services/postgres/environment/POSTGRES_USER"),
        string(&compose, "/services/postgres/environment/POSTGRES_DB"),
    );
    let url = format!(
        "\"postgres://{user}:$(cat postgres_password)@postgres/{name}?sslmode=disable\" >database_url"
    );
    assert!(text("deploy/compose.yaml").contains(&url), "{url}");
}

#[test]
fn with_the_simulator_each_port_belongs_to_a_service_and_is_published() {
    let (compose, variant) = (yaml("deploy/compose.yaml"), yaml("deploy/compose.simulator.yaml"));
    let command = at(&variant, "/services/simulator/command").as_array().unwrap();
    let simulator = command.iter().find_map(|it| it.as_str()?.strip_prefix("--listen=0.0.0.0:")).unwrap();
    let mut ports = vec![simulator.to_owned()];
    for instance in INSTANCES {
        let config = load_config(&[&compose, &variant], instance);
        assert_eq!(config.hubspot.base_url, format!("http://127.0.0.1:{simulator}"));
        let property = format!("--unique-property={}", config.hubspot.unique_property.unwrap());
        assert!(command.contains(&Value::from(property.as_str())), "{property}");
        assert_eq!(string(&variant, &format!("/services/{instance}/network_mode")), "service:simulator");
        ports.push(config.admin.listen.port().to_string());
    }
    ports.sort_unstable();
    let published = at(&variant, "/services/simulator/ports").as_array().unwrap().iter();
    let published: Vec<_> =
        published.filter_map(|port| port.as_str()?.rsplit(':').next()).map(str::to_owned).collect();
    assert_eq!(published, ports);
}
