//! The small string types that fields of both kinds are made of.

use crate::text::{Invalid, Text, text_type};

text_type! {
    /// An absolute path on the machine that plugward runs on.
    AbsolutePath
}

text_type! {
    /// The name of an environment variable: letters, digits and `_`, not beginning with a digit.
    EnvName
}

// === impl AbsolutePath ===

impl AbsolutePath {
    /// The path.
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(self.as_str())
    }
}

impl Text for AbsolutePath {
    const FORMAT: &'static str = "absolute-path";
    const PATTERN: &'static str = r"^/[^\x00]*$";
    const MAX_LENGTH: usize = 4095;
    const EXAMPLE: &'static str = "/etc/plugward/secrets/orders.env";

    fn check(text: &str) -> Result<(), Invalid> {
        if text.contains('\0') {
            return Err(Invalid::new("holds a NUL character, which no path can"));
        }
        if !text.starts_with('/') {
            return Err(Invalid::new(format!("{text:?} is not an absolute path")).help("begin it with '/'"));
        }
        Ok(())
    }
}

// === impl EnvName ===

impl Text for EnvName {
    const FORMAT: &'static str = "env-name";
    const PATTERN: &'static str = r"^[A-Za-z_][A-Za-z0-9_]*$";
    const MAX_LENGTH: usize = 255;
    const EXAMPLE: &'static str = "LOG_LEVEL";

    fn check(text: &str) -> Result<(), Invalid> {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !text.is_empty() && text.chars().all(name) && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(());
        }
        let invalid = Invalid::new(format!("{text:?} is not the name of an environment variable"));
        Err(match text.split_once('=') {
            Some((name, _)) => invalid.help(format!("write the name alone, {name:?}")),
            None => invalid.help("use letters, digits and '_', and do not begin with a digit"),
        })
    }
}
