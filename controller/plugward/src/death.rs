//! How a container ended, in words, for calls that it had.

use std::sync::Arc;
use std::time::Duration;

use plugward_engine::{ContainerState, Engine, Exit};
use tokio::time::sleep;

use crate::plan::Place;

/// How often an engine is asked whether it has noticed.
const POLL: Duration = Duration::from_millis(20);

/// Waits until the engine says how a container ended. A process may live on although its connections ended: then this takes
/// as long as that. The caller limits it.
pub async fn cause_of_death(engine: Arc<dyn Engine>, place: Place) -> String {
    loop {
        match engine.inspect(place.id.as_str()).await {
            Ok(Some(container)) => match &container.state {
                ContainerState::Exited(exit) => return in_words(exit),
                ContainerState::Removing => return "its container is being removed".to_owned(),
                ContainerState::Created | ContainerState::Running { .. } => {}
            },
            Ok(None) => return "its container was removed".to_owned(),
            Err(_) => return "its engine does not answer".to_owned(),
        }
        sleep(POLL).await;
    }
}

fn in_words(exit: &Exit) -> String {
    const SIGNALLED: i64 = 128;
    if exit.oom_killed {
        return format!("out of memory, exited {}", exit.code);
    }
    match exit.code - SIGNALLED {
        9 => format!("killed, exited {}", exit.code),
        15 => format!("terminated, exited {}", exit.code),
        _ => format!("exited {}", exit.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(code: i64, oom_killed: bool) -> String {
        let exit = Exit { code, oom_killed, error: String::new(), finished_at: jiff::Timestamp::UNIX_EPOCH };
        in_words(&exit)
    }

    #[test]
    fn an_end_is_told_in_the_words_of_docker() {
        assert_eq!(words(0, false), "exited 0");
        assert_eq!(words(2, false), "exited 2");
        assert_eq!(words(137, false), "killed, exited 137");
        assert_eq!(words(143, false), "terminated, exited 143");
        assert_eq!(words(137, true), "out of memory, exited 137");
    }
}
