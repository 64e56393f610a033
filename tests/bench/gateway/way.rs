//! Ways from a host to a plugin.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use go_plugin::external::rustls::ClientConfig;
use go_plugin::{Address, Channel, Handshake, Identity, Plugin, SocketAddress};
use plugward::names::PLUGIN_SIDE_DIRECTORY;
use plugward::slot::Slot;
use plugward_tests::real::World;
use serde_json::Value;
use tokio::runtime;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A way to a plugin.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// What it is, for the table.
    pub(crate) name: String,
    address: SocketAddress,
    tls: Option<Arc<ClientConfig>>,
}

// === impl Way ===

impl Way {
    /// To what serves in plaintext on a socket.
    pub(crate) fn plain(name: &str, socket: &Path) -> Self {
        let directory = socket.parent().expect("a socket lies in a directory");
        let address = Address::Unix(socket.to_str().expect("our paths are text").to_owned());
        let address = SocketAddress::translate(&address, directory, directory).unwrap();
        Self { name: name.to_owned(), address, tls: None }
    }

    /// To a mount's socket.
    pub(crate) fn mount(world: &World, instance: &str, mount: &str) -> Self {
        Self::plain("mount socket", &mount_socket(world, instance, mount))
    }

    /// To the container of a slot, with the identity that the controller has for it.
    pub(crate) fn direct(slot_file: &Path) -> Self {
        let stored: Value = serde_json::from_slice(&fs::read(slot_file).unwrap()).unwrap();
        let slot: Slot = serde_json::from_value(stored["data"].clone()).unwrap();
        let start = slot.current.expect("the plugin runs");
        let line = start.handshake.expect("the plugin is ready");
        let handshake = Handshake::parse(line.as_bytes()).unwrap();
        let inside = Path::new(PLUGIN_SIDE_DIRECTORY);
        let certificate = handshake.server_certificate.expect("the plugin uses AutoMTLS");
        let identity = Identity::from_pem(start.identity.reveal()).unwrap();
        Self {
            name: "direct mTLS".to_owned(),
            address: SocketAddress::translate(&handshake.address, inside, &start.directory).unwrap(),
            tls: Some(Arc::new(identity.client_config(&certificate).unwrap())),
        }
    }

    /// Connects by it.
    pub(crate) async fn plugin(&self) -> Plugin {
        Plugin::connect(&self.address, self.tls.clone(), CONNECT_LIMIT).await.unwrap()
    }

    /// A connection for calls.
    pub(crate) async fn connect(&self) -> Channel {
        self.plugin().await.channel()
    }
}

/// The socket of a mount.
pub(crate) fn mount_socket(world: &World, instance: &str, mount: &str) -> PathBuf {
    world.sockets().join("mounts").join(instance).join(format!("{mount}.sock"))
}

/// What the controller remembers of the only slot of an instance.
pub(crate) fn slot_file(world: &World, instance: &str) -> PathBuf {
    let slots = fs::read_dir(world.state().join("slots").join(instance)).unwrap();
    let [slot] = slots.map(|slot| slot.unwrap().path()).collect::<Vec<_>>().try_into().expect("one slot");
    slot
}

/// Runs a load on a thread of its own, which is all that it has.
pub(crate) async fn on_one_thread<T: Send + 'static>(load: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(load())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}
