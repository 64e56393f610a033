//! What is kept of one mount.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use plugward_relay::{Request, grpc};
use zeroize::Zeroizing;

use super::rules::PrimingRules;
use super::told::KeptPriming;
use crate::gateway::broker::HostBroker;
use crate::gateway::followed::TraceId;
use crate::gateway::multiplex::{self, HostId};

/// What hosts told the plugin of one mount.
///
/// # Bounds
///
/// A call is kept up to [`Kept::LARGEST`] bytes, and of a mount up to [`Kept::MOST_HOSTS`] users and [`Kept::MOST_BYTES`] bytes. What is
/// beyond was still answered by the plugin, but cannot be told to the next one: there its host has to say it again.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Kept {
    hosts: BTreeMap<HostId, HostCalls>,
    /// Users that nothing is known of were primed on the container of this start: an earlier controller said so, or there were too many.
    recalled: Option<u64>,
    versions: u64,
    bytes: usize,
}

/// The calls of one user.
#[derive(Debug, Default)]
struct HostCalls {
    /// Tells one state of this from the next.
    version: u64,
    calls: BTreeMap<String, Told>,
}

/// What is known of one priming call that succeeded.
#[derive(Debug)]
enum Told {
    Call(Arc<KeptCall>),
    /// It was not kept. The container that was told it is this one.
    Lost {
        on: u64,
    },
}

/// A priming call as it can be made again. In no `Debug`, and cleared when dropped.
pub(in crate::gateway) struct KeptCall {
    metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
    message: Arc<Zeroizing<Vec<u8>>>,
    /// The broker of the host that made it, where that may matter.
    broker: Option<Arc<HostBroker>>,
}

/// Why a priming call is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum Unkept {
    /// It is too large.
    #[error("its request is larger than {} bytes", Kept::LARGEST)]
    TooLarge,
    /// A stream, or a compressed message.
    #[error("its request is not one message without compression")]
    NotOneMessage,
    /// There are too many already.
    #[error("the mount has more to keep than {} bytes, or of {} users", Kept::MOST_BYTES, Kept::MOST_HOSTS)]
    TooMany,
}

// === impl Kept ===

impl Kept {
    /// The largest request that is kept, in bytes.
    pub(in crate::gateway) const LARGEST: usize = 256 << 10;
    /// The users of one mount whose calls are kept.
    pub(in crate::gateway) const MOST_HOSTS: usize = 1024;
    /// The bytes that are kept of one mount.
    pub(in crate::gateway) const MOST_BYTES: usize = 4 << 20;

    /// Of a mount of which an earlier controller remembered this start.
    pub(in crate::gateway) fn recalling(start: Option<u64>) -> Self {
        Self { recalled: start, ..Self::default() }
    }

    /// What an earlier controller knew of a session, all of it.
    pub(in crate::gateway) fn restored(told: Vec<KeptPriming>) -> Self {
        let mut kept = Self::default();
        for KeptPriming { user, method, metadata, message } in told {
            let call = KeptCall { metadata, message: Arc::new(message), broker: None };
            // It was kept within the same bounds.
            let _ = kept.keep(&HostId::from_bytes(user), &method, Ok(call), (0, 0));
        }
        kept
    }

    /// What another controller would have to tell again. `None` where that is not known, or cannot be told without its host's broker.
    pub(in crate::gateway) fn storable(&self) -> Option<Vec<KeptPriming>> {
        if self.recalled.is_some() {
            return None;
        }
        let calls = self
            .hosts
            .iter()
            .flat_map(|(host, calls)| calls.calls.iter().map(move |(method, told)| (host, method, told)));
        calls
            .map(|(host, method, told)| match told {
                Told::Call(call) if call.broker.is_none() => Some(KeptPriming {
                    user: host.bytes().map(<[u8]>::to_vec),
                    method: method.clone(),
                    metadata: call.metadata.clone(),
                    message: (*call.message).clone(),
                }),
                Told::Call(_) | Told::Lost { .. } => None,
            })
            .collect()
    }

    /// A priming call succeeded on a container. Gives the version that this container has now.
    ///
    /// # Errors
    ///
    /// Why it was not kept. It is known that it was made, all the same.
    pub(in crate::gateway) fn keep(
        &mut self,
        host: &HostId,
        method: &str,
        call: Result<KeptCall, Unkept>,
        (serial, start): (u64, u64),
    ) -> (u64, Result<(), Unkept>) {
        self.forget(host, method);
        let known = self.hosts.contains_key(host);
        let call = call.and_then(|call| {
            let fits = self.bytes + host.len() + call.size() <= Self::MOST_BYTES
                && (known || self.hosts.len() < Self::MOST_HOSTS);
            if fits { Ok(call) } else { Err(Unkept::TooMany) }
        });
        if !known && self.hosts.len() >= 2 * Self::MOST_HOSTS {
            // Not even a note fits: of whom there is none, it is only known that this container needs nothing.
            self.recalled = Some(start);
            return (self.versions, Err(Unkept::TooMany));
        }
        self.versions += 1;
        let calls = self.hosts.entry(host.clone()).or_default();
        calls.version = self.versions;
        let (told, kept) = match call {
            Ok(call) => {
                self.bytes += host.len() + call.size();
                (Told::Call(Arc::new(call)), Ok(()))
            }
            Err(why) => (Told::Lost { on: serial }, Err(why)),
        };
        calls.calls.insert(method.to_owned(), told);
        if *host == HostId::NONE {
            // Of a host without ids this is all there is to know.
            self.recalled = None;
        }
        (self.versions, kept)
    }

    /// A host undid these priming calls.
    pub(in crate::gateway) fn end<'a>(&mut self, host: &HostId, methods: impl Iterator<Item = &'a str>) {
        for method in methods {
            self.forget(host, method);
        }
        if *host == HostId::NONE {
            self.recalled = None;
        }
        if self.recalled.is_none() {
            self.hosts.retain(|_, calls| !calls.calls.is_empty());
        } else if self.hosts.len() < Self::MOST_HOSTS {
            // Of this one it is known that nothing is to be told.
            self.hosts.entry(host.clone()).or_default();
        }
    }

    /// A host's broker has ended: what was set up with that is of no use any more.
    pub(in crate::gateway) fn abandon(&mut self, broker: &Arc<HostBroker>) {
        let is_its = |told: &Told| matches!(told, Told::Call(call) if call.broker.as_ref().is_some_and(|its| Arc::ptr_eq(its, broker)));
        let gone: Vec<(HostId, String)> = self
            .hosts
            .iter()
            .flat_map(|(host, calls)| calls.calls.iter().map(move |(method, told)| (host, method, told)))
            .filter(|(_, _, told)| is_its(told))
            .map(|(host, method, _)| (host.clone(), method.clone()))
            .collect();
        for (host, method) in gone {
            self.forget(&host, &method);
        }
        self.hosts.retain(|_, calls| !calls.calls.is_empty());
    }

    /// Other rules hold: what primes no more is dropped.
    pub(in crate::gateway) fn apply(&mut self, rules: &PrimingRules) {
        let hosts: Vec<HostId> = self.hosts.keys().cloned().collect();
        for host in hosts {
            let gone: Vec<String> = self.hosts[&host]
                .calls
                .keys()
                .filter(|method| !rules.methods().any(|known| known == method.as_str()))
                .cloned()
                .collect();
            for method in gone {
                self.forget(&host, &method);
            }
        }
        self.hosts.retain(|_, calls| !calls.calls.is_empty());
    }

    fn forget(&mut self, host: &HostId, method: &str) {
        let Some(calls) = self.hosts.get_mut(host) else { return };
        if let Some(Told::Call(call)) = calls.calls.remove(method) {
            self.bytes -= host.len() + call.size();
        }
    }

    /// Whether there is nothing to be told, as far as is known.
    pub(in crate::gateway) fn is_nothing(&self) -> bool {
        self.recalled.is_none() && self.hosts.is_empty()
    }

    /// The users that a new container is to be told something of, each with the version of that.
    pub(in crate::gateway) fn hosts(&self) -> impl Iterator<Item = (&HostId, u64)> {
        self.hosts
            .iter()
            .filter(|(_, calls)| calls.calls.values().any(|told| matches!(told, Told::Call(_))))
            .map(|(host, calls)| (host, calls.version))
    }

    /// The version of what a container is to be told of this user. `None` if that is nothing.
    pub(in crate::gateway) fn version(&self, host: &HostId) -> Option<u64> {
        let calls = self.hosts.get(host)?;
        calls.calls.values().any(|told| matches!(told, Told::Call(_))).then_some(calls.version)
    }

    /// The calls to make for this user, in the order of the rules.
    pub(in crate::gateway) fn calls(
        &self,
        host: &HostId,
        rules: &PrimingRules,
    ) -> Vec<(String, Arc<KeptCall>)> {
        let Some(calls) = self.hosts.get(host) else { return Vec::new() };
        rules
            .methods()
            .filter_map(|method| match calls.calls.get(method)? {
                Told::Call(call) => Some((method.to_owned(), call.clone())),
                Told::Lost { .. } => None,
            })
            .collect()
    }

    /// Whether all that this user told the plugin is known, or the container is one that was told it.
    pub(in crate::gateway) fn knows(&self, host: &HostId, serial: u64, start: u64) -> bool {
        match self.hosts.get(host) {
            Some(calls) => {
                calls.calls.values().all(|told| !matches!(told, Told::Lost { on } if *on != serial))
            }
            None => self.recalled.is_none_or(|recalled| recalled == start),
        }
    }

    /// Whether a container can be made what the one before it was.
    pub(in crate::gateway) fn knows_enough(&self, serial: u64, start: u64) -> bool {
        if self.hosts.is_empty() {
            return self.knows(&HostId::NONE, serial, start);
        }
        self.hosts.keys().all(|host| self.knows(host, serial, start))
    }

    /// Whether each user is known, one that has not called yet included.
    pub(in crate::gateway) fn knows_all(&self, serial: u64, start: u64) -> bool {
        self.recalled.is_none_or(|recalled| recalled == start) && self.knows_enough(serial, start)
    }
}

// === impl KeptCall ===

impl KeptCall {
    /// The metadata of a request that matters when it is made again: not what is about the connection or the time, and not the id, which
    /// is the mount's.
    pub(in crate::gateway) fn metadata(request: &Request<'_>) -> Vec<(String, Zeroizing<Vec<u8>>)> {
        request
            .fields()
            .filter(|field| {
                !matches!(field.name, b"te" | b"content-type" | b"content-length" | b"user-agent")
                    && field.name != multiplex::KEY.as_bytes()
                    && !field.name.starts_with(b":")
                    && !field.name.starts_with(b"grpc-")
            })
            .map(|field| {
                (String::from_utf8_lossy(field.name).into_owned(), Zeroizing::new(field.value.to_vec()))
            })
            .collect()
    }

    /// The trace that the host's own call was part of.
    pub(in crate::gateway) fn trace(&self) -> Option<TraceId> {
        TraceId::among(self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
    }

    /// A call with this metadata and this body.
    ///
    /// # Errors
    ///
    /// Why it cannot be kept.
    pub(in crate::gateway) fn of(
        metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
        body: Option<&[u8]>,
    ) -> Result<Self, Unkept> {
        let body = body.ok_or(Unkept::TooLarge)?;
        let (head, message) =
            body.split_first_chunk::<{ grpc::MESSAGE_HEAD }>().ok_or(Unkept::NotOneMessage)?;
        let [0, a, b, c, d] = *head else { return Err(Unkept::NotOneMessage) };
        if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
            return Err(Unkept::NotOneMessage);
        }
        Ok(Self { metadata, message: Arc::new(Zeroizing::new(message.to_vec())), broker: None })
    }

    /// A call that the gateway made for a host with this broker.
    pub(in crate::gateway) fn made(
        metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
        message: Arc<Zeroizing<Vec<u8>>>,
        broker: Option<Arc<HostBroker>>,
    ) -> Self {
        Self { metadata, message, broker }
    }

    /// The broker of the host that made it.
    pub(in crate::gateway) fn broker(&self) -> Option<&Arc<HostBroker>> {
        self.broker.as_ref()
    }

    /// The metadata.
    pub(in crate::gateway) fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The message, without gRPC's head.
    pub(in crate::gateway) fn message(&self) -> Arc<Zeroizing<Vec<u8>>> {
        self.message.clone()
    }

    fn size(&self) -> usize {
        self.message.len() + self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

impl fmt::Debug for KeptCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptCall(hidden)")
    }
}
