//! Whether a host is let in: its launcher's greeting, its user, its environment.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use go_plugin::{Identity, Peer};
use plugward_api::status::EventType;
use plugward_api::{Name, PluginInstanceSpec};
use plugward_attach::{FromController, FromLauncher, VERSION};
use rand::Rng;
use tokio::time::{Instant, timeout};

use super::Attach;
use super::asks::Asks;
use super::caller::{Caller, Permission};
use super::launcher::Launcher;
use super::refusal::{NotBegun, Refusal};
use super::session::{Session, Standing};
use crate::desired;
use crate::errors::chain;
use crate::metrics::AttachRefusal;
use crate::names::SessionId;
use crate::recipe::Protocol;

/// How long a launcher may take to say what it wants, and a host's environment to arrive.
const GREETING: Duration = Duration::from_secs(5);

/// The longest name of an instance, in bytes.
const LONGEST_NAME: usize = 253;

/// How long a launcher waits for the records of a controller that has just begun.
const BEGINNING: Duration = Duration::from_secs(20);

/// What a launcher says first.
pub(super) struct Greeting {
    pub(super) versions: (u16, u16),
    pub(super) instance: String,
    /// Whether another controller had its session: then these are what it kept, and its host's socket.
    pub(super) resumes: bool,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A host that may attach.
pub(super) struct Admitted {
    pub(super) session: Arc<Session>,
    /// Towards the host.
    pub(super) identity: Identity,
    pub(super) peer: Peer,
    pub(super) spec: PluginInstanceSpec,
    /// When its launcher connected.
    pub(super) began: Instant,
}

impl Attach {
    /// What a launcher says first, if it is one.
    pub(super) async fn greeted(&self, launcher: &Launcher, caller: &Caller) -> Option<Greeting> {
        let message = match timeout(GREETING, launcher.receive()).await {
            Ok(Ok(Some((FromLauncher::Hello { versions, instance, resumes }, descriptors)))) => {
                if instance.len() <= LONGEST_NAME {
                    return Some(Greeting { versions, instance, resumes, descriptors });
                }
                format!(
                    "the name of an instance has at most {LONGEST_NAME} bytes, and not {}",
                    instance.len()
                )
            }
            // Who connects and goes away wants nothing.
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(_))) => "it did not begin with a greeting".to_owned(),
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("it said nothing within {GREETING:?}"),
        };
        tracing::debug!(message, "a connection to the attach socket is no launcher's");
        let message = format!("this is the socket of plugward-attach: {message}");
        self.refuse(launcher, None, caller, &Refusal::new(AttachRefusal::BadRequest, message));
        None
    }

    /// Tells a launcher that its host is not let in, and everybody else.
    pub(super) fn refuse(
        &self,
        launcher: &Launcher,
        instance: Option<&Name>,
        caller: &Caller,
        refusal: &Refusal,
    ) {
        let message = &refusal.message;
        if self.count_refused(caller, refusal)
            && let Some(instance) = instance
        {
            let message = format!("a host of user {} was refused: {message}", caller.user());
            self.view.book.event(instance, EventType::Warning, "AttachRefused", message);
        }
        launcher.tell(&FromController::Refuse { message: message.clone() });
    }

    /// Counts a host that is refused, and says so in the log, unless that was said often enough of its user just now: any user may come, as
    /// often as it likes. Whether it was said.
    pub(super) fn count_refused(&self, caller: &Caller, refusal: &Refusal) -> bool {
        let Refusal { reason, message } = refusal;
        self.view.metrics.attach_refused(*reason);
        let said = self.complaints.another(caller.uid);
        if said {
            let (reason, user) = (reason.as_str(), caller.user());
            tracing::warn!(reason, user, uid = caller.uid, pid = caller.pid, message, "a host is refused");
        }
        said
    }

    /// Lets in a host that starts its plugin, or does not. Says which instance it named, if there is such a one.
    pub(super) async fn admit(
        &self,
        launcher: &Launcher,
        caller: Caller,
        greeting: &Greeting,
        began: Instant,
    ) -> Result<Admitted, (Option<Name>, NotBegun)> {
        let (lowest, highest) = greeting.versions;
        if !(lowest..=highest).contains(&VERSION) {
            let message = format!(
                "this launcher speaks version {lowest} to {highest} of its protocol, and the controller (plugward {}) speaks {VERSION}: \
                 install both from the same release",
                env!("CARGO_PKG_VERSION")
            );
            return Err((None, Refusal::new(AttachRefusal::LauncherVersion, message).into()));
        }
        let permitted = self.permitted(&greeting.instance, &caller).await;
        let (instance, spec) = permitted.map_err(|(instance, refusal)| (instance, refusal.into()))?;
        let admitted = self.asked(launcher, caller, instance.clone(), spec, began).await;
        admitted.map_err(|not_begun| (Some(instance), not_begun))
    }

    /// The record that a launcher names, if it permits that.
    pub(super) async fn permitted(
        &self,
        name: &str,
        caller: &Caller,
    ) -> Result<(Name, PluginInstanceSpec), (Option<Name>, Refusal)> {
        // One that has just begun has not read them yet.
        let _ = timeout(BEGINNING, self.view.records.ready()).await;
        let Some((instance, spec)) = self.record(name) else {
            let message = format!(
                "there is no plugin instance {name:?}: declare it, or name another (`plugward get instances` shows them)"
            );
            return Err((None, Refusal::new(AttachRefusal::UnknownInstance, message)));
        };
        if !spec.attach.enabled {
            let message = format!(
                "hosts may not attach to plugin instance {instance}: set spec.attach.enabled to true in its manifest"
            );
            return Err((Some(instance), Refusal::new(AttachRefusal::NotEnabled, message)));
        }
        let user = caller.user();
        let refusal = match caller.permission(&spec.attach, self.us) {
            Permission::Granted => return Ok((instance, spec)),
            Permission::Denied { unknown } => {
                let unknown = match unknown.as_slice() {
                    [] => String::new(),
                    unknown => format!(
                        ". It names {}, of whom the controller finds nobody in /etc/passwd and /etc/group: name them by number",
                        unknown.join(", ")
                    ),
                };
                let message = format!(
                    "user {user} may not attach to plugin instance {instance}: name it in spec.attach.users, or one of its groups in \
                     spec.attach.groups{unknown}"
                );
                Refusal::new(AttachRefusal::NotPermitted, message)
            }
            Permission::Unreadable => {
                let message = format!(
                    "it is not known whether user {user} may attach to plugin instance {instance}: the controller cannot read \
                     /etc/passwd or /etc/group now. Try again, or name users and groups by number"
                );
                Refusal::new(AttachRefusal::NotReady, message)
            }
        };
        Err((Some(instance), refusal))
    }

    /// An instance's record, as it is declared now.
    pub(super) fn record(&self, name: &str) -> Option<(Name, PluginInstanceSpec)> {
        let name: Name = name.parse().ok()?;
        let spec = desired::declared_of(&name, &self.view.records, PluginInstanceSpec::clone)?;
        Some((name, spec))
    }

    /// Asks a host's environment what the host wants of its plugin.
    async fn asked(
        &self,
        launcher: &Launcher,
        caller: Caller,
        instance: Name,
        spec: PluginInstanceSpec,
        began: Instant,
    ) -> Result<Admitted, NotBegun> {
        let protocol = Protocol::of(&spec);
        let variables = Asks::variables(&protocol, &spec.attach.pass_env)?;
        launcher.tell(&FromController::Ask { version: VERSION, variables: variables.clone() });
        let found = match timeout(GREETING, launcher.receive()).await {
            Ok(Ok(Some((FromLauncher::Environment { variables }, _)))) => variables,
            Ok(Ok(None)) => return Err(NotBegun::Left),
            _ => return Err(Refusal::new(AttachRefusal::BadRequest, "the launcher did not answer").into()),
        };
        let environment: BTreeMap<String, Vec<u8>> =
            found.into_iter().filter(|(name, _)| variables.contains(name)).collect();
        let asks = Asks::of(&environment, &protocol, spec.plugin.plugin_type)?;
        let passed = spec.attach.pass_env.iter().filter_map(|name| {
            let value = environment.get(name.as_str())?;
            Some((name.to_string(), String::from_utf8_lossy(value).into_owned()))
        });
        let identity = Identity::generate().map_err(|error| {
            Refusal::new(AttachRefusal::NotReady, format!("no certificate can be made: {}", chain(&error)))
        })?;
        let peer = asks.peer(&identity)?;
        let id = SessionId::from_random(rand::rng().random());
        let now = self.clock.now();
        let session = Session::new(id, instance, caller, asks, passed.collect(), now, Standing::Starting);
        Ok(Admitted { session, identity, peer, spec, began })
    }
}
