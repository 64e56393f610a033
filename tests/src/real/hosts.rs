//! Hosts of plugins, made with the libraries that real ones are made with: the Go programs in `tests/hosts`.
//!
//! A host is a process that a test tells what to do, and hears from what came of it; `tests/hosts/internal/orders` has the lines
//! that go between them. [`GenericHost`] is one on go-plugin's client, [`CallbackHost`] one whose plugins call it back,
//! [`DatabaseHost`] one on Vault's client for database plugins, [`BackendHost`] one on that for secrets and auth plugins. All
//! reattach to what they are told of at their start: what `plugward get instance NAME -o reattach` prints, or
//! [`BarePlugin::reattach`](super::BarePlugin::reattach) of a plugin without a gateway; or start their plugin by a command, as most
//! hosts do ([`starts`]).
//!
//! The calls that a test may want to have under way beside others (`increment`, `get`, `initialize`, `new_user`) are made when the
//! method is called, not when its future is first awaited.

mod backend;
mod callback;
mod client;
mod database;
mod generic;
mod load;
mod process;
mod sdk;
mod start;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use go_plugin::external::tonic::Code;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

pub use self::backend::{BackendHost, Response};
pub use self::callback::{CallbackHost, Instance, Opened, Output, Watch};
pub use self::client::{Cycle, HostClient, KilledPlugin, StartedPlugin};
pub use self::database::{DatabaseHost, NewUser};
pub use self::generic::GenericHost;
pub use self::load::{FailedCalls, Load, Pace, RunningLoad, Tally};
pub use self::process::{HostProcess, copy_for_all, gone, kill};
pub use self::sdk::Sdk;
pub use self::start::{Start, starts};

/// How long a host may take over an order, from when its answer is awaited.
const LIMIT: Duration = Duration::from_mins(3);

/// How often it is asked again: without a pause, a host and its plugin had no processor left for what is waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// Asks until it is so.
///
/// # Errors
/// When it does not become so.
async fn until(so: impl AsyncFn() -> bool) -> Result<(), Elapsed> {
    let asking = async {
        while !so().await {
            sleep(GLANCE).await;
        }
    };
    timeout(LIMIT, asking).await
}

/// How a host is started.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// The process that go-plugin watches for its end is the host itself, as the README says, not the one that it was told of.
    pub own_pid: bool,
    /// The user and group that it runs as, instead of ours. The test must be root's.
    pub user: Option<u32>,
    /// It has a mount namespace with a /tmp of its own, as systemd's `PrivateTmp` gives one, where it sees none of ours but these
    /// directories. The test must be root's.
    pub private_tmp: Option<Vec<PathBuf>>,
    /// What its environment has beside ours.
    pub environment: Vec<(String, String)>,
}

/// What an order failed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// gRPC's code; `Unknown` too for what failed on the way to a call.
    pub code: Code,
    /// The status's message.
    pub message: String,
}

/// A host that takes orders. Dropping it kills it.
struct Host {
    process: HostProcess,
    orders: mpsc::UnboundedSender<String>,
    waiting: Waiting,
    numbers: AtomicU64,
}

type Outcome = Result<Value, Failure>;

/// Who waits for which answer. `None` when the host has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Outcome>>>>>;

// === impl Host ===

impl Host {
    /// Starts a program of `tests/hosts`.
    fn start(program: &Path, reattach: &Value, options: &HostOptions) -> Self {
        let (process, stdin, stdout) = HostProcess::start(program, &reattach.to_string(), options);
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let (orders, given) = mpsc::unbounded_channel();
        tokio::spawn(tell(stdin, given));
        tokio::spawn(hear(stdout, Arc::clone(&waiting)));
        Self { process, orders, waiting, numbers: AtomicU64::default() }
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Gives an order at once.
    ///
    /// # Panics
    /// The future, when the host ends instead of answering, or does not answer.
    fn order(&self, verb: &str, mut what: Value) -> impl Future<Output = Outcome> + use<> {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        what["id"] = json!(id);
        what["do"] = json!(verb);
        let (answer, answered) = oneshot::channel();
        // Where the host has ended the sender is dropped, which the future finds.
        if let Some(waiting) = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            waiting.insert(id, answer);
        }
        // What does not arrive is not answered either.
        let _ = self.orders.send(format!("{what}\n"));
        let verb = verb.to_owned();
        async move {
            let answered = timeout(LIMIT, answered).await;
            let answered = answered.unwrap_or_else(|_| panic!("the host did not answer {verb:?}"));
            answered.unwrap_or_else(|_| panic!("the host ended before it answered {verb:?}"))
        }
    }
}

/// Writes orders until the host is dropped or ends.
async fn tell(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<String>) {
    while let Some(order) = orders.recv().await {
        if stdin.write_all(order.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads answers until the host ends.
async fn hear(stdout: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer: Value = serde_json::from_str(&line).expect("a host answers in JSON");
        let id = answer["id"].as_u64().expect("an answer has its order's number");
        let waiting =
            waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|w| w.remove(&id));
        if let Some(waiting) = waiting {
            // Nobody has to wait for what it ordered.
            let _ = waiting.send(outcome(&answer));
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn outcome(answer: &Value) -> Outcome {
    let failure = &answer["failure"];
    if failure.is_null() {
        return Ok(answer["answer"].clone());
    }
    let code = failure["code"].as_i64().and_then(|code| code.try_into().ok());
    let message = failure["message"].as_str();
    Err(Failure {
        code: Code::from_i32(code.expect("gRPC's codes are small numbers")),
        message: message.expect("a failure has a message").to_owned(),
    })
}

/// As hosts read limits: 0 is none, and what is less than one is one.
fn milliseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{value} is no such number"))
}

// === impl Failure ===

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.code, self.message)
    }
}
