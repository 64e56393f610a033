//! What a program in Go is told: the client that starts the launcher.

use go_plugin::Application;
use plugward_api::PluginType;

use super::Known;

/// The whole text.
pub(super) fn told(known: &Known) -> String {
    let Known { instance, plugin, launcher, .. } = known;
    let words: Vec<String> = std::iter::once(launcher.path.display().to_string())
        .chain(known.named_arguments())
        .map(|word| go_string(&word))
        .collect();
    let (cookie, versions) = handshake(known);
    let private = if launcher.for_everybody {
        ""
    } else {
        "// Not every user may read and run this launcher: chmod 0755, if the host's cannot.\n"
    };
    format!(
        "// The host uses instance {instance} ({of_type} plugin {name} {version}) by starting the launcher as its binary.\n\
         // May attach: {permitted}. The host must run as such a user, on this machine.\n\
         {private}{warnings}\
         // Imports: crypto/sha256, encoding/hex, os/exec, github.com/hashicorp/go-plugin.\n\
         checksum, err := hex.DecodeString(\"{sha256}\")\n\
         if err != nil {{\n\
         \treturn err\n\
         }}\n\
         client := plugin.NewClient(&plugin.ClientConfig{{\n\
         \tCmd: exec.Command({words}),\n\
         \tHandshakeConfig: plugin.HandshakeConfig{{\n\
         {cookie}\
         \t}},\n\
         \tVersionedPlugins: map[int]plugin.PluginSet{{{versions}}}, // the host's own: its plugins by the version of their protocol\n\
         \tAllowedProtocols: []plugin.Protocol{{plugin.ProtocolGRPC}},\n\
         \tAutoMTLS:         true,\n\
         \tSecureConfig:     &plugin.SecureConfig{{Checksum: checksum, Hash: sha256.New()}},\n\
         }})\n",
        of_type = plugin.plugin_type,
        name = plugin.name,
        version = plugin.version,
        permitted = known.permitted(),
        warnings = known.warnings("//"),
        sha256 = launcher.sha256,
        words = words.join(", "),
    )
}

/// The lines of the cookie, and the plugins by version. A custom plugin's cookie is its record's, which nobody is told.
fn handshake(known: &Known) -> (String, String) {
    let lines = |key: &str, value: &str| {
        format!("\t\tMagicCookieKey:   {},\n\t\tMagicCookieValue: {value}\n", go_string(key))
    };
    let application = match known.plugin.plugin_type {
        PluginType::Database => Application::Database,
        PluginType::Auth | PluginType::Secret => Application::Backend,
        PluginType::Custom => {
            let key = known.handshake.as_ref().map(|handshake| handshake.cookie_key.to_string());
            let versions = known.handshake.as_ref().map(|handshake| &handshake.protocol_versions[..]);
            let value = "cookieValue, // spec.handshake.cookieValue of the record";
            return (lines(&key.unwrap_or_default(), value), plugins(versions.unwrap_or_default()));
        }
    };
    let cookie = application.cookie();
    (
        lines(cookie.key(), &format!("{},", go_string(cookie.value()))),
        plugins(application.protocol_versions()),
    )
}

/// `5: pluginsV5, 6: pluginsV6`
fn plugins(versions: &[u32]) -> String {
    let plugins = versions.iter().map(|version| match versions.len() {
        1 => format!("{version}: plugins"),
        _ => format!("{version}: pluginsV{version}"),
    });
    plugins.collect::<Vec<_>>().join(", ")
}

/// A string of Go's.
fn go_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}
