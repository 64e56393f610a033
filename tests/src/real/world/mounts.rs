//! A world's mounts, and hosts on them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use go_plugin::{Address, Plugin, SocketAddress};
use plugward_api::SlotStatus;
use serde_json::Value;

use super::{LIMIT, World};
use crate::real::bare;
use crate::real::hosts::{BackendHost, CallbackHost, DatabaseHost, GenericHost, HostOptions};

/// What the README tells hosts: to watch themselves.
const OPTIONS: HostOptions =
    HostOptions { own_pid: true, user: None, private_tmp: None, environment: Vec::new() };

impl World {
    /// Where the socket of a mount is.
    pub fn mount_socket(&self, instance: &str, mount: &str) -> PathBuf {
        self.sockets().join("mounts").join(instance).join(format!("{mount}.sock"))
    }

    /// What `plugward get instance NAME -o reattach` prints.
    ///
    /// # Panics
    /// When it prints none.
    pub async fn reattach(&self, instance: &str) -> Value {
        let said = self.cli(&["get", "instance", instance, "-o", "reattach"]).await;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// A host of an instance's mounts that was started once. `None`, which is said, where there is no Go.
    pub async fn generic_host(&self, instance: &str) -> Option<GenericHost> {
        GenericHost::start(&self.reattach(instance).await, &OPTIONS)
    }

    /// The same, of mounts of the example plugin that may never have run.
    pub fn early_host(&self, instance: &str, mounts: &[&str]) -> Option<GenericHost> {
        GenericHost::start(&self.early(instance, mounts, 1), &OPTIONS)
    }

    /// A host of a database plugin's mounts that was started once. `None`, which is said, where there is no Go.
    pub async fn database_host(&self, instance: &str) -> Option<DatabaseHost> {
        DatabaseHost::start(&self.reattach(instance).await, &OPTIONS)
    }

    /// The same, of mounts that may never have run, of a database plugin that multiplexes.
    pub fn early_database_host(&self, instance: &str, mounts: &[&str]) -> Option<DatabaseHost> {
        DatabaseHost::start(&self.early(instance, mounts, 6), &OPTIONS)
    }

    /// A host of plugins that call it back, of an instance's mounts. `None`, which is said, where there is no Go.
    pub async fn callback_host(&self, instance: &str) -> Option<CallbackHost> {
        CallbackHost::start(&self.reattach(instance).await, &OPTIONS)
    }

    /// A host of secrets engines and auth methods, of an instance's mounts. `None`, which is said, where there is no Go.
    pub async fn backend_host(&self, instance: &str) -> Option<BackendHost> {
        BackendHost::start(&self.reattach(instance).await, &OPTIONS)
    }

    /// A host of a mount that is this process: it does on its connection what it is told to, whatever hosts do.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn wayward_host(&self, instance: &str, mount: &str) -> Plugin {
        let socket = self.mount_socket(instance, mount);
        let directory = socket.parent().expect("a socket lies in a directory");
        let address = Address::Unix(socket.display().to_string());
        let address = SocketAddress::translate(&address, directory, directory).unwrap();
        Plugin::connect(&address, None, LIMIT).await.unwrap()
    }

    fn early(&self, instance: &str, mounts: &[&str], version: u32) -> Value {
        let sockets: Vec<PathBuf> = mounts.iter().map(|mount| self.mount_socket(instance, mount)).collect();
        let described = mounts.iter().copied().zip(sockets.iter().map(PathBuf::as_path));
        bare::reattach(described, version, std::process::id())
    }

    /// Waits until the slots of an instance have these names, and all serve. Gives them by name.
    pub async fn until_slots_are(&self, instance: &str, names: &[&str]) -> BTreeMap<String, SlotStatus> {
        let generation = self.generation(instance).await;
        let status = self
            .until(instance, &format!("has the slots {names:?}"), |status| {
                status.observed_generation >= generation
                    && status.slots.iter().map(|slot| slot.name.as_str()).eq(names.iter().copied())
                    && status.slots.iter().all(|slot| !slot.mounts.is_empty())
            })
            .await;
        status.slots.into_iter().map(|slot| (slot.name.clone(), slot)).collect()
    }
}
