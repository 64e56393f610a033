//! What the relay asks the program: what to do with a request, and what it tells it of a request's end.

use std::time::Duration;

use crate::{
    frame::ErrorCode,
    grpc::{Code, Copy, Status},
    head::{Amendments, Request},
    violation::{Peer, Violation},
};

/// The program's part in the life of one host connection.
///
/// All methods are called by the [`Connection`](crate::Connection) while it reads or writes: they return at once.
pub trait Policy {
    /// What the program keeps for a call, from its [`request`](Self::request) to its [`ended`](Self::ended).
    type Call;

    /// A request arrived: what is to become of it.
    fn request(&mut self, request: &Request<'_>) -> Decision<Self::Call>;

    /// A call that was let [pass](Decision::Pass) goes to the plugin now: once, right after [`request`](Self::request) or when it
    /// waited long enough. What is set on `amendments` replaces what the host sent.
    ///
    /// This is the last word: nothing reaches a plugin that was not asked about here, with that plugin bound.
    ///
    /// # Errors
    ///
    /// What becomes of the call where this plugin must not see it, or not yet.
    fn forward(
        &mut self,
        call: &mut Self::Call,
        request: &Request<'_>,
        amendments: &mut Amendments,
    ) -> Result<(), Stop>;

    /// A call has to wait, because there is no plugin yet or it takes no more calls: the longest time that it may, after which
    /// [`waited`](Self::waited) is asked. Its own time limit is kept to besides.
    ///
    /// # Errors
    ///
    /// The status that it ends with at once, where it is known already that waiting is of no use.
    fn may_wait(&mut self, call: &mut Self::Call, time_limit: Option<Duration>) -> Result<Duration, Status>;

    /// A call waits, and the prospects [changed](crate::Connection::reconsider): whether it goes on waiting, for at most the time that is
    /// `left` to it.
    ///
    /// # Errors
    ///
    /// The status that it ends with at once, where waiting is of no use any more.
    fn may_go_on(&mut self, call: &mut Self::Call, left: Duration) -> Result<(), Status>;

    /// A call waited as long as it might: the status that it ends with.
    fn waited(&mut self, call: &Self::Call) -> Status;

    /// A host's message arrived on a stream that is [served](Decision::Serve), before anything is read that was sent after it. The stream
    /// itself has it later.
    fn heard(&mut self, _call: &mut Self::Call, _message: &[u8]) {}

    /// A call is over, or, of one that was [served](Decision::Serve), its stream.
    fn ended(&mut self, call: Self::Call, ended: Ended);

    /// A peer's connection is ended because of what it did.
    ///
    /// Allowances are each connection's. A program that accepts the same host again at once gives it new ones: let it wait.
    fn violated(&mut self, by: Peer, violation: Violation);
}

/// What is to become of a request.
#[derive(Debug)]
pub enum Decision<C> {
    /// It is the plugin's. It waits while there is none.
    Pass {
        /// What the program keeps for it.
        call: C,
        /// What of it the program wants to see.
        observe: Observe,
    },
    /// It is answered with a status, and nothing else.
    Answer(Status),
    /// The program itself is the server. Such a stream never waits and has no time limit, and it outlives the plugin's connection.
    Serve(C),
}

/// What becomes of a call that does not go to the plugin that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It waits, and is asked about again whenever anything happens to its connection. So do those that came after it: a plugin takes
    /// streams in the order of their ids only.
    Wait,
    /// It is refused, after the host was told that this connection takes no more calls: it makes it again on its next one.
    Elsewhere,
    /// It ends with this.
    Answer(Status),
}

/// What of a call the program wants to see, at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observe {
    /// The request's body, if it is not longer.
    pub request: Option<usize>,
    /// The answer's body, if it is not longer.
    pub answer: Option<usize>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// With what.
    pub outcome: Outcome,
    /// The time it waited for the plugin.
    pub waited: Duration,
    /// The time from its first to its last frame.
    pub took: Duration,
    /// Bytes of its request's body.
    pub sent: u64,
    /// Bytes of its answer's body.
    pub received: u64,
    /// The request's body, where [`Observe`] asked for it.
    pub request: Option<Copy>,
    /// The answer's body, where [`Observe`] asked for it.
    pub answer: Option<Copy>,
}

/// With what a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered to the end.
    Answered(Code),
    /// The server answered as no gRPC server does: with this HTTP status, and no status of gRPC.
    NotGrpc(u16),
    /// The host reset it.
    Cancelled(ErrorCode),
    /// The plugin reset it.
    Reset(ErrorCode),
    /// Its time limit ended while it waited; answered by us.
    DeadlineExceeded,
    /// It might not wait, or not go on, waited too long, too many waited, or the plugin must not see it; answered by us.
    NotServed(Code),
    /// The plugin cannot have seen it: it was refused, so that the host may try again at no risk.
    Refused,
    /// The plugin's connection ended during the call; answered by us.
    PluginGone {
        /// Whether the plugin had begun to answer.
        begun: bool,
        /// Whether the answer ended within a message: then many hosts report the broken message, not the status.
        in_message: bool,
    },
    /// The host broke a rule for this stream: it was reset.
    Malformed,
    /// The host's connection ended.
    HostGone,
}

// === impl Stop ===

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Answer(status)
    }
}

// === impl Outcome ===

impl Outcome {
    /// A word for a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::NotGrpc(_) => "not_grpc",
            Self::Cancelled(_) => "cancelled",
            Self::Reset(_) => "reset",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotServed(_) => "not_served",
            Self::Refused => "refused",
            Self::PluginGone { .. } => "plugin_gone",
            Self::Malformed => "malformed",
            Self::HostGone => "host_gone",
        }
    }
}
