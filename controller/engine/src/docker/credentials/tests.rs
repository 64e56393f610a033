use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

struct Home(TempDir);

impl Surroundings for Home {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| self.0.path().display().to_string())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}

/// A user's home with this configuration of Docker's.
fn home(config: &str) -> Home {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".docker")).unwrap();
    fs::write(home.path().join(".docker/config.json"), config).unwrap();
    Home(home)
}

async fn found(config: &Value, registry: &str) -> Option<Value> {
    let found = CredentialStore::of(&home(&config.to_string())).find(registry).await.unwrap()?;
    assert!(found.header().unwrap().is_sensitive());
    Some(serde_json::from_slice(&URL_SAFE.decode(found.0.as_bytes()).unwrap()).unwrap())
}

async fn error(config: &str) -> String {
    CredentialStore::of(&home(config)).find("r.example").await.unwrap_err().to_string()
}

#[test]
fn a_reference_names_its_registry_or_means_docker_hub() {
    for (reference, registry) in [
        ("hashicorp/vault-plugin:1", "docker.io"),
        ("redis", "docker.io"),
        ("registry.example/team/plugin:1", "registry.example"),
        ("127.0.0.1:5000/plugin:1", "127.0.0.1:5000"),
        ("localhost/plugin", "localhost"),
    ] {
        assert_eq!(registry_of(reference), registry, "{reference}");
    }
}

#[tokio::test]
async fn a_stored_login_is_found_however_its_key_is_written() {
    let password = "s3cret~?>/+:";
    let auth = STANDARD.encode(format!("user:{password}"));
    for key in ["r.example:5000", "https://r.example:5000", "http://r.example:5000/v1/"] {
        let found = found(&json!({ "auths": { key: { "auth": auth } } }), "r.example:5000").await.unwrap();
        assert_eq!((&found["username"], &found["password"]), (&json!("user"), &json!(password)), "{key}");
    }
    let hub = json!({ "auths": { "https://index.docker.io/v1/": { "auth": auth } } });
    assert_eq!(found(&hub, "docker.io").await.unwrap()["username"], "user");
    assert_eq!(found(&hub, "r.example:5000").await, None);
}

#[tokio::test]
async fn tokens_are_passed_on_as_such() {
    let config = json!({ "auths": { "r.example": { "identitytoken": "t0ken", "auth": "" } } });
    let found = found(&config, "r.example").await.unwrap();
    assert_eq!((&found["identitytoken"], &found["password"]), (&json!("t0ken"), &json!("")));
}

#[tokio::test]
async fn nothing_configured_is_no_error() {
    assert_eq!(found(&json!({}), "r.example").await, None);
    assert_eq!(found(&json!({ "auths": { "r.example": {} } }), "r.example").await, None);
    assert!(CredentialStore::default().find("r.example").await.unwrap().is_none());
    let nowhere = Home(tempfile::tempdir().unwrap());
    assert!(CredentialStore::of(&nowhere).find("r.example").await.unwrap().is_none());
}

#[tokio::test]
async fn errors_say_where_and_repeat_nothing() {
    let auth = STANDARD.encode("hunter2");
    for (config, expected) in [
        ("{ \"auths\": \"hunter2\" }".to_owned(), "is not Docker's configuration: line 1, column"),
        ("{ hunter2".to_owned(), "is not Docker's configuration: line 1, column"),
        (json!({ "auths": { "r.example": { "auth": auth } } }).to_string(), "not base64 of USER:PASSWORD"),
        (json!({ "credsStore": "../evil" }).to_string(), "a name that no program has"),
        (
            json!({ "credsStore": "plugward-nosuch" }).to_string(),
            "docker-credential-plugward-nosuch cannot be run",
        ),
    ] {
        let error = error(&config).await;
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2") && !error.contains(&auth), "{error}");
    }
}

// Programs are looked for in `PATH`, which a test cannot change for itself alone: helpers are asked in the tests on real engines.
#[tokio::test]
async fn a_helper_is_found_by_its_registry_before_the_store() {
    let config: Config = serde_json::from_value(json!({
        "credsStore": "secretservice",
        "credHelpers": { "r.example": "ecr-login", "empty.example": "" },
        "auths": { "r.example": { "auth": "" } },
    }))
    .unwrap();
    assert_eq!(config.helper("r.example", "r.example"), Some("ecr-login"));
    assert_eq!(config.helper("docker.io", DOCKER_HUB_KEY), Some("secretservice"));
    assert_eq!(config.helper("empty.example", "empty.example"), None);
    assert_eq!(Config::default().helper("r.example", "r.example"), None);
}
