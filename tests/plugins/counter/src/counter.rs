//! The plugin's own service.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use proto::{GetRequest, IncrementRequest, Value, counter_server::Counter};
use tonic::{Request, Response, Status};

/// Generated from `proto/counter.proto`.
pub(crate) mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("counter");
}

/// All counters, by key. They start at 0.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    values: Mutex<HashMap<String, i64>>,
}

impl Counters {
    fn add(&self, key: String, delta: i64) -> Result<i64, Status> {
        if key.is_empty() {
            return Err(Status::invalid_argument("a counter needs a key"));
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let old = values.get(&key).copied().unwrap_or_default();
        let new = old.checked_add(delta).ok_or_else(|| Status::out_of_range("a counter holds 64 bits"))?;
        values.insert(key, new);
        Ok(new)
    }

    fn get(&self, key: &str) -> i64 {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(key).copied().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl Counter for Counters {
    async fn increment(&self, request: Request<IncrementRequest>) -> Result<Response<Value>, Status> {
        let IncrementRequest { key, delta } = request.into_inner();
        let value = self.add(key, delta)?;
        Ok(Response::new(Value { value }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Value>, Status> {
        let value = self.get(&request.into_inner().key);
        Ok(Response::new(Value { value }))
    }
}
