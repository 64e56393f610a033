//! What the records want of an instance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use plugward_api::instance::Mount;
use plugward_api::{Kind, Name, PluginInstance, PluginInstanceSpec, PluginRuntime, Record, RecordKey};
use plugward_runtime::Store;

use crate::engines::Host;
use crate::files::Files;
use crate::names::MountName;
use crate::recipe::{HashKey, Recipe, SpecHash};
use crate::slot::Edit;
use crate::source::{Declared, Reports};

/// The declared records, as the reconciler reads them.
pub type Records = Store<RecordKey, Declared>;

/// What the records want of an instance.
#[derive(Debug, Clone)]
pub enum Desired {
    /// There is no record: all of it goes.
    Absent,
    /// There is no record, and not every manifest directory was read yet: nothing is done.
    Undecided,
    /// The record cannot be acted on now: what it made of an earlier state of the records goes on.
    Kept(Declaration, KeptBecause),
    /// This.
    Wanted(Declaration, Wanted),
}

/// An instance's record.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The record.
    pub instance: Arc<Declared>,
    /// Its generation and its runtime's.
    pub edit: Edit,
}

/// Why a record cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptBecause {
    /// A file that it, or its runtime, names cannot be used. One sentence for each.
    FilesUnusable(Vec<String>),
    /// The runtime it names is not declared.
    RuntimeMissing(Name),
}

/// What a record that can be acted on wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What its containers are made from.
    pub recipe: Arc<Recipe>,
    /// The hash of that.
    pub hash: SpecHash,
    /// The engine to be on.
    pub host: Host,
    /// The mounts to serve.
    pub mounts: Vec<MountName>,
}

impl Desired {
    /// What `records` want of `instance`. `reports` tells whether one that is not there is really undeclared.
    pub fn of(instance: &Name, records: &Records, reports: &Reports, key: &HashKey) -> Self {
        let record = RecordKey { kind: Kind::PluginInstance, name: instance.clone() };
        let Some(declared) = records.get(&record) else {
            return if reports.read().may_remove(&record) { Self::Absent } else { Self::Undecided };
        };
        let Record::Instance(PluginInstance { spec, .. }) = declared.record.as_ref() else {
            return Self::Undecided;
        };
        let mut edit = Edit { instance: declared.generation, ..Edit::default() };
        let Some((runtime, generation)) = runtime(&spec.runtime, records) else {
            let declaration = Declaration { instance: declared.clone(), edit };
            return Self::Kept(declaration, KeptBecause::RuntimeMissing(spec.runtime.clone()));
        };
        edit.runtime = generation;
        let declaration = Declaration { instance: declared.clone(), edit };
        let files = match Files::read(spec, &runtime.spec) {
            Ok(files) => files,
            Err(errors) => {
                let errors = errors.iter().map(ToString::to_string).collect();
                return Self::Kept(declaration, KeptBecause::FilesUnusable(errors));
            }
        };
        let recipe = Recipe::of(spec, &runtime.spec, &files);
        let wanted = Wanted {
            hash: recipe.container.hash(key),
            recipe: Arc::new(recipe),
            host: host_of(&runtime),
            mounts: declared_mounts(spec),
        };
        Self::Wanted(declaration, wanted)
    }

    /// The record, where there is one.
    pub const fn declaration(&self) -> Option<&Declaration> {
        match self {
            Self::Absent | Self::Undecided => None,
            Self::Kept(declaration, _) | Self::Wanted(declaration, _) => Some(declaration),
        }
    }
}

impl Declaration {
    /// The instance.
    ///
    /// # Panics
    /// Never: a declaration is made of an instance's record only.
    pub fn record(&self) -> &PluginInstance {
        match self.instance.record.as_ref() {
            Record::Instance(instance) => instance,
            Record::Runtime(_) => unreachable!("a declaration is made of an instance's record"),
        }
    }
}

/// What an instance's record says now, if there is one.
pub fn declared_of<T>(
    instance: &Name,
    records: &Records,
    read: impl FnOnce(&PluginInstanceSpec) -> T,
) -> Option<T> {
    let key = RecordKey { kind: Kind::PluginInstance, name: instance.clone() };
    match records.get(&key)?.record.as_ref() {
        Record::Instance(instance) => Some(read(&instance.spec)),
        Record::Runtime(_) => None,
    }
}

/// The runtime of a name, and its generation: a declared one, or the built-in `default` (generation 0).
pub fn runtime(name: &Name, records: &Records) -> Option<(PluginRuntime, u64)> {
    let key = RecordKey { kind: Kind::PluginRuntime, name: name.clone() };
    let declared = records.get(&key);
    match declared.as_deref().map(|declared| (declared.record.as_ref(), declared.generation)) {
        Some((Record::Runtime(runtime), generation)) => Some((runtime.clone(), generation)),
        _ => Some(PluginRuntime::built_in())
            .filter(|built_in| built_in.metadata.name == *name)
            .map(|it| (it, 0)),
    }
}

/// The address of a runtime's engine.
pub fn host_of(runtime: &PluginRuntime) -> Host {
    runtime.spec.engine.host.as_ref().map(ToString::to_string)
}

/// The addresses of engines that the records want: of every declared runtime, and of the built-in one where
/// an instance uses it.
pub fn hosts(records: &Records) -> BTreeSet<Host> {
    let mut hosts = BTreeSet::new();
    for (_, declared) in records.snapshot() {
        match declared.record.as_ref() {
            Record::Runtime(runtime) => {
                hosts.insert(host_of(runtime));
            }
            Record::Instance(instance) => {
                hosts.extend(runtime(&instance.spec.runtime, records).map(|(runtime, _)| host_of(&runtime)));
            }
        }
    }
    hosts
}

/// The directories for plugins' sockets that declared runtimes name.
pub fn socket_directories(records: &Records) -> BTreeSet<PathBuf> {
    let named = records.snapshot().into_iter().filter_map(|(_, declared)| match declared.record.as_ref() {
        Record::Runtime(runtime) => {
            runtime.spec.engine.socket_directory.as_ref().map(|directory| directory.as_path().to_owned())
        }
        Record::Instance(_) => None,
    });
    named.collect()
}

/// The instances that name a runtime.
pub fn instances_of(runtime: &Name, records: &Records) -> Vec<Name> {
    instances(records, |named| named == runtime)
}

/// The instances whose runtime's engine is at an address.
pub fn instances_on(host: &Host, records: &Records) -> Vec<Name> {
    let mut known: BTreeMap<Name, bool> = BTreeMap::new();
    instances(records, |named| {
        *known
            .entry(named.clone())
            .or_insert_with(|| runtime(named, records).is_some_and(|(runtime, _)| host_of(&runtime) == *host))
    })
}

/// All mounts that are declared: instance and mount.
pub fn mounts(records: &Records) -> BTreeSet<(Name, Name)> {
    let mut mounts = BTreeSet::new();
    for (_, declared) in records.snapshot() {
        if let Record::Instance(instance) = declared.record.as_ref() {
            let name = |mount: &Mount| (instance.metadata.name.clone(), mount.name.clone());
            mounts.extend(instance.spec.mounts.iter().map(name));
        }
    }
    mounts
}

fn instances(records: &Records, mut wanted: impl FnMut(&Name) -> bool) -> Vec<Name> {
    let names = records.snapshot().into_iter().filter_map(|(_, declared)| match declared.record.as_ref() {
        Record::Instance(instance) if wanted(&instance.spec.runtime) => Some(instance.metadata.name.clone()),
        _ => None,
    });
    names.collect()
}

/// The mounts that a record declares.
pub fn declared_mounts(spec: &PluginInstanceSpec) -> Vec<MountName> {
    spec.mounts.iter().map(|mount| MountName::Declared(mount.name.clone())).collect()
}
