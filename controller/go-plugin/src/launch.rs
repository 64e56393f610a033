//! What a plugin must find in its environment.

use std::{fmt::Write as _, iter};

/// Names of the environment variables by which host and plugin agree.
pub mod variable {
    pub(crate) const MIN_PORT: &str = "PLUGIN_MIN_PORT";
    pub(crate) const MAX_PORT: &str = "PLUGIN_MAX_PORT";
    /// The versions of the application's protocol that the host speaks, with commas between.
    pub const PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
    /// Whether the broker's servers share the plugin's one connection, as [`parse_bool`](crate::parse_bool) reads it.
    pub const MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
    /// The host's certificate, as PEM.
    pub const CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
    /// The group of sockets, by number or name.
    pub const UNIX_SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";
    pub(crate) const UNIX_SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";

    pub(crate) const ALL: [&str; 7] = [
        MIN_PORT,
        MAX_PORT,
        PROTOCOL_VERSIONS,
        MULTIPLEX_GRPC,
        CLIENT_CERT,
        UNIX_SOCKET_GROUP,
        UNIX_SOCKET_DIR,
    ];
}

/// The ports that go-plugin offers where plugins listen on TCP. Ours never do, but the variables are part
/// of every launch.
const PORTS: (u16, u16) = (10_000, 25_000);

/// The variable by which a plugin knows that a host started it, not a person.
///
/// It is no secret: its value is a constant of the application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cookie {
    key: String,
    value: String,
}

/// A cookie that no environment could hold, or that every plugin would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// go-plugin refuses to serve with an empty key.
    #[error("the cookie's key is empty")]
    EmptyKey,
    /// go-plugin refuses to serve with an empty value.
    #[error("the cookie's value is empty")]
    EmptyValue,
    /// `=` ends a variable's name, and NUL ends the variable.
    #[error("the cookie's key holds '=' or NUL, which no environment variable's name can")]
    KeyCharacter,
    /// NUL ends the variable.
    #[error("the cookie's value holds NUL, which no environment variable can")]
    ValueCharacter,
    /// The key is one of go-plugin's own variables.
    #[error("the cookie's key is a variable of go-plugin itself")]
    ReservedKey,
}

/// How a plugin is started: everything that go-plugin's own environment variables say.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The application's cookie.
    pub cookie: Cookie,
    /// The application protocol's versions on offer, in any order. The plugin serves its highest one that is among
    /// them, or its lowest if none is.
    pub protocol_versions: Vec<u32>,
    /// The directory for the plugin's sockets: absolute, and as the plugin sees it.
    pub socket_directory: String,
    /// The group that the plugin gives its sockets to, with mode 0660. Without it the mode follows the
    /// plugin's umask, so that usually only its own user can connect.
    pub socket_group: Option<u32>,
    /// The certificate that the plugin accepts its host by, as [`Identity::certificate_pem`] gives it. `None`
    /// is plaintext.
    ///
    /// [`Identity::certificate_pem`]: crate::Identity::certificate_pem
    pub client_certificate: Option<String>,
    /// Asks the plugin to carry brokered connections on its one socket.
    pub multiplex_broker: bool,
}

// === impl Cookie ===

impl Cookie {
    /// # Errors
    ///
    /// When no plugin could be started with it.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Result<Self, CookieError> {
        let (key, value) = (key.into(), value.into());
        if key.is_empty() {
            return Err(CookieError::EmptyKey);
        }
        if value.is_empty() {
            return Err(CookieError::EmptyValue);
        }
        if key.contains(['=', '\0']) {
            return Err(CookieError::KeyCharacter);
        }
        if value.contains('\0') {
            return Err(CookieError::ValueCharacter);
        }
        if variable::ALL.contains(&key.as_str()) {
            return Err(CookieError::ReservedKey);
        }
        Ok(Self { key, value })
    }

    /// For the cookies that this crate knows. They are tested to be valid.
    pub(crate) fn known(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned() }
    }

    /// The variable's name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The variable's value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

// === impl Launch ===

impl Launch {
    /// The variables to add to the plugin's environment. Each name is there exactly once: of duplicates some
    /// container runtimes pass the first on, some the last.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut versions = String::new();
        for version in &self.protocol_versions {
            let separator = if versions.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(versions, "{separator}{version}");
        }

        let always = [
            (self.cookie.key(), self.cookie.value().to_owned()),
            (variable::MIN_PORT, PORTS.0.to_string()),
            (variable::MAX_PORT, PORTS.1.to_string()),
            (variable::PROTOCOL_VERSIONS, versions),
            (variable::UNIX_SOCKET_DIR, self.socket_directory.clone()),
        ];
        // Absent or `true`, nothing else: a plugin takes any other text for half of a yes.
        let multiplex = self.multiplex_broker.then(|| (variable::MULTIPLEX_GRPC, "true".to_owned()));
        let certificate = self.client_certificate.clone().map(|pem| (variable::CLIENT_CERT, pem));
        let group = self.socket_group.map(|gid| (variable::UNIX_SOCKET_GROUP, gid.to_string()));

        iter::empty()
            .chain(always)
            .chain(multiplex)
            .chain(certificate)
            .chain(group)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests;
