//! The last lines of containers that are gone, by slot. They are read when somebody asks, and held nowhere.

use std::path::PathBuf;

use plugward_api::Name;

use super::State;
use super::files::{self, StateError};
use crate::logs::KeptLog;
use crate::names::SlotName;

impl State {
    /// Keeps the last lines of a slot's container, instead of those of the one before it.
    ///
    /// # Errors
    /// When the file cannot be written; then the old one stands.
    pub async fn keep_log(&self, instance: &Name, slot: &SlotName, log: KeptLog) -> Result<(), StateError> {
        let directory = self.log_directory(instance);
        let path = directory.join(format!("{slot}.json"));
        files::off_thread(move || {
            files::make_private(&directory)?;
            files::write(&path, &log)
        })
        .await
    }

    /// What is kept of the slot's last container that is gone; `None` when nothing is.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub async fn kept_log(&self, instance: &Name, slot: &SlotName) -> Result<Option<KeptLog>, StateError> {
        let path = self.log_directory(instance).join(format!("{slot}.json"));
        files::off_thread(move || files::read(&path)).await
    }

    /// Removes what is kept of a slot. To be called where files may be removed: it blocks.
    pub(super) fn forgetting_log(
        &self,
        instance: &Name,
        slot: &SlotName,
    ) -> impl FnOnce() -> Result<(), StateError> + Send + 'static {
        let directory = self.log_directory(instance);
        let path = directory.join(format!("{slot}.json"));
        move || {
            files::remove(&path)?;
            files::remove_empty_directory(&directory)
        }
    }

    fn log_directory(&self, instance: &Name) -> PathBuf {
        self.root.join("logs").join(instance.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use plugward_engine::LogChannel;

    use super::*;
    use crate::logs::LogLine;

    #[tokio::test]
    async fn a_kept_log_outlives_the_controller_is_ours_alone_and_goes_with_its_slot() {
        let directory = tempfile::tempdir().unwrap();
        let (orders, slot): (Name, _) = ("orders".parse().unwrap(), SlotName::Shared);
        let at = "2026-11-27T10:00:00Z".parse().unwrap();
        let line = LogLine { at, stream: LogChannel::Stderr, text: "out of cheese".to_owned() };
        let log = KeptLog { container: "plugward-orders-shared-aaaaa".to_owned(), lines: vec![line] };
        State::open(directory.path()).unwrap().keep_log(&orders, &slot, log.clone()).await.unwrap();

        let state = State::open(directory.path()).unwrap();
        assert_eq!(state.kept_log(&orders, &slot).await.unwrap(), Some(log));
        assert_eq!(state.kept_log(&orders, &SlotName::Spare(1)).await.unwrap(), None);
        let file = directory.path().join("logs/orders/shared.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        state.forget_slot(&orders, &slot).await.unwrap();
        assert_eq!(state.kept_log(&orders, &slot).await.unwrap(), None);
        assert!(!file.parent().unwrap().exists());
    }
}
