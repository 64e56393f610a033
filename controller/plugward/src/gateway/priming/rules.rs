//! Which methods prime a plugin.

use std::borrow::Cow;
use std::sync::Arc;

use plugward_api::PluginType;
use plugward_api::instance::Priming;

use crate::gateway::backend;
use crate::metrics::Class;

/// The calls by which hosts make a plugin usable, in the order in which they are made again. Clones share them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrimingRules {
    rules: Arc<[Rule]>,
    /// Methods that hosts call before they prime a plugin: it answers them in any state.
    preludes: &'static [&'static str],
    /// Whether these calls are made by the gateway itself, which knows their messages, and not relayed.
    made_here: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    method: Cow<'static, str>,
    /// What undoes it.
    until: Option<Cow<'static, str>>,
}

/// What a method is to the priming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Role {
    /// It primes the plugin.
    Primes,
    /// It undoes what primed it.
    Ends,
    /// A plugin that is not primed answers it, too.
    Prelude,
    /// It needs a plugin that is primed.
    Work,
}

// === impl Role ===

impl Role {
    /// What such requests are counted as.
    pub(in crate::gateway) const fn class(self) -> Class {
        match self {
            Self::Primes | Self::Ends => Class::Priming,
            Self::Prelude | Self::Work => Class::Work,
        }
    }
}

/// What any plugin answers in any state: it is asked about the process, or by people who look at it.
const ABOUT_THE_PROCESS: [&str; 4] = [
    "/pluginutil.multiplexing.PluginMultiplexing/",
    "/logical.PluginVersion/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

// === impl PrimingRules ===

impl PrimingRules {
    /// The rules of a plugin of this type, with those that its record declares.
    pub fn of(plugin_type: PluginType, declared: &[Priming]) -> Self {
        match plugin_type {
            PluginType::Database => Self {
                rules: Arc::new([Rule {
                    method: "/dbplugin.v5.Database/Initialize".into(),
                    until: Some("/dbplugin.v5.Database/Close".into()),
                }]),
                // Vault asks for the type before it initialises.
                preludes: &["/dbplugin.v5.Database/Type"],
                made_here: false,
            },
            PluginType::Custom => Self {
                rules: declared
                    .iter()
                    .map(|priming| Rule {
                        method: priming.method.to_string().into(),
                        until: priming.until.as_ref().map(|until| until.to_string().into()),
                    })
                    .collect(),
                preludes: &[],
                made_here: false,
            },
            PluginType::Auth | PluginType::Secret => Self {
                rules: [backend::SETUP, backend::INITIALIZE]
                    .map(|method| Rule { method: method.into(), until: Some(backend::CLEANUP.into()) })
                    .into(),
                preludes: &[],
                made_here: true,
            },
        }
    }

    /// What the method at this path is.
    pub(in crate::gateway) fn role(&self, path: &[u8]) -> Role {
        let is = |method: &str| method.as_bytes() == path;
        if self.rules.iter().any(|rule| is(&rule.method)) {
            Role::Primes
        } else if self.rules.iter().any(|rule| rule.until.as_deref().is_some_and(is)) {
            Role::Ends
        } else if self.preludes.iter().any(|method| is(method)) || is_about_the_process(path) {
            Role::Prelude
        } else {
            Role::Work
        }
    }

    /// Whether these calls are made by the gateway itself.
    pub(in crate::gateway) const fn are_made_here(&self) -> bool {
        self.made_here
    }

    /// The priming methods, in their order.
    pub(in crate::gateway) fn methods(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.method)
    }

    /// The priming methods that `path` undoes.
    pub(in crate::gateway) fn ended_by(&self, path: &str) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(move |rule| rule.until.as_deref() == Some(path)).map(|rule| &*rule.method)
    }
}

/// Whether a call is not about the application, so that no `multiplex_id` belongs to it: the multiplexing question, and reflection.
pub(in crate::gateway) fn is_application(path: &[u8]) -> bool {
    !is_about_the_process(path) || path.starts_with(b"/logical.")
}

fn is_about_the_process(path: &[u8]) -> bool {
    ABOUT_THE_PROCESS.iter().any(|service| path.starts_with(service.as_bytes()))
}
