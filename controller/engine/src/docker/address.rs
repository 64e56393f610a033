//! Which engine is meant: the address rules of the docker command.
//!
//! In order: an address given explicitly; `DOCKER_HOST`; the context named by `DOCKER_CONTEXT` or by
//! `currentContext` of Docker's `config.json`; the default socket. A TCP address from the first two is spoken to
//! over TLS when `DOCKER_TLS_VERIFY` is set, with the files in `DOCKER_CERT_PATH`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hyper::Uri;
use sha2::{Digest as _, Sha256};

/// The socket of an engine that nobody configured.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// An engine's address. Always one that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    origin: Origin,
    endpoint: Endpoint,
}

/// Where an address was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Given in a record.
    Explicit,
    /// The environment variable `DOCKER_HOST`.
    DockerHost,
    /// The docker context of this name.
    Context(String),
    /// Nothing is configured.
    Default,
}

/// What to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: Option<TlsFiles> },
}

/// PEM files for a TLS connection to an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Why no address could be found.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The scheme is not one that plugward speaks.
    #[error(
        "engine address {host:?}: the scheme {scheme:?} is not supported; use unix:///PATH or tcp://HOST:PORT{hint}"
    )]
    Scheme {
        /// The address.
        host: String,
        /// Its scheme.
        scheme: String,
        /// What to do instead, for the schemes that the docker command knows.
        hint: &'static str,
    },
    /// It is no address at all.
    #[error("engine address {host:?} is not of the form unix:///PATH or tcp://HOST:PORT")]
    Malformed {
        /// The address.
        host: String,
    },
    /// Docker's configuration, or a context's, cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Docker's configuration, or a context's, is not JSON.
    #[error("{path} is not valid JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The current docker context does not exist.
    #[error(
        "the docker context {name:?} does not exist (no {path}); `docker context ls` lists those that do"
    )]
    NoSuchContext {
        /// The context.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// The current docker context names no Docker endpoint.
    #[error("the docker context {name:?} has no docker endpoint ({path})")]
    NoEndpoint {
        /// The context.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// The current docker context asks not to verify the engine.
    #[error("the docker context {name:?} skips TLS verification; plugward always verifies an engine")]
    Unverified {
        /// The context.
        name: String,
    },
    /// TLS is asked for, and there is no telling where its files are.
    #[error(
        "DOCKER_TLS_VERIFY is set, but neither DOCKER_CERT_PATH nor HOME says where the certificates are"
    )]
    NoCertificates,
}

/// What the rules look at, so that they can be tried without a process's environment.
pub trait Surroundings {
    /// An environment variable; one that is empty or not Unicode counts as not set, as with the docker command.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's content.
    ///
    /// # Errors
    /// As [`std::fs::read`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The environment and file system of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSurroundings;

// === impl Address ===

impl Address {
    /// Finds the engine's address.
    ///
    /// # Errors
    /// When an address is given that cannot be dialled, or when Docker's configuration names a context that cannot
    /// be read: an engine that nobody meant is never picked instead.
    pub fn resolve(explicit: Option<&str>, surroundings: &dyn Surroundings) -> Result<Self, AddressError> {
        if let Some(host) = explicit {
            return Self::from_host(host, Origin::Explicit, surroundings);
        }
        if let Some(host) = surroundings.variable("DOCKER_HOST") {
            return Self::from_host(&host, Origin::DockerHost, surroundings);
        }
        let directory = docker_directory(surroundings);
        match current_context(directory.as_deref(), surroundings)? {
            Some((name, directory)) => Self::from_context(name, &directory, surroundings),
            None => Ok(Self {
                host: DEFAULT_HOST.to_owned(),
                origin: Origin::Default,
                endpoint: parse(DEFAULT_HOST, None)?,
            }),
        }
    }

    /// The address as it was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it was found.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn from_host(host: &str, origin: Origin, surroundings: &dyn Surroundings) -> Result<Self, AddressError> {
        let tls = if host.starts_with("tcp://") { tls_from_environment(surroundings)? } else { None };
        Ok(Self { endpoint: parse(host, tls)?, host: host.to_owned(), origin })
    }

    fn from_context(
        name: String,
        directory: &Path,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, AddressError> {
        // Docker stores a context under the digest of its name, so that any name makes a directory.
        let digest = hex(&Sha256::digest(name.as_bytes()));
        let path = directory.join("contexts/meta").join(&digest).join("meta.json");
        let Some(meta) = read_json(&path, surroundings)? else {
            return Err(AddressError::NoSuchContext { name, path });
        };
        let endpoint = &meta["Endpoints"]["docker"];
        let Some(host) = endpoint["Host"].as_str().filter(|host| !host.is_empty()) else {
            return Err(AddressError::NoEndpoint { name, path });
        };
        let certificates = directory.join("contexts/tls").join(&digest).join("docker");
        let files = TlsFiles::in_directory(&certificates);
        let tls = surroundings.read(&files.ca).is_ok().then_some(files);
        if tls.is_some() && endpoint["SkipTLSVerify"].as_bool() == Some(true) {
            return Err(AddressError::Unverified { name });
        }
        Ok(Self { endpoint: parse(host, tls)?, host: host.to_owned(), origin: Origin::Context(name) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explicit => f.write_str("the runtime's engine.host"),
            Self::DockerHost => f.write_str("DOCKER_HOST"),
            Self::Context(name) => write!(f, "the docker context {name:?}"),
            Self::Default => f.write_str("the default socket"),
        }
    }
}

// === impl TlsFiles ===

impl TlsFiles {
    fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }
    }
}

// === impl ProcessSurroundings ===

impl Surroundings for ProcessSurroundings {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

fn parse(host: &str, tls: Option<TlsFiles>) -> Result<Endpoint, AddressError> {
    // What stands before an @ may be a password.
    let shown = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let malformed = || AddressError::Malformed { host: shown.to_owned() };
    let (scheme, rest) = host.split_once("://").ok_or_else(malformed)?;
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Endpoint::Unix(PathBuf::from(rest))),
        "tcp" => {
            let uri: Uri =
                format!("tcp://{}", rest.trim_end_matches('/')).parse().map_err(|_| malformed())?;
            let name = uri.host().filter(|name| !name.is_empty()).ok_or_else(malformed)?;
            let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
            // A user's name would stand before the host's.
            let after_name =
                uri.authority().and_then(|authority| authority.as_str().strip_prefix(name)).filter(|_| plain);
            let port = match after_name.ok_or_else(malformed)? {
                // The ports that IANA gave to Docker, with and without TLS.
                "" if tls.is_some() => 2376,
                "" => 2375,
                port => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(malformed)?,
            };
            let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            Ok(Endpoint::Tcp { host: name, port, tls })
        }
        "unix" => Err(malformed()),
        scheme => Err(AddressError::Scheme {
            host: shown.to_owned(),
            scheme: scheme.to_owned(),
            hint: match scheme {
                "ssh" => {
                    ". Plugins are reached through sockets in directories that engine and plugward share, so plugward \
                     runs on the engine's machine: run it there"
                }
                "npipe" => ". Windows engines cannot run go-plugin plugins over Unix sockets",
                _ => "",
            },
        }),
    }
}

fn tls_from_environment(surroundings: &dyn Surroundings) -> Result<Option<TlsFiles>, AddressError> {
    if surroundings.variable("DOCKER_TLS_VERIFY").is_none() {
        return Ok(None);
    }
    let directory = surroundings
        .variable("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .or_else(|| docker_directory(surroundings))
        .ok_or(AddressError::NoCertificates)?;
    Ok(Some(TlsFiles::in_directory(&directory)))
}

/// Where the docker command keeps its configuration.
pub(super) fn docker_directory(surroundings: &dyn Surroundings) -> Option<PathBuf> {
    surroundings
        .variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| surroundings.variable("HOME").map(|home| PathBuf::from(home).join(".docker")))
}

/// The current context and the directory that it is stored in; `None` is the default context.
fn current_context(
    directory: Option<&Path>,
    surroundings: &dyn Surroundings,
) -> Result<Option<(String, PathBuf)>, AddressError> {
    let named = surroundings.variable("DOCKER_CONTEXT");
    let Some(directory) = directory else {
        return match named.filter(|name| name != "default") {
            Some(name) => Err(AddressError::NoSuchContext { name, path: PathBuf::from("~/.docker") }),
            None => Ok(None),
        };
    };
    let name = match named {
        Some(name) => Some(name),
        None => read_json(&directory.join("config.json"), surroundings)?
            .and_then(|config| config["currentContext"].as_str().map(ToOwned::to_owned)),
    };
    Ok(name.filter(|name| !name.is_empty() && name != "default").map(|name| (name, directory.to_owned())))
}

/// `None` when the file does not exist.
fn read_json(
    path: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Option<serde_json::Value>, AddressError> {
    match surroundings.read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| AddressError::Json { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AddressError::Read { path: path.to_owned(), source }),
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
