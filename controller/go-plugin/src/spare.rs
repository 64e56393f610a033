//! One connection to a plugin that is ready before anybody asks for it.
//!
//! A task makes one when it is told that there is use for it, and again whenever that was taken or has become old. It
//! reads it meanwhile, so that it notices when the plugin ends it. Then, as after a connection that could not be
//! made, it waits until there is use for another: a plugin that is gone, or that wants no idle connections, is
//! not dialled for ever.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle, time};
use tracing::debug;

use crate::{PluginStream, dialer::Route};

/// How long a spare connection is kept. A Go plugin closes one on which nothing was sent for 120 s.
const KEPT: Duration = Duration::from_secs(90);

/// How long making one may take, so that together with [`KEPT`] it stays well below those 120 s.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The spare connection and the task that keeps it. Dropped, both end.
#[derive(Debug)]
pub(crate) struct Spare {
    place: Arc<Place>,
    keeper: JoinHandle<()>,
}

/// Where the connection lies until it is taken.
#[derive(Debug, Default)]
struct Place {
    content: Mutex<Content>,
    /// Tells the task that it was taken, or that there is use for one.
    wanted: Notify,
}

/// What lies there.
#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Stream(PluginStream),
    /// Nothing, and nothing will: a task that is aborted may yet have a connection in hand.
    Ended,
}

/// What became of a connection.
enum Fate {
    Taken,
    Spoilt,
}

// === impl Spare ===

impl Spare {
    /// Starts to keep one, once it is [wanted](Self::want). Must be called within a tokio runtime.
    pub(crate) fn keep(route: Arc<Route>) -> Self {
        let place = Arc::new(Place::default());
        let keeper = tokio::spawn(keep(route, Arc::clone(&place)));
        Self { place, keeper }
    }

    /// Says that there is use for one, unless it is there already.
    pub(crate) fn want(&self) {
        self.place.wanted.notify_one();
    }

    /// Takes it, if there is one and the plugin has not ended it. Another will be made.
    pub(crate) fn take(&self) -> Option<PluginStream> {
        let stream = self.place.take()?;
        self.want();
        // That the plugin is gone may not have reached the task yet.
        stream.is_open().then_some(stream)
    }

    /// Closes it, and makes no other.
    pub(crate) fn end(&self) {
        self.keeper.abort();
        *self.place.lock() = Content::Ended;
    }

    #[cfg(test)]
    pub(crate) fn put(&self, stream: PluginStream) {
        self.place.put(stream);
    }

    /// Whether there is one. It may be spoilt already.
    #[cfg(test)]
    pub(crate) fn is_there(&self) -> bool {
        matches!(*self.place.lock(), Content::Stream(_))
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Place ===

impl Place {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, stream: PluginStream) {
        let mut content = self.lock();
        if !matches!(*content, Content::Ended) {
            *content = Content::Stream(stream);
        }
    }

    fn take(&self) -> Option<PluginStream> {
        let mut content = self.lock();
        match mem::take(&mut *content) {
            Content::Stream(stream) => Some(stream),
            nothing @ (Content::Nothing | Content::Ended) => {
                *content = nothing;
                None
            }
        }
    }

    async fn fate(&self) -> Fate {
        loop {
            tokio::select! {
                fate = poll_fn(|context| self.poll_fate(context)) => return fate,
                () = self.wanted.notified() => (),
            }
        }
    }

    fn poll_fate(&self, context: &mut Context<'_>) -> Poll<Fate> {
        match &mut *self.lock() {
            Content::Stream(stream) => stream.poll_spoilt(context).map(|()| Fate::Spoilt),
            Content::Nothing | Content::Ended => Poll::Ready(Fate::Taken),
        }
    }
}

async fn keep(route: Arc<Route>, place: Arc<Place>) {
    loop {
        place.wanted.notified().await;
        while let Some(stream) = connect(&route).await {
            // In place of the old one, which could be taken until now.
            place.put(stream);
            match time::timeout(KEPT, place.fate()).await {
                Ok(Fate::Taken) | Err(_) => (),
                Ok(Fate::Spoilt) => break,
            }
        }
        // Spoilt, or too old by the time that there is use for another.
        drop(place.take());
    }
}

async fn connect(route: &Route) -> Option<PluginStream> {
    let connecting = async {
        let _turn = route.turn().await;
        route.connect().await
    };
    match time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "no spare connection to the plugin");
            None
        }
        Err(_) => {
            debug!("no spare connection to the plugin in time");
            None
        }
    }
}
