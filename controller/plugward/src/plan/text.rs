//! A plan as text, one line a step: for logs and golden files.

use std::fmt;

use super::{Before, Outlook, OutlookState, Plan, Step, TrialFault, UpdateState, Which};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for (slot, outlook) in &self.outlooks {
            writeln!(f, "=> {slot}: {outlook}")?;
        }
        if let Some(when) = self.look_again {
            writeln!(f, "=> look again at {when}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordEnd { slot, end, retry_at, .. } => write!(
                f,
                "{slot}: record end ({}, failures {}), next start at {retry_at}",
                end.reason.as_str(),
                end.failures
            ),
            Self::Prepare { slot, start } => write!(
                f,
                "{slot}: prepare start {} as {} on {} ({}, failures {})",
                start.number, start.container, start.engine.id, start.before, start.failures
            ),
            Self::Pull { engine, image } => write!(f, "pull {image} on {}", engine.id),
            Self::Try { engine, image, .. } => write!(f, "try a container from {image} on {}", engine.id),
            Self::Create { slot, image } => write!(f, "{slot}: create from {image}"),
            Self::Start { slot } => write!(f, "{slot}: start"),
            Self::Converse { slot, which: Which::Current } => write!(f, "{slot}: converse"),
            Self::Converse { slot, which: Which::Outgoing } => {
                write!(f, "{slot}: converse with the outgoing")
            }
            Self::Promote { slot, spare, container, number, before, .. } => {
                write!(f, "{slot}: promote {} of {spare} to start {number} ({before})", container.name)
            }
            Self::Withdraw { container } => {
                write!(f, "withdraw {} on {}", container.name, container.engine.id)
            }
            Self::Sleep { slot } => write!(f, "{slot}: sleep"),
            Self::RecordReady { slot, since, .. } => write!(f, "{slot}: record ready since {since}"),
            Self::ForgetFailures { slot } => write!(f, "{slot}: forget failures"),
            Self::Halt { container } => write!(f, "halt {} on {}", container.name, container.engine.id),
            Self::Remove { container, keep_output, .. } => {
                write!(f, "remove {} on {}", container.name, container.engine.id)?;
                if *keep_output { f.write_str(", keep its last lines") } else { Ok(()) }
            }
            Self::DropOutgoing { slot } => write!(f, "{slot}: drop outgoing"),
            Self::Forget { slot } => write!(f, "{slot}: forget"),
        }
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("new"),
            Self::Ended(ended) => f.write_str(ended.reason.as_str()),
            Self::EndedEarlier(reason) => f.write_str(reason.as_str()),
            Self::Replaced => f.write_str("update"),
            Self::FellBack(ended) => write!(f, "back to the outgoing, {}", ended.reason.as_str()),
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            OutlookState::Ready => f.write_str("ready")?,
            OutlookState::Starting => f.write_str("starting")?,
            OutlookState::Priming { failure: None } => f.write_str("priming")?,
            OutlookState::Priming { failure: Some(failure) } => write!(f, "priming fails: {failure}")?,
            OutlookState::Idle => f.write_str("idle")?,
            OutlookState::BackingOff { reason, until } => {
                write!(f, "backing off until {until} ({})", reason.as_str())?;
            }
            OutlookState::Waiting(obstacle) => write!(f, "waiting: {obstacle}")?,
            OutlookState::Terminating => f.write_str("terminating")?,
        }
        match &self.update {
            UpdateState::None => {}
            UpdateState::InProgress => f.write_str(", update in progress")?,
            UpdateState::Failing => f.write_str(", update failing")?,
            UpdateState::WaitingForTurn => f.write_str(", update waits for its turn")?,
            UpdateState::Blocked(obstacle) => write!(f, ", update blocked: {obstacle}")?,
        }
        if self.covered {
            f.write_str(", the outgoing serves")?;
        }
        if self.image_outdated { f.write_str(", image outdated") } else { Ok(()) }
    }
}

impl fmt::Display for super::Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EngineDown(message) => write!(f, "the engine does not answer: {message}"),
            Self::UnknownRuntime { wanted, known } => {
                write!(f, "the engine has no OCI runtime {wanted:?}; it has {}", known.join(", "))
            }
            Self::NotASlice { wanted } => {
                write!(f, "the engine's cgroup driver is systemd, and {wanted:?} is no slice")
            }
            Self::MemoryUnlockable { limit } => write!(
                f,
                "the engine is rootless, and its processes may lock {} KiB of memory at most, whatever their capabilities: less than a \
                 plugin needs that locks all of its own",
                limit / 1024
            ),
            Self::NoDirectory(message)
            | Self::Fault(TrialFault::Unseen(message) | TrialFault::CannotLock(message)) => {
                f.write_str(message)
            }
            Self::Untried => f.write_str("it is being tried whether the container can run"),
            Self::ImageMissing => f.write_str("the image is not on the engine"),
            Self::Pulling => f.write_str("the image is being pulled"),
            Self::PullFailed { message, retry_at } => {
                write!(f, "the image cannot be pulled: {message}; it is tried again at {retry_at}")
            }
            Self::ImageMismatch(found) => write!(f, "the image of that name is {found}"),
            Self::Unprimed(mounts) => {
                let mounts: Vec<String> = mounts.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "what hosts told {} is not known, and they have to tell it again",
                    mounts.join(", ")
                )
            }
        }
    }
}
