//! How a start becomes a container: the one place that knows what a plugin's container is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use go_plugin::{CookieError, Launch};
use plugward_api::Name;
use plugward_engine::ContainerSpec;
use plugward_engine::container::{Bind, LogRotation, Resources, Seccomp, Security};

use crate::names::{ClusterId, PLUGIN_SIDE_DIRECTORY, SlotName, instance_selector, label};
use crate::recipe::{ContainerRecipe, SeccompRecipe, SecurityRecipe};
use crate::slot::Start;

/// The capability to lock memory.
pub const IPC_LOCK: &str = "IPC_LOCK";

/// The container of a start, made from `image`. `certificate` is ours, as PEM.
///
/// # Errors
/// When the declared cookie is one that no environment can hold.
pub fn container_spec(
    cluster: &ClusterId,
    instance: &Name,
    slot: &SlotName,
    start: &Start,
    image: &str,
    certificate: String,
) -> Result<ContainerSpec, CookieError> {
    let recipe = &start.recipe.container;
    let mut labels: BTreeMap<String, String> = start.recipe.labels.iter().cloned().collect();
    labels.extend(instance_selector(cluster, instance));
    labels.insert(label::SLOT.to_owned(), slot.to_string());
    labels.insert(label::SPEC_HASH.to_owned(), start.hash.to_string());
    labels.insert(label::PID.to_owned(), std::process::id().to_string());
    Ok(ContainerSpec {
        image: image.to_owned(),
        entrypoint: recipe.command.clone(),
        args: recipe.args.clone(),
        env: environment(start, certificate)?,
        labels,
        oci_runtime: recipe.oci_runtime.clone(),
        network: recipe.network.clone().unwrap_or_else(|| "bridge".to_owned()),
        resources: Resources {
            nano_cpus: recipe.nano_cpus,
            memory_bytes: recipe.memory_bytes,
            pids: recipe.pids,
        },
        binds: vec![Bind { source: start.directory.clone(), target: PathBuf::from(PLUGIN_SIDE_DIRECTORY) }],
        log: LogRotation { max_size_bytes: recipe.log.max_size_bytes, max_files: recipe.log.max_files },
        groups: start.group_inside().into_iter().collect(),
        capabilities: capabilities(recipe),
        security: security(&recipe.security),
        // The directory of the socket lies beneath it, bound.
        tmpfs: recipe.security.read_only_root.then(|| PathBuf::from("/tmp")).into_iter().collect(),
        cgroup_parent: recipe.cgroup_parent.clone(),
    })
}

/// The capabilities that a plugin keeps. They are its own only where it is root, or its program's file has them.
fn capabilities(recipe: &ContainerRecipe) -> Vec<String> {
    // The second, so that it may use a directory that belongs to another user.
    let kept = [(recipe.mlock, IPC_LOCK), (recipe.rootless, "DAC_OVERRIDE")];
    kept.into_iter().filter(|(keeps, _)| *keeps).map(|(_, name)| name.to_owned()).collect()
}

fn security(recipe: &SecurityRecipe) -> Security {
    Security {
        no_new_privileges: !recipe.new_privileges,
        read_only_root: recipe.read_only_root,
        seccomp: match &recipe.seccomp {
            SeccompRecipe::Default => Seccomp::Default,
            SeccompRecipe::Unconfined => Seccomp::Unconfined,
            SeccompRecipe::Profile(profile) => Seccomp::Profile(profile.clone()),
        },
    }
}

/// What the plugin finds in its environment. The protocol's variables win over declared ones: each is there once.
fn environment(start: &Start, certificate: String) -> Result<Vec<(String, String)>, CookieError> {
    let recipe = &start.recipe.container;
    let launch = Launch {
        cookie: recipe.protocol.cookie()?,
        protocol_versions: recipe.protocol.versions().to_vec(),
        socket_directory: PLUGIN_SIDE_DIRECTORY.to_owned(),
        socket_group: start.group_inside(),
        client_certificate: Some(certificate),
        multiplex_broker: recipe.broker.asks(),
    };
    let mut variables: BTreeMap<String, String> = recipe.env.clone();
    variables.extend(recipe.protocol.environment(recipe.mlock));
    variables.extend(launch.environment());
    Ok(variables.into_iter().collect())
}
