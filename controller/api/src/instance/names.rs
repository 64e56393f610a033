//! The small string types of an instance.

use crate::{
    field::EnvName,
    text::{Invalid, Text, text_type},
};

text_type! {
    /// The name of a plugin, as its host knows it.
    PluginName
}

text_type! {
    /// The version of a plugin, as its host knows it: `v0.5.0`.
    PluginVersion
}

text_type! {
    /// The full name of a gRPC method: `/package.Service/Method`.
    MethodPath
}

text_type! {
    /// The name or number of a user or group of this machine.
    Account
}

// === impl PluginName ===

impl Text for PluginName {
    const FORMAT: &'static str = "plugin-name";
    const PATTERN: &'static str = r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$";
    const MAX_LENGTH: usize = 128;
    const EXAMPLE: &'static str = "redis-database-plugin";

    fn check(text: &str) -> Result<(), Invalid> {
        let edge = |c: char| c.is_ascii_alphanumeric();
        let inner = |c: char| edge(c) || matches!(c, '_' | '.' | '-');
        if text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inner) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not the name of a plugin"))
            .help("use letters, digits, '_', '.' and '-', with a letter or digit at both ends"))
    }
}

// === impl PluginVersion ===

impl Text for PluginVersion {
    const FORMAT: &'static str = "plugin-version";
    const PATTERN: &'static str = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$";
    const MAX_LENGTH: usize = 128;
    const EXAMPLE: &'static str = "v0.5.0";

    fn check(text: &str) -> Result<(), Invalid> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not a version")).help("write it like v0.5.0"))
    }
}

// === impl MethodPath ===

impl Text for MethodPath {
    const FORMAT: &'static str = "grpc-method";
    const PATTERN: &'static str =
        r"^/[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*$";
    const MAX_LENGTH: usize = 1024;
    const EXAMPLE: &'static str = "/proto.Counter/Configure";

    fn check(text: &str) -> Result<(), Invalid> {
        let identifier = |text: &str| EnvName::check(text).is_ok();
        let parts = text.strip_prefix('/').and_then(|path| path.split_once('/'));
        if parts.is_some_and(|(service, method)| service.split('.').all(identifier) && identifier(method)) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not the path of a method"))
            .help("write /package.Service/Method"))
    }
}

// === impl Account ===

impl Text for Account {
    const FORMAT: &'static str = "account";
    const PATTERN: &'static str = r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*[$]?$";
    const MAX_LENGTH: usize = 256;
    const EXAMPLE: &'static str = "openbao";

    fn check(text: &str) -> Result<(), Invalid> {
        let name = text.strip_suffix('$').unwrap_or(text);
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.starts_with(first) && name.chars().all(|c| first(c) || matches!(c, '.' | '@' | '-')) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not the name of a user or group"))
            .help("write a name as in /etc/passwd or /etc/group, or a number in quotes"))
    }
}
