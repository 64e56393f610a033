//! What lies between a host that starts its plugins as programs, and the controller that runs them in containers.
//!
//! ```text
//! host ── starts ──▶ plugward-attach ── packets, descriptors ──▶ controller
//!   │                       │                                        │
//!   │  handshake line, stderr                                        ▼
//!   └────────── connects to the launcher's socket ──────────▶ the plugin's container
//! ```
//!
//! A host (OpenBao, Vault, any client of go-plugin) starts the launcher as if it were the plugin. The launcher knows nothing of go-plugin
//! but where sockets belong, and nothing of TLS: it is the controller's hand where the host is, in its mount namespace and with its user.
//! What hosts send does not pass through it: the controller accepts connections on the listener whose descriptor it got.
//!
//! # The tour
//!
//! - [`wire`] has the messages, and the table of how they are written.
//! - [`socket`] sends and receives them, with descriptors. One connection is one session.
//! - [`accounts`] knows the machine's users and groups.
//! - The program is in `src/bin/plugward-attach`: `place` finds the controller, `session` does what it says, `listener` and `dial` make
//!   sockets, `stderr` writes what the plugin wrote, `wait` watches the host.
//!
//! # A session
//!
//! ```text
//! launcher                          controller
//! Hello ──────────────────────────▶            who may do this is known by the socket's peer
//!       ◀────────────────────────── Ask        or Refuse
//! Environment ────────────────────▶            what was asked for and is set
//!       ◀────────────────────────── Listen 0
//! Listening 0 ────────────────────▶            the listener, and the directory of its file
//!       ◀────────────────────────── Print      the handshake line
//!       ◀────────────────────────── Stderr, Listen, Unlisten, Dial, Keep, Forget, as it goes
//!       ◀────────────────────────── Exit
//! ```
//!
//! When the connection ends before the handshake line was printed, the launcher begins anew with the next controller, for 20 seconds: a host
//! that starts its plugin during an upgrade waits, and does not fail. After that a session ends with its connection, unless the controller had something [kept](wire::FromController::Keep). Then the launcher
//! connects again for as long as it was told to, and its Hello brings the kept state and the session's listener. Hosts' connections wait
//! in the listener's queue meanwhile. [`Resumed`](wire::FromController::Resumed) goes on; anything else that the controller may say ends
//! the session, so that none looks alive and is not.
//!
//! # Guarantees
//!
//! - Of the environment, only what the controller asks for leaves the launcher, and none of it is printed.
//! - Nothing is on stdout but the handshake line. What fails is one line on stderr that says what to do, and exit code 1.
//! - A host that does not read stderr, or a listener that takes no connections, holds up nothing else.
//! - The launcher ends with its host. Its sockets' files go with it, also where their group is another one; after SIGTERM and SIGKILL the
//!   controller removes them, by the directory's descriptor. SIGINT ends nothing, as with go-plugin's plugins: Ctrl-C is for the host.
//! - A file of a socket is never open to more users than it is to be in the end.
//! - An old launcher works with a new controller: the first message never changes, and unknown fields are passed over.
//!
//! # What it may touch
//!
//! Its own sockets in `PLUGIN_UNIX_SOCKET_DIR`, `TMPDIR` or `/tmp`, the controller's socket, the sockets that the controller has it dial,
//! and `/etc/group`. It starts no program, and does not read stdin.

pub mod accounts;
pub mod socket;
pub mod wire;

pub use wire::{FromController, FromLauncher, VERSION, WireError};
