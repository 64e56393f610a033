//! The control socket: HTTP over a Unix socket, through which the command line looks at the controller.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/instances`, `GET /v1/runtimes` | `{kind: List, items: […]}` |
//! | `GET /v1/instances/NAME`, `GET /v1/runtimes/NAME` | one object, or 404 |
//! | the same with `?watch=true` | lines of JSON, `{type: ADDED\|MODIFIED\|DELETED, object: …}`: all that is there, then what changes, until one side ends it |
//! | `GET /v1/sessions`, `GET /v1/sessions/ID`, either with `?watch=true` | the same of hosts that attached |
//! | `GET /v1/instances/NAME/logs?follow&previous&slot&since&tail` | lines of JSON, `{type: CONTAINER\|LINE\|NOTE\|ERROR\|END, …}`: what its containers wrote and, with `follow`, what they write |
//! | `GET /v1/controller` | the controller's version and pid, whether it is in sync, and its engines |
//! | `GET /v1/manifests` | manifest files and directories with what is wrong with them |
//! | `GET /v1/manifests/instances/NAME`, `GET /v1/manifests/runtimes/NAME` | where a record is declared |
//! | `POST /v1/manifests`, a manifest in the body | whether it is valid, and where it would be put: nothing is written |
//! | `POST /v1/instances/NAME/restart` | its containers are replaced, for those who may write manifests |
//!
//! Objects have Kubernetes' shape. Whoever may connect may see all but secrets: the values of environment
//! variables and cookies are never told. What a plugin writes to its log is told as it is, whatever that is.

pub mod client;
mod logs;
mod objects;
pub mod renewal;
pub mod review;
pub mod server;
mod watch;
mod writing;

pub use objects::HIDDEN;
