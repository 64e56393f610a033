//! The connection on tokio: one task that moves bytes between two transports and a [`Connection`].
//!
//! What arrives is handed on at once, and what is to be written goes out in as few writes as it fits in: many calls in flight share a
//! system call. Neither transport is ever left unread.

mod serving;
#[cfg(test)]
mod tests;
mod transport;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

pub use self::serving::{Gone, ServedStream};
use self::{
    serving::Serving,
    transport::{Read, Transport, Written},
};
use crate::{
    connection::Connection,
    grpc::Status,
    limits::{HoldBudget, Limits},
    policy::Policy,
};

/// A future that a [`Program`] gives.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The program's part where it takes time: a [`Policy`] that also finds plugins.
pub trait Program: Policy {
    /// A connection to a plugin.
    type Plugin: AsyncRead + AsyncWrite + Unpin + Send;

    /// A plugin's connection for this host, when there is one that is ready for it. Asked for once, when the first call waits. It may
    /// take any time; calls that wait too long meanwhile are answered.
    fn connect(&mut self) -> Later<Self::Plugin>;

    /// The plugin's connection ended by itself. With which status are the calls to end that it had? The answer may take a moment, to
    /// find out how the plugin died; until then they get none.
    fn plugin_ended(&mut self) -> Later<Status>;

    /// A stream that the program chose to [serve](crate::Decision::Serve).
    fn serve(&mut self, call: &mut Self::Call, stream: ServedStream);
}

/// One host's connection, to be [run](Self::run).
pub struct Relay<H, P: Program> {
    connection: Connection<P>,
    limits: Limits,
    host: Transport<H>,
    plugin: Plugin<P::Plugin>,
    commands: mpsc::UnboundedReceiver<Command>,
    serving: Vec<Serving>,
    timer: Pin<Box<Sleep>>,
}

/// What a program may ask of a [`Relay`] that runs.
#[derive(Clone, Debug)]
pub struct Control {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Drain,
    Reconsider,
    FailHeld(Status),
    Abandon(Status),
    Close(Status),
}

/// The plugin's end.
enum Plugin<T> {
    None,
    Connecting(Later<T>),
    Open(Transport<T>),
    /// It ended: why, is being found out. Its transport is not used any more.
    Ending(Later<Status>),
    Closed,
}

/// Rounds of one wake-up before others are let in.
const ROUNDS: usize = 16;

// === impl Control ===

impl Control {
    /// [`Connection::drain`].
    pub fn drain(&self) {
        self.command(Command::Drain);
    }

    /// [`Connection::reconsider`].
    pub fn reconsider(&self) {
        self.command(Command::Reconsider);
    }

    /// [`Connection::fail_held`].
    pub fn fail_held(&self, status: Status) {
        self.command(Command::FailHeld(status));
    }

    /// [`Connection::abandon`].
    pub fn abandon(&self, status: Status) {
        self.command(Command::Abandon(status));
    }

    /// [`Connection::close`].
    pub fn close(&self, status: Status) {
        self.command(Command::Close(status));
    }

    /// Waits until the relay is over: both of its connections are closed.
    pub async fn over(&self) {
        self.commands.closed().await;
    }

    fn command(&self, command: Command) {
        // A relay that is over has nothing left to be asked.
        let _ = self.commands.send(command);
    }
}

// === impl Relay ===

impl<H, P> Relay<H, P>
where
    H: AsyncRead + AsyncWrite + Unpin,
    P: Program,
{
    /// A relay for a host's connection that was just accepted.
    pub fn new(host: H, program: P, limits: Limits, budget: std::sync::Arc<HoldBudget>) -> (Self, Control) {
        let (sender, commands) = mpsc::unbounded_channel();
        let now = Instant::now();
        let relay = Self {
            connection: Connection::new(program, limits.clone(), budget, now.into_std()),
            limits,
            host: Transport::new(host),
            plugin: Plugin::None,
            commands,
            serving: Vec::new(),
            timer: Box::pin(sleep_until(now)),
        };
        (relay, Control { commands: sender })
    }

    /// Runs it until the host's connection is closed, and the plugin's. All calls have then [ended](Policy::ended).
    ///
    /// Dropped before, it cuts both connections, and says nothing of the calls that were in flight.
    pub async fn run(mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            // Not `||`: each has its turn.
            let moved = self.poll_commands(context)
                | self.poll_host_read(context)
                | self.poll_plugin(context)
                | self.poll_serving(context)
                | self.poll_plugin_write(context)
                | self.poll_host_write(context)
                | self.poll_deadline(context);
            if self.host.is_closed() && !matches!(self.plugin, Plugin::Open(_)) {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_commands(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(context) {
            moved = true;
            let now = now();
            match command {
                Command::Drain => self.connection.drain(now),
                Command::Reconsider => self.connection.reconsider(now),
                Command::FailHeld(status) => self.connection.fail_held(now, &status),
                Command::Abandon(status) => self.connection.abandon(now, &status),
                Command::Close(status) => self.connection.close(now, &status),
            }
        }
        moved
    }

    fn poll_host_read(&mut self, context: &mut Context<'_>) -> bool {
        let connection = &mut self.connection;
        match self.host.poll_read(context, |bytes| connection.host_read(now(), bytes)) {
            Read::Nothing => return false,
            Read::Bytes => {}
            Read::End => self.connection.host_closed(now()),
        }
        true
    }

    fn poll_plugin(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.plugin {
            Plugin::None if self.connection.wants_plugin() => {
                self.plugin = Plugin::Connecting(self.connection.policy().connect());
            }
            Plugin::None | Plugin::Closed => return false,
            Plugin::Connecting(_) if self.connection.has_left_host() => self.plugin = Plugin::Closed,
            Plugin::Connecting(connecting) => match connecting.as_mut().poll(context) {
                Poll::Pending => return false,
                Poll::Ready(transport) => {
                    self.plugin = Plugin::Open(Transport::new(transport));
                    self.connection.bind(now());
                }
            },
            Plugin::Open(transport) => {
                let connection = &mut self.connection;
                match transport.poll_read(context, |bytes| connection.plugin_read(now(), bytes)) {
                    Read::Nothing => return false,
                    Read::Bytes => {}
                    Read::End if self.connection.is_bound() => {
                        // The host need not wait until it is known why.
                        self.connection.plugin_ending(now());
                        self.plugin = Plugin::Ending(self.connection.policy().plugin_ended());
                    }
                    Read::End => self.plugin = Plugin::Closed,
                }
            }
            Plugin::Ending(why) => match why.as_mut().poll(context) {
                Poll::Pending => return false,
                Poll::Ready(status) => {
                    self.connection.plugin_closed(now(), &status);
                    self.plugin = Plugin::Closed;
                }
            },
        }
        true
    }

    fn poll_plugin_write(&mut self, context: &mut Context<'_>) -> bool {
        let Plugin::Open(transport) = &mut self.plugin else { return false };
        let mut moved = false;
        // A transport that is broken is still read: what the plugin wrote before is there, and then the end.
        while let Written::Bytes(count) = transport.poll_write(context, self.connection.to_plugin()) {
            self.connection.plugin_took(count);
            moved = true;
        }
        if self.connection.has_left_plugin()
            && transport.poll_close(context, self.connection.to_plugin().is_empty(), &self.limits)
        {
            self.plugin = Plugin::Closed;
            moved = true;
        }
        moved
    }

    fn poll_host_write(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            match self.host.poll_write(context, self.connection.to_host()) {
                Written::Bytes(count) => self.connection.host_took(count),
                Written::Nothing => break,
                Written::Broken => {
                    self.connection.host_closed(now());
                    self.host.close();
                    break;
                }
            }
            moved = true;
        }
        if self.connection.has_left_host() && !self.host.is_closed() {
            moved |= self.host.poll_close(context, self.connection.to_host().is_empty(), &self.limits);
        }
        moved
    }

    fn poll_serving(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Some((id, call, program)) = self.connection.opened() {
            let (serving, stream) = Serving::new(id);
            program.serve(call, stream);
            self.serving.push(serving);
            moved = true;
        }
        let connection = &mut self.connection;
        self.serving.retain_mut(|serving| {
            let polled = serving.poll(context, connection);
            moved |= polled.moved;
            !polled.over
        });
        moved
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> bool {
        let Some(deadline) = self.connection.deadline().map(Instant::from_std) else { return false };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return false;
        }
        self.connection.on_deadline(now());
        true
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The longest time that a transport may take to be closed.
const LINGER: Duration = Duration::from_secs(1);
