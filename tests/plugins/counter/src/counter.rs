//! The plugin's own service.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use proto::{GetRequest, IncrementRequest, Value, counter_server};
use tonic::{Request, Response, Status, metadata::MetadataMap};

/// Generated from `proto/counter.proto`.
pub(crate) mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("counter");
}

/// All counters, by mount and key. They start at 0.
#[derive(Debug)]
pub(crate) struct Counters {
    multiplexed: bool,
    values: Mutex<HashMap<Counter, i64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Counter {
    /// Empty in a plugin that does not multiplex.
    mount: String,
    key: String,
}

// === impl Counters ===

impl Counters {
    /// The same counters, whoever calls.
    pub(crate) fn single() -> Self {
        Self { multiplexed: false, values: Mutex::default() }
    }

    /// Counters for each `multiplex_id`.
    pub(crate) fn multiplexed() -> Self {
        Self { multiplexed: true, values: Mutex::default() }
    }

    fn counter(&self, metadata: &MetadataMap, key: String) -> Result<Counter, Status> {
        let mount =
            if self.multiplexed { plugin_multiplexing::id(metadata)?.to_owned() } else { String::new() };
        Ok(Counter { mount, key })
    }

    fn add(&self, counter: Counter, delta: i64) -> Result<i64, Status> {
        if counter.key.is_empty() {
            return Err(Status::invalid_argument("a counter needs a key"));
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let old = values.get(&counter).copied().unwrap_or_default();
        let new = old.checked_add(delta).ok_or_else(|| Status::out_of_range("a counter holds 64 bits"))?;
        values.insert(counter, new);
        Ok(new)
    }

    fn get(&self, counter: &Counter) -> i64 {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(counter).copied().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl counter_server::Counter for Counters {
    async fn increment(&self, request: Request<IncrementRequest>) -> Result<Response<Value>, Status> {
        let (metadata, _, IncrementRequest { key, delta }) = request.into_parts();
        let value = self.add(self.counter(&metadata, key)?, delta)?;
        Ok(Response::new(Value { value }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Value>, Status> {
        let (metadata, _, GetRequest { key }) = request.into_parts();
        let value = self.get(&self.counter(&metadata, key)?);
        Ok(Response::new(Value { value }))
    }
}
