//! How often the log tells of hosts that are refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The refusals of a user that are told, in so much time.
const MOST: u32 = 10;
const WITHIN: Duration = Duration::from_secs(60);

/// The refusals of each user, of late. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<HashMap<u32, (Instant, u32)>>>);

impl Complaints {
    /// A host of this user is refused. Whether that is to be told.
    pub(super) fn another(&self, uid: u32) -> bool {
        let now = Instant::now();
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, (since, _)| now.duration_since(*since) < WITHIN);
        let (_, count) = users.entry(uid).or_insert((now, 0));
        *count = count.saturating_add(1);
        *count <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_who_is_refused_again_and_again_does_not_fill_the_log() {
        let complaints = Complaints::default();
        let told = || (0..1_000).filter(|_| complaints.another(1)).count();
        assert_eq!(told(), 10);
        assert!(complaints.another(2), "another user is told of");
        tokio::time::advance(WITHIN).await;
        assert_eq!(told(), 10);
    }
}
