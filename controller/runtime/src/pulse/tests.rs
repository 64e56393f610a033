use std::pin::pin;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::Pulse;

#[tokio::test]
async fn a_loop_that_comes_round_is_felt_as_often_as_it_is_asked() {
    let pulse = Pulse::default();
    let beating = tokio::spawn({
        let pulse = pulse.clone();
        async move {
            loop {
                pulse.beat().await;
            }
        }
    });
    for _ in 0..3 {
        pulse.felt().await;
    }
    beating.abort();
}

#[tokio::test]
async fn a_beat_that_was_felt_before_says_nothing_of_now() {
    let pulse = Pulse::default();
    let mut felt = pin!(pulse.felt());
    assert_eq!(felt.as_mut().now_or_never(), None);
    pulse.beat().await;
    felt.await;
    assert_eq!(pulse.felt().now_or_never(), None, "the loop does not come round again");
}

#[tokio::test]
async fn a_loop_that_is_held_up_answers_when_it_goes_on() {
    let pulse = Pulse::default();
    let (hold, mut held) = mpsc::channel::<()>(1);
    let beating = tokio::spawn({
        let pulse = pulse.clone();
        async move {
            let _ = held.recv().await;
            pulse.beat().await;
        }
    });
    let feeling = tokio::spawn({
        let pulse = pulse.clone();
        async move { pulse.felt().await }
    });
    for _ in 0..50 {
        yield_now().await;
    }
    assert!(!feeling.is_finished());
    hold.send(()).await.unwrap();
    feeling.await.unwrap();
    beating.await.unwrap();
}

#[tokio::test]
async fn a_question_outlives_a_wait_that_was_given_up() {
    let pulse = Pulse::default();
    assert_eq!(pulse.beat().now_or_never(), None, "nobody asks");
    let mut felt = pin!(pulse.felt());
    assert_eq!(felt.as_mut().now_or_never(), None);
    pulse.beat().await;
    felt.await;
}
