//! The plugin's service: databases by the mount that they are of.

use std::{
    collections::HashMap,
    future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prost_types::{Struct, value::Kind};
use proto::{
    DeleteUserRequest, DeleteUserResponse, Empty, InitializeRequest, InitializeResponse, NewUserRequest,
    NewUserResponse, TypeResponse, UpdateUserRequest, UpdateUserResponse, database_server,
};
use tokio::time;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::database::Database;

/// Generated from `proto/database.proto`.
pub(crate) mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("dbplugin.v5");
}

/// The id of the only database of a plugin that does not multiplex.
const ONLY: &str = "only";

/// A statement of `NewUser` after which it does not answer.
const HANG: &str = "hang";

/// Those that were initialized and not closed, by their mount's id.
#[derive(Debug)]
pub(crate) struct Databases {
    multiplexed: bool,
    /// Host name and pid: which process this is.
    process: String,
    open: Mutex<HashMap<String, Database>>,
}

// === impl Databases ===

impl Databases {
    /// One database, whoever calls.
    pub(crate) fn single() -> Self {
        Self::new(false)
    }

    /// A database per `multiplex_id`.
    pub(crate) fn multiplexed() -> Self {
        Self::new(true)
    }

    fn new(multiplexed: bool) -> Self {
        let system = rustix::system::uname();
        let process = format!("{}:{}", system.nodename().to_string_lossy(), std::process::id());
        Self { multiplexed, process, open: Mutex::default() }
    }

    fn id<'a>(&self, metadata: &'a MetadataMap) -> Result<&'a str, Status> {
        if self.multiplexed { plugin_multiplexing::id(metadata) } else { Ok(ONLY) }
    }

    /// Does something with the database that a call is for.
    fn with<T>(
        &self,
        metadata: &MetadataMap,
        work: impl FnOnce(&mut Database) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let id = self.id(metadata)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The words and the code of HashiCorp's own database plugins.
        let database =
            open.get_mut(id).ok_or_else(|| Status::internal("connection has not been initialized"))?;
        work(database)
    }
}

#[tonic::async_trait]
impl database_server::Database for Databases {
    async fn initialize(
        &self,
        request: Request<InitializeRequest>,
    ) -> Result<Response<InitializeResponse>, Status> {
        let id = self.id(request.metadata())?.to_owned();
        let config = request.into_inner().config_data.unwrap_or_default();
        let label = label(&config)?.to_owned();
        time::sleep(delay(&config)?).await;

        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("initialized {label} ({id})");
        open.entry(id).or_insert_with(|| Database::new(label.clone())).relabel(label);
        Ok(Response::new(InitializeResponse { config_data: Some(config) }))
    }

    async fn new_user(&self, request: Request<NewUserRequest>) -> Result<Response<NewUserResponse>, Status> {
        if request.get_ref().username_config.is_none() {
            return Err(Status::invalid_argument("missing username config"));
        }
        let username = self.with(request.metadata(), |database| Ok(database.make_user(&self.process)))?;
        let statements = request.get_ref().statements.as_ref();
        if statements.is_some_and(|statements| statements.commands.iter().any(|command| command == HANG)) {
            future::pending::<()>().await;
        }
        Ok(Response::new(NewUserResponse { username }))
    }

    async fn update_user(
        &self,
        request: Request<UpdateUserRequest>,
    ) -> Result<Response<UpdateUserResponse>, Status> {
        let name = &request.get_ref().username;
        self.with(request.metadata(), |database| {
            if !database.has_user(name) {
                return Err(Status::internal(format!("unable to update user: {name} does not exist")));
            }
            Ok(())
        })?;
        Ok(Response::new(UpdateUserResponse {}))
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        self.with(request.metadata(), |database| {
            database.delete_user(&request.get_ref().username);
            Ok(())
        })?;
        Ok(Response::new(DeleteUserResponse {}))
    }

    async fn r#type(&self, request: Request<Empty>) -> Result<Response<TypeResponse>, Status> {
        self.id(request.metadata())?;
        Ok(Response::new(TypeResponse { r#type: "memory".to_owned() }))
    }

    async fn close(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        let id = self.id(request.metadata())?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.remove(id) {
            eprintln!("closed {} ({id})", database.label());
        }
        Ok(Response::new(Empty {}))
    }
}

fn label(config: &Struct) -> Result<&str, Status> {
    match config.fields.get("label").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(label)) if !label.is_empty() => Ok(label),
        _ => Err(Status::internal("failed to initialize: a configuration needs a label")),
    }
}

fn delay(config: &Struct) -> Result<Duration, Status> {
    match config.fields.get("delay_ms").and_then(|value| value.kind.as_ref()) {
        None => Ok(Duration::ZERO),
        Some(Kind::NumberValue(milliseconds)) => Duration::try_from_secs_f64(milliseconds / 1000.0)
            .map_err(|error| Status::internal(format!("failed to initialize: delay_ms: {error}"))),
        Some(_) => Err(Status::internal("failed to initialize: delay_ms is no number")),
    }
}
