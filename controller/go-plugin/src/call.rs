//! A call to a plugin, limited in time.

use std::{borrow::Cow, error::Error, sync::Arc, time::Duration};

use tokio::time;
use tonic::{Code, Response, Status};

use crate::Excerpt;

/// A call that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("the plugin did not answer {method} within {limit:?}")]
    TimedOut {
        /// The call.
        method: Cow<'static, str>,
        /// The time it had.
        limit: Duration,
    },
    /// The connection ended before the answer came, or before the call.
    #[error("the connection to the plugin ended before it answered {method}")]
    Lost {
        /// The call.
        method: Cow<'static, str>,
        /// How it ended.
        #[source]
        source: Lost,
    },
    /// The message is larger than gRPC can carry ([`MAX_MESSAGE_SIZE`](crate::MAX_MESSAGE_SIZE)).
    #[error("a message of {size} bytes is too large for {method}")]
    TooLarge {
        /// The call.
        method: Cow<'static, str>,
        /// The message's size.
        size: usize,
    },
    /// The plugin answered with what is no answer.
    #[error("the plugin's answer to {method} is no gRPC answer: {problem}")]
    Malformed {
        /// The call.
        method: Cow<'static, str>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The plugin answered with an error.
    #[error("the plugin answered {method} with {code:?}: {message}")]
    Refused {
        /// The call.
        method: Cow<'static, str>,
        /// The error's kind.
        code: Code,
        /// The plugin's own words.
        message: Excerpt,
    },
}

/// The end of a connection.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Lost(Arc<hyper::Error>);

impl CallError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "call_timed_out",
            Self::Lost { .. } => "connection_lost",
            Self::TooLarge { .. } => "call_too_large",
            Self::Malformed { .. } => "call_malformed",
            Self::Refused { .. } => "call_refused",
        }
    }

    pub(crate) fn new(method: impl Into<Cow<'static, str>>, status: &Status) -> Self {
        let method = method.into();
        if let Some(source) = Lost::of(status) {
            return Self::Lost { method, source: source.clone() };
        }
        let message = Excerpt::of(status.message().as_bytes());
        Self::Refused { method, code: status.code(), message }
    }
}

impl Lost {
    /// What gRPC makes of an error of the connection: the one code that says "try again elsewhere".
    pub(crate) fn status(error: hyper::Error) -> Status {
        let mut status = Status::unavailable("the connection to the plugin ended");
        status.set_source(Arc::new(Self(Arc::new(error))));
        status
    }

    /// The lost connection behind a status; `None` when the plugin itself sent it.
    pub(crate) fn of(status: &Status) -> Option<&Self> {
        status.source()?.downcast_ref()
    }
}

/// Waits for `call`, for at most `limit`.
pub(crate) async fn limited<T>(
    method: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError::new(method, &status)),
        Err(_) => Err(CallError::TimedOut { method: method.into(), limit }),
    }
}
