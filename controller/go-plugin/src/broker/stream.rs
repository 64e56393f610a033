//! The one stream that carries a broker's messages.

use std::convert::Infallible;

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::{BrokerMessage, BrokerMessageError, MAX_BROKER_MESSAGE_SIZE};
use crate::{
    CallError, Channel,
    proto::plugin::{ConnInfo, grpc_broker_client::GrpcBrokerClient},
};

/// How many messages wait in each direction, before the one who sends them does.
const WAITING: usize = 16;

const METHOD: &str = "GRPCBroker.StartStream";

/// Sends messages to a plugin's broker, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BrokerSender(mpsc::Sender<BrokerMessage>);

/// Receives the messages of a plugin's broker.
///
/// A plugin whose messages nobody receives is not read any further. When this is dropped the stream ends, for the senders, too.
#[derive(Debug)]
pub struct BrokerReceiver {
    arrived: mpsc::Receiver<Result<BrokerMessage, BrokerError>>,
    unimplemented: bool,
}

/// Why there is no message of a plugin's broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The plugin has no broker. It stays so.
    #[error("the plugin has no broker")]
    Unimplemented,
    /// A message that means nothing. Others may follow.
    #[error(transparent)]
    Message(#[from] BrokerMessageError),
    /// The plugin ended the stream with an error, or its connection ended. It stays so.
    #[error("the broker's stream ended")]
    Failed(#[source] CallError),
    /// The stream has ended. It stays so.
    #[error("the broker's stream has ended")]
    Ended,
}

/// The broker's stream has ended: [`BrokerReceiver::recv`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker's stream has ended, and no message can be sent on it")]
pub struct BrokerClosed;

/// Opens the stream, at once and without waiting for the plugin.
pub(crate) fn open(channel: Channel) -> (BrokerSender, BrokerReceiver) {
    let (sender, messages) = mpsc::channel(WAITING);
    let (arrive, arrived) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tokio::select! {
            error = run(channel, messages, &arrive) => {
                // Nobody is there to be told if this fails.
                let _ = arrive.send(Err(error)).await;
            }
            () = arrive.closed() => (),
        }
    });
    (BrokerSender(sender), BrokerReceiver { arrived, unimplemented: false })
}

/// Carries messages until the stream ends.
async fn run(
    channel: Channel,
    mut messages: mpsc::Receiver<BrokerMessage>,
    arrive: &mpsc::Sender<Result<BrokerMessage, BrokerError>>,
) -> BrokerError {
    // HTTP/2 keeps what it is given for as long as the plugin takes nothing. So it is not given what senders send to: that ends with this
    // function, whatever the plugin does.
    let (forward, forwarded) = mpsc::channel(1);
    let forwarding = async move {
        while let Some(message) = messages.recv().await {
            if forward.send(message).await.is_err() {
                break;
            }
        }
        drop(forward);
        // What is received goes on.
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        error = exchange(channel, forwarded, arrive) => error,
        never = forwarding => match never {},
    }
}

/// Sends these messages, and hands on what arrives.
async fn exchange(
    channel: Channel,
    messages: mpsc::Receiver<BrokerMessage>,
    arrive: &mpsc::Sender<Result<BrokerMessage, BrokerError>>,
) -> BrokerError {
    // Dropped with this function, which ends what is sent, as soon as HTTP/2 takes more.
    let (_going, ended) = oneshot::channel::<()>();
    let messages = futures::stream::unfold(messages, async |mut messages| {
        let message = ConnInfo::from(messages.recv().await?);
        Some((message, messages))
    });
    let mut client = GrpcBrokerClient::new(channel).max_decoding_message_size(MAX_BROKER_MESSAGE_SIZE);
    // A Go plugin answers with its first message, not before: what we send does not wait for that.
    let answer = client.start_stream(messages.take_until(ended)).await;
    let mut answers = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return BrokerError::of(&status),
    };
    loop {
        let message = match answers.message().await {
            Ok(Some(message)) => BrokerMessage::try_from(message).map_err(BrokerError::Message),
            Ok(None) => return BrokerError::Ended,
            Err(status) => return BrokerError::of(&status),
        };
        if arrive.send(message).await.is_err() {
            return BrokerError::Ended;
        }
    }
}

// === impl BrokerSender ===

impl BrokerSender {
    /// Sends a message. Waits while too many others do.
    ///
    /// That it is sent does not say that it arrives.
    ///
    /// # Errors
    ///
    /// When the stream has ended, or the plugin has no broker.
    pub async fn send(&self, message: BrokerMessage) -> Result<(), BrokerClosed> {
        self.0.send(message).await.map_err(|_| BrokerClosed)
    }
}

// === impl BrokerReceiver ===

impl BrokerReceiver {
    /// The next message. Dropping the future loses none.
    ///
    /// A plugin without a broker says so after at most one exchange with it; one that has nothing to say lets this wait.
    ///
    /// # Errors
    ///
    /// Says that there is none, and whether another will come.
    pub async fn recv(&mut self) -> Result<BrokerMessage, BrokerError> {
        match self.arrived.recv().await {
            Some(Err(BrokerError::Unimplemented)) => {
                self.unimplemented = true;
                Err(BrokerError::Unimplemented)
            }
            Some(arrived) => arrived,
            None if self.unimplemented => Err(BrokerError::Unimplemented),
            None => Err(BrokerError::Ended),
        }
    }
}

// === impl BrokerError ===

impl BrokerError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unimplemented => "broker_unimplemented",
            Self::Message(error) => error.as_str(),
            Self::Failed(_) => "broker_failed",
            Self::Ended => "broker_ended",
        }
    }

    fn of(status: &Status) -> Self {
        match CallError::new(METHOD, status) {
            CallError::Refused { code: Code::Unimplemented, .. } => Self::Unimplemented,
            error => Self::Failed(error),
        }
    }
}
