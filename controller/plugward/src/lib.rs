//! The program `plugward`: declared go-plugin plugins run in containers on a Docker Engine, and stay running.
//!
//! This crate joins five that know nothing of each other: records ([`plugward_api`]), the loop
//! ([`plugward_runtime`]), engines ([`plugward_engine`]), the plugins' protocol ([`go_plugin`]) and the relay of
//! hosts' connections ([`plugward_relay`]). It is a library
//! with a small `main`, so that the tests drive the same controller with simulated engines and plugins.
//!
//! # Flow
//!
//! ```text
//! manifests ─▶ source ─▶ records ──┐                    ┌─▶ desired ─┐
//! engines ───▶ links ──────────────┼─▶ queue ─▶ reconcile            ├─▶ plan ─▶ execute ─▶ engines, plugins, state
//! plugins ───▶ sessions ───────────┘                    └─▶ observe ─┘     │
//!                                                                          └─▶ status ─▶ control socket, metrics
//!
//! hosts ─▶ gateway ─▶ plugins
//! ```
//!
//! Everything on the left only names instances. A reconcile is told a name and no reason: [`desired`] says what the
//! records want, [`observe`] what is remembered and seen, [`plan`] decides, [`execute`] acts, [`status`] tells. A
//! record that is gone is a desired state like any other. What a start needs long for, the conversation with its
//! plugin, goes on beside in [`session`], and asks for a reconcile when it has news. Hosts' calls never wait for a
//! reconcile where there is a container: [`gateway`] hands them to the one whose conversation stands, and is told by
//! reconciles only what is to be expected where there is none.
//!
//! Read [`reconcile`], [`plan`], [`slot`] and [`execute`] in this order; then [`gateway`]; then [`controller`], where all
//! is wired.
//!
//! # What it promises, and where that is kept
//!
//! | promise | kept by |
//! | --- | --- |
//! | a valid manifest becomes a ready plugin, an edit a changed one, a removed record leaves nothing | [`plan`]: planning after a plan was carried out gives no steps |
//! | a manifest that cannot be used changes nothing that runs, over restarts too | [`source`]: its rules, and the last good versions it stores |
//! | what dies is usable again before the next call that needs it | [`gateway`]: calls wait, and go to a container that was told what hosts had told its predecessor |
//! | an update fails no call | [`plan`]: a container that serves is withdrawn before it is halted; [`gateway`]: a connection is bound once, and drained |
//! | restarts back off, and only for what is the plugin's own doing | `plan::judge`; the delays are [`recipe::RestartPolicy`]'s |
//! | only what is labelled ours is touched | [`names`]: every list asks for the cluster's label; [`execute`] compares labels before it takes a name for its own |
//! | one controller for a cluster id on a machine | [`lock`] |
//! | at most one container of a slot serves, over a crash at any instruction | [`slot`]: a start is stored before its effect; [`plan`]: halt before create |
//! | a new controller adopts what is healthy | [`slot`]: container, key and handshake line are stored; [`session`] connects again |
//! | one instance of a runtime is replaced at a time | [`roll`] |
//! | a plugin's misbehaviour costs that plugin alone | [`session`]: a task and time limits for each; the sizes are [`go_plugin`]'s |
//! | what is stored is old or new, never a mixture | [`atomic`] |
//! | nothing secret is shown | [`recipe`] and [`slot`]: in no `Debug`; [`control`]: values hidden; [`state`]: files 0600 |
//!
//! # What each module may touch
//!
//! | module | role | touches |
//! | --- | --- | --- |
//! | [`cli`] | the commands, and how things look on a terminal | arguments, the environment, the control socket; for `host`, the launcher's file |
//! | [`app`] | the controller as a process: locks, signals, start and end | signals, the run directory |
//! | [`service`] | what the service manager is told, and what it asks for | nothing by itself |
//! | [`controller`] | all parts wired; news become requests | tasks |
//! | [`source`] | manifest directories become records | manifests, last good versions |
//! | [`desired`], [`assignment`] | what the records want of an instance, and in which slots | nothing |
//! | [`engines`] | a link to each engine, kept up | engines: information, lists, events |
//! | [`session`] | the conversation with each plugin | plugins, containers' logs |
//! | [`probe`], [`death`] | whether a plugin answers; how a container ended, in words | plugins; engines: inspections |
//! | [`plugin`] | the port to plugins, and its real side | sockets |
//! | [`gateway`] | hosts, and which container their calls go to | the sockets of mounts, plugins |
//! | [`expectation`] | the plan's outlook, in the gateway's words | nothing |
//! | [`output`] | plugins' output as lines | nothing |
//! | [`logs`] | what containers wrote, as lines with their times | nothing |
//! | [`observe`] | the situation of an instance | engines: lists, inspections |
//! | [`plan`] | what to do next: all decisions | nothing, not even a clock |
//! | [`execute`] | one effect for each step | engines, state, shared directories |
//! | [`reconcile`], [`failure`] | the four above in a row, and what they fail with | nothing by itself |
//! | [`roll`] | whose turn it is to be replaced | nothing |
//! | [`recipe`], [`container`] | what a container is made from, its hash, its engine's form | nothing |
//! | [`slot`] | what is remembered of a container's place | nothing |
//! | [`sharing`] | the directories that plugins share with us | these directories |
//! | [`trial`] | what containers that are never started have shown of an engine and an image | nothing |
//! | [`gvisor`] | what is particular to that OCI runtime | nothing |
//! | [`names`] | labels, container names, slots, cluster ids | nothing |
//! | [`state`], [`atomic`] | the state directory | files |
//! | [`directories`] | where state and sockets lie | the environment |
//! | [`open_files`] | how many files may be open | the process's limit |
//! | [`parallel`] | the same work on many things, on all processors | threads |
//! | [`lock`] | one controller at a time | a file lock, an abstract socket |
//! | [`status`], [`runtimes`] | phases, conditions, events | state |
//! | [`metrics`] | what is counted | nothing |
//! | [`usage`] | what containers use of their machines, while somebody looks | asks engines |
//! | [`view`] | what may be looked at of a controller that runs | nothing |
//! | [`control`] | the control socket and the metrics port | sockets; proofs in the directory of manifests |
//! | [`systemd`] | the service manager: what it is told, and what it keeps for us | its socket, the environment |
//! | [`telemetry`] | the log | standard error |
//! | [`clock`], [`errors`], [`reason`] | the time of day, errors as text, why an instance is looked at | the clock |
//!
//! All effects on engines go through [`plugward_engine::Engine`], and all on plugins through [`plugin::Plugins`]:
//! these two ports are what a simulation has to stand in for.

pub mod app;
pub mod assignment;
pub mod atomic;
pub mod attach;
pub mod cli;
pub mod clock;
pub mod container;
pub mod control;
pub mod controller;
pub mod death;
pub mod desired;
pub mod directories;
pub mod engines;
pub mod errors;
pub mod execute;
pub mod expectation;
pub mod failure;
pub mod files;
pub mod gateway;
#[cfg(test)]
mod golden;
pub mod gvisor;
pub mod lock;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod open_files;
pub mod output;
pub mod parallel;
pub mod plan;
pub mod plugin;
pub mod probe;
pub mod reason;
pub mod recipe;
pub mod reconcile;
pub mod roll;
pub mod runtimes;
pub mod service;
pub mod session;
pub mod sharing;
pub mod slot;
pub mod source;
pub mod state;
pub mod status;
pub mod systemd;
pub mod telemetry;
pub mod trial;
pub mod usage;
pub mod view;
