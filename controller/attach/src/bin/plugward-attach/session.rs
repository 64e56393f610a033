//! One session: from the first word to the controller until its last, over its restarts.

mod kept;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugward_attach::socket::{self, MAX_PACKET};
use plugward_attach::{FromController, FromLauncher, VERSION};

use crate::dial::Dialler;
use crate::fail::{Fail, chain};
use crate::listener::{ListenError, Listener, Wishes};
use crate::stderr::Stderr;
use crate::wait::{Parent, Waited};
use kept::Kept;

/// The id of the session's own listener, the one of the handshake line.
const OWN: u32 = 0;

/// The first pause between attempts to reach a controller that has gone, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// How long a controller may be away that has left its socket, while a session begins: it ends what it serves, and another one starts. Hosts
/// wait for a minute.
const RESTARTED_WITHIN: Duration = Duration::from_secs(20);

/// A session of this process.
pub(crate) struct Session<'a> {
    stderr: &'a Stderr,
    parent: Parent,
    place: PathBuf,
    instance: String,
    /// Until when a session may begin.
    begins_until: Instant,
    state: State,
    /// Shared with those that dial: what they answer belongs to the controller that asked.
    controller: Arc<OwnedFd>,
    buffer: Vec<u8>,
    listeners: BTreeMap<u32, Listener>,
    dialler: Dialler,
    printed: bool,
    kept: Option<Kept>,
}

/// How it stands with the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has been greeted, and is to ask.
    Greeted,
    /// It has the session.
    Attached,
    /// It is a new one that is to say whether the session goes on.
    Resuming { lost: Instant },
}

/// How a session ends that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The controller said so.
    ByController { code: u8, message: Option<String> },
    /// The host is no more.
    ByHost,
}

/// What comes next.
enum Next {
    Message(FromController, Vec<OwnedFd>),
    Lost,
    Ended(Ended),
}

impl<'a> Session<'a> {
    /// Connects to the controller, and greets it. `None` when the host ended before.
    pub(crate) fn begin(
        place: &Path,
        instance: String,
        parent: Parent,
        stderr: &'a Stderr,
    ) -> Result<Option<Self>, Fail> {
        let begins_until = Instant::now() + RESTARTED_WITHIN;
        let Some(controller) = connect(place, &parent, begins_until)? else { return Ok(None) };
        let session = Self {
            stderr,
            parent,
            place: place.to_owned(),
            instance,
            begins_until,
            state: State::Greeted,
            controller: Arc::new(controller),
            buffer: vec![0; MAX_PACKET],
            listeners: BTreeMap::new(),
            dialler: Dialler::default(),
            printed: false,
            kept: None,
        };
        session.greet()?;
        Ok(Some(session))
    }

    /// Does what the controller says, until the session ends.
    pub(crate) fn run(&mut self) -> Result<Ended, Fail> {
        loop {
            match self.next()? {
                Next::Message(message, descriptors) => {
                    if let Some(ended) = self.obey(message, descriptors)? {
                        return Ok(ended);
                    }
                }
                Next::Lost => {
                    if let Some(ended) = self.come_back()? {
                        return Ok(ended);
                    }
                }
                Next::Ended(ended) => return Ok(ended),
            }
        }
    }

    /// Removes the files of all sockets.
    pub(crate) fn remove_sockets(&mut self) {
        for listener in std::mem::take(&mut self.listeners).values() {
            listener.remove();
        }
    }

    fn greet(&self) -> Result<(), Fail> {
        // One that refuses may have closed its side already: what it said is still to be read.
        went(socket::send(&self.controller, &self.hello(false), &[]))
    }

    fn hello(&self, resumes: bool) -> Vec<u8> {
        let instance = self.instance.clone();
        FromLauncher::Hello { versions: (VERSION, VERSION), instance, resumes }.encode()
    }

    fn next(&mut self) -> Result<Next, Fail> {
        let deadline = match (self.state, &self.kept) {
            (State::Resuming { lost }, Some(kept)) => kept.deadline(lost),
            _ => None,
        };
        match self.parent.wait(Some(&self.controller), deadline).map_err(Fail::Wait)? {
            Waited::Parent => return Ok(Next::Ended(Ended::ByHost)),
            Waited::Deadline => return Ok(Next::Lost),
            Waited::Controller => {}
        }
        match socket::receive(&self.controller, &mut self.buffer) {
            Ok(Some((length, descriptors))) => {
                let message = FromController::decode(self.buffer.get(..length).unwrap_or_default())?;
                Ok(Next::Message(message, descriptors))
            }
            Ok(None) => Ok(Next::Lost),
            Err(error) => Err(Fail::Talk(error)),
        }
    }

    /// Does what the controller says.
    fn obey(&mut self, message: FromController, descriptors: Vec<OwnedFd>) -> Result<Option<Ended>, Fail> {
        match (self.state, message) {
            (_, FromController::Refuse { message }) => return Err(Fail::Refused(message)),
            (_, FromController::Exit { code, message }) => {
                return Ok(Some(Ended::ByController { code, message }));
            }
            (_, FromController::Stderr { bytes }) => self.stderr.write(bytes),
            (State::Greeted, FromController::Ask { version, variables }) => {
                self.answer(version, variables)?;
            }
            (State::Greeted, message) => return Err(unexpected(&message)),
            (State::Resuming { .. }, FromController::Resumed) => self.state = State::Attached,
            (_, FromController::Listen { id }) => self.listen(id)?,
            (_, FromController::Unlisten { id }) => {
                if let Some(listener) = self.listeners.remove(&id) {
                    listener.remove();
                }
            }
            (_, FromController::Print { line }) if !self.printed && !line.contains('\n') => {
                self.printed = true;
                print(line).map_err(Fail::Print)?;
            }
            (_, FromController::Dial { id, path }) => {
                let answered = self.dialler.dial(&self.controller, id, path);
                went(answered)?;
            }
            (_, FromController::Keep { patience }) => {
                let state = descriptors.into_iter().next();
                let state = state.ok_or_else(|| unexpected(&FromController::Keep { patience }))?;
                self.kept = Some(Kept::new(state, patience));
            }
            (_, FromController::Forget) => self.kept = None,
            (
                _,
                message @ (FromController::Ask { .. }
                | FromController::Print { .. }
                | FromController::Resumed),
            ) => return Err(unexpected(&message)),
        }
        Ok(None)
    }

    /// Tells the controller what it asks for, and nothing more.
    fn answer(&mut self, version: u16, variables: Vec<String>) -> Result<(), Fail> {
        if version != VERSION {
            return Err(Fail::Version { version });
        }
        let set = |name: String| {
            use std::os::unix::ffi::OsStringExt;
            std::env::var_os(&name).map(|value| (name, value.into_vec()))
        };
        let variables = variables.into_iter().filter_map(set).collect();
        let message = FromLauncher::Environment { variables }.encode();
        if message.len() > MAX_PACKET {
            return Err(Fail::Environment);
        }
        self.state = State::Attached;
        let sent = socket::send(&self.controller, &message, &[]);
        went(sent)
    }

    fn listen(&mut self, id: u32) -> Result<(), Fail> {
        let made = match self.listeners.entry(id) {
            Entry::Occupied(_) => Err(ListenError::Exists),
            Entry::Vacant(entry) => Listener::make(&Wishes::of_process()).map(|made| &*entry.insert(made)),
        };
        let sent = match made {
            Ok(listener) => {
                let message = FromLauncher::Listening { id, path: listener.path().to_owned() };
                socket::send(&self.controller, &message.encode(), &[listener.socket(), listener.directory()])
            }
            Err(error) => {
                let message = FromLauncher::NotListening { id, error: chain(&error) };
                socket::send(&self.controller, &message.encode(), &[])
            }
        };
        went(sent)
    }

    /// The controller has gone, and the host knows of no session yet: it begins with the next one.
    fn begin_anew(&mut self) -> Result<Option<Ended>, Fail> {
        self.remove_sockets();
        self.state = State::Greeted;
        // One that goes at once is not asked all the time.
        if self.parent.wait(None, Some(Instant::now() + PAUSES.0)).map_err(Fail::Wait)? == Waited::Parent {
            return Ok(Some(Ended::ByHost));
        }
        let Some(controller) = connect(&self.place, &self.parent, self.begins_until)? else {
            return Ok(Some(Ended::ByHost));
        };
        self.controller = Arc::new(controller);
        self.greet()?;
        Ok(None)
    }

    /// The controller has gone: greets the next one, if the session can outlive it, or the host knows of none yet.
    fn come_back(&mut self) -> Result<Option<Ended>, Fail> {
        if !self.printed && self.kept.is_none() && Instant::now() < self.begins_until {
            return self.begin_anew();
        }
        // What was offered on the others ended with the controller.
        self.listeners.retain(|&id, listener| {
            if id != OWN {
                listener.remove();
            }
            id == OWN
        });
        let (Some(kept), Some(own)) = (&self.kept, self.listeners.get(&OWN)) else { return Err(Fail::Gone) };
        let lost = match self.state {
            State::Resuming { lost } => lost,
            State::Greeted | State::Attached => Instant::now(),
        };
        self.state = State::Resuming { lost };
        let deadline = kept.deadline(lost);
        let hello = self.hello(true);
        let mut pause = PAUSES.0;
        loop {
            let until = Instant::now() + pause;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            if self.parent.wait(None, Some(until)).map_err(Fail::Wait)? == Waited::Parent {
                return Ok(Some(Ended::ByHost));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Fail::Patience { patience: kept.patience() });
            }
            // Whatever is wrong with it may pass: its socket is made anew.
            if let Ok(controller) = socket::connect(&self.place)
                && socket::send(&controller, &hello, &[kept.state(), own.socket(), own.directory()]).is_ok()
            {
                self.controller = Arc::new(controller);
                return Ok(None);
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Connects to the controller. One that is being restarted has left its socket, and is waited for a while. `None` when the host went.
fn connect(place: &Path, parent: &Parent, until: Instant) -> Result<Option<OwnedFd>, Fail> {
    loop {
        let source = match socket::connect(place) {
            Ok(controller) => return Ok(Some(controller)),
            Err(source) => source,
        };
        let socket = place.to_owned();
        match source.kind() {
            io::ErrorKind::ConnectionRefused if Instant::now() < until => {
                let pause = Some(until.min(Instant::now() + PAUSES.0));
                if parent.wait(None, pause).map_err(Fail::Wait)? == Waited::Parent {
                    return Ok(None);
                }
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                return Err(Fail::Absent { socket, source });
            }
            io::ErrorKind::PermissionDenied => return Err(Fail::Forbidden { socket, source }),
            _ => return Err(Fail::Connect { socket, source }),
        }
    }
}

/// What became of a message. That the controller has gone is learnt where its messages end.
fn went(sent: io::Result<()>) -> Result<(), Fail> {
    match sent {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        sent => sent.map_err(Fail::Talk),
    }
}

/// Prints the handshake line.
fn print(mut line: String) -> io::Result<()> {
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

fn unexpected(message: &FromController) -> Fail {
    let message = match message {
        FromController::Refuse { .. } => "Refuse",
        FromController::Ask { .. } => "Ask",
        FromController::Listen { .. } => "Listen",
        FromController::Unlisten { .. } => "Unlisten",
        FromController::Print { .. } => "Print",
        FromController::Stderr { .. } => "Stderr",
        FromController::Dial { .. } => "Dial",
        FromController::Keep { .. } => "Keep",
        FromController::Forget => "Forget",
        FromController::Resumed => "Resumed",
        FromController::Exit { .. } => "Exit",
    };
    Fail::Unexpected { message }
}
