//! Credentials for registries: those that `docker login` left, by the docker command's rules.
//!
//! ```text
//! reference ─▶ registry ─▶ credHelpers[registry], else credsStore: `docker-credential-NAME get`
//!                       └▶ else auths[registry]
//! ```
//!
//! They are looked up anew for each pull, since they expire and change. What is read is wiped from memory when it was used,
//! and no error repeats any of it. (Not wiped are the HTTP library's own copies.)

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::address::{Surroundings, docker_directory};

/// The registry of references that name none.
const DOCKER_HUB: &str = "docker.io";

/// As what Docker's configuration and helpers know that.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name with which a helper marks an identity token.
const TOKEN_USER: &str = "<token>";

/// How long a helper may take: it may ask a cloud provider.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// The longest answer of a helper, in bytes. Tokens of cloud providers are a few thousand long.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Where credentials for registries are found.
#[derive(Debug, Clone, Default)]
pub struct CredentialStore {
    config: Option<PathBuf>,
}

/// What a registry is to be told, in the form that engines take it.
pub(super) struct RegistryAuth(Zeroizing<String>);

/// Why credentials cannot be had, although some are configured. Holds none of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not Docker's configuration: line {line}, column {column}")]
    Malformed { path: PathBuf, line: usize, column: usize },
    #[error("{path} holds for {registry} what is not base64 of USER:PASSWORD")]
    Undecodable { path: PathBuf, registry: String },
    #[error("the credential helper {helper:?} has a name that no program has")]
    HelperName { helper: String },
    #[error("the credential helper docker-credential-{helper} cannot be run: {source}")]
    HelperStart { helper: String, source: io::Error },
    #[error("the credential helper docker-credential-{helper} gave no answer within {} s", HELPER_LIMIT.as_secs())]
    HelperSilent { helper: String },
    #[error("the credential helper docker-credential-{helper} failed ({status})")]
    HelperFailed { helper: String, status: String },
    #[error("the credential helper docker-credential-{helper} answered something else than credentials")]
    HelperAnswer { helper: String },
}

/// The part of Docker's `config.json` that is of use here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: Option<HashMap<String, Stored>>,
    creds_store: Option<String>,
    cred_helpers: Option<HashMap<String, String>>,
}

/// An entry of `auths`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    auth: Secret,
    username: Secret,
    password: Secret,
    identitytoken: Secret,
    registrytoken: Secret,
}

/// An entry's `auth` is not what it should be.
struct NotBase64;

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: Secret,
    secret: Secret,
}

/// What an engine takes, empty where there is nothing.
#[derive(Serialize)]
struct AuthConfig<'a> {
    username: &'a str,
    password: &'a str,
    identitytoken: &'a str,
    registrytoken: &'a str,
    serveraddress: &'a str,
}

type Secret = Zeroizing<String>;

/// The registry that a reference names: `docker.io` where it names none.
pub(super) fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

// === impl CredentialStore ===

impl CredentialStore {
    /// Docker's configuration: `config.json` in `DOCKER_CONFIG`, else in `~/.docker`.
    pub fn of(surroundings: &dyn Surroundings) -> Self {
        Self { config: docker_directory(surroundings).map(|directory| directory.join("config.json")) }
    }

    /// The credentials for a registry, `None` where none are configured.
    pub(super) async fn find(&self, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        let Some(path) = &self.config else { return Ok(None) };
        let bytes = match tokio::fs::read(path).await {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CredentialsError::Read { path: path.clone(), source }),
        };
        // serde's own words may repeat what it found.
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| CredentialsError::Malformed {
            path: path.clone(),
            line: error.line(),
            column: error.column(),
        })?;
        let key = if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry };
        if let Some(helper) = config.helper(registry, key) {
            return ask(helper, key).await;
        }
        let Some(stored) = config.stored(key) else { return Ok(None) };
        let undecodable =
            |NotBase64| CredentialsError::Undecodable { path: path.clone(), registry: registry.to_owned() };
        stored.auth(key).map_err(undecodable)
    }
}

// === impl Config ===

impl Config {
    fn helper(&self, registry: &str, key: &str) -> Option<&str> {
        let helpers = self.cred_helpers.as_ref();
        let own = helpers.and_then(|helpers| helpers.get(key).or_else(|| helpers.get(registry)));
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// Keys may be addresses, as older versions of the docker command wrote them.
    fn stored(&self, key: &str) -> Option<&Stored> {
        let auths = self.auths.as_ref()?;
        let same_host = || auths.iter().find(|(other, _)| host_of(other) == host_of(key)).map(|(_, it)| it);
        auths.get(key).or_else(same_host)
    }
}

fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split_once('/').map_or(key, |(host, _)| host)
}

// === impl Stored ===

impl Stored {
    /// What the entry says, `None` when it says nothing.
    fn auth(&self, key: &str) -> Result<Option<RegistryAuth>, NotBase64> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let bytes = Zeroizing::new(STANDARD.decode(self.auth.trim()).map_err(|_| NotBase64)?);
            let text = std::str::from_utf8(&bytes).map_err(|_| NotBase64)?;
            let (user, rest) = text.split_once(':').ok_or(NotBase64)?;
            username = Zeroizing::new(user.to_owned());
            password = Zeroizing::new(rest.trim_end_matches('\0').to_owned());
        }
        let config = AuthConfig {
            username: &username,
            password: &password,
            identitytoken: &self.identitytoken,
            registrytoken: &self.registrytoken,
            serveraddress: key,
        };
        Ok(config.is_something().then(|| RegistryAuth::new(&config)))
    }
}

// === impl AuthConfig ===

impl AuthConfig<'_> {
    const fn is_something(&self) -> bool {
        !(self.username.is_empty() && self.identitytoken.is_empty() && self.registrytoken.is_empty())
    }
}

// === impl RegistryAuth ===

impl RegistryAuth {
    fn new(config: &AuthConfig<'_>) -> Self {
        // Strings are always JSON.
        let json = Zeroizing::new(serde_json::to_vec(config).unwrap_or_default());
        // Engines read the alphabet for URLs, and ignore what is not of it: bollard's own header would be lost on them for some
        // passwords.
        Self(Zeroizing::new(URL_SAFE.encode(&*json)))
    }

    /// The value of the header `X-Registry-Auth`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth(…)")
    }
}

/// Asks a credential helper. One that has none says so by failing, in words that are the same for all of them.
async fn ask(helper: &str, key: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
    let name = || helper.to_owned();
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(CredentialsError::HelperName { helper: name() });
    }
    let failed = |source| CredentialsError::HelperStart { helper: name(), source };
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that needs no question may not read it.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let mut said = Zeroizing::new(Vec::with_capacity(4096));
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST_ANSWER).read_to_end(&mut said).await?;
        }
        Ok((child.wait().await?, said))
    };
    let (status, said) = tokio::time::timeout(HELPER_LIMIT, talk)
        .await
        .map_err(|_| CredentialsError::HelperSilent { helper: name() })?
        .map_err(failed)?;
    if !status.success() {
        if said.trim_ascii().starts_with(b"credentials not found in native keychain") {
            return Ok(None);
        }
        return Err(CredentialsError::HelperFailed { helper: name(), status: status.to_string() });
    }
    let answer: Answer =
        serde_json::from_slice(&said).map_err(|_| CredentialsError::HelperAnswer { helper: name() })?;
    let is_token = *answer.username == TOKEN_USER;
    let (username, password) =
        if is_token { ("", "") } else { (answer.username.as_str(), answer.secret.as_str()) };
    let config = AuthConfig {
        username,
        password,
        identitytoken: if is_token { &answer.secret } else { "" },
        registrytoken: "",
        serveraddress: key,
    };
    Ok(config.is_something().then(|| RegistryAuth::new(&config)))
}

#[cfg(test)]
mod tests;
