//! Calls side by side, again and again, and what becomes of each.

use std::collections::BTreeMap;
use std::time::Duration;

use go_plugin::external::tonic::Code;
use serde_json::{Value, json};

use super::{Failure, Host, milliseconds, number, until};

/// Callers that each make their host's call, with a key or path of their own, again and again.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many. Each makes its next call when it has its answer.
    pub callers: usize,
    /// Calls per second of all of them together. `None`: as many as they can.
    pub rate: Option<f64>,
    /// The deadline of each call.
    pub deadline: Duration,
}

/// A load that goes on until it is stopped.
pub struct RunningLoad<'a> {
    host: &'a Host,
    number: u64,
}

/// What became of the calls of a load: of each that has ended, one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that were answered.
    pub answered: u64,
    /// Those that failed, by code.
    pub failed: BTreeMap<i32, FailedCalls>,
    /// Those that had neither an answer nor a failure 5 s after their deadline.
    pub lost: u64,
    /// Answers that show that an earlier call was carried out more than once. They are among the answered ones.
    pub repeated: u64,
    /// Answers that cannot be: another value than the plugin's callbacks made, or what nobody wrote. They are among the answered
    /// ones.
    pub wrong: u64,
    /// The slowest answer, in whole milliseconds.
    pub slowest: Duration,
}

/// Calls that failed with one code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedCalls {
    /// How many.
    pub count: u64,
    /// The first few different messages.
    pub messages: Vec<String>,
}

/// How fast a load's calls were answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Since the load began.
    pub elapsed: Duration,
    /// Answers per second.
    pub rate: f64,
    /// What half of the answers came within.
    pub p50: Duration,
    /// What nine of ten came within.
    pub p90: Duration,
    /// What 99 of 100 came within.
    pub p99: Duration,
}

// === impl RunningLoad ===

impl<'a> RunningLoad<'a> {
    /// Begins one. `what` is what the order needs beside the load.
    pub(super) async fn begin(host: &'a Host, load: &Load, mut what: Value) -> Result<Self, Failure> {
        what["callers"] = json!(load.callers);
        what["rate"] = json!(load.rate.unwrap_or_default());
        what["within"] = json!(milliseconds(Some(load.deadline)));
        let answer = host.order("load", what).await?;
        Ok(Self { host, number: number(&answer["load"]) })
    }

    /// The counter of one of its callers, from 0.
    pub fn key(&self, caller: usize) -> String {
        format!("load-{}-{}-{caller}", self.host.pid(), self.number)
    }

    /// What became of the calls that have ended.
    pub async fn tally(&self) -> Tally {
        self.order("tally").await
    }

    /// How fast answers have come up to now. Calls that failed are not in it.
    pub async fn pace(&self) -> Pace {
        let answer = self.host.order("pace", json!({ "load": self.number })).await;
        Pace::read(&answer.expect("the load was begun"))
    }

    /// Waits until this many calls were answered.
    ///
    /// # Panics
    /// When they are not.
    pub async fn until_answered(&self, calls: u64) {
        until(async || self.tally().await.answered >= calls).await.expect("the calls are answered");
    }

    /// Ends it, and says what became of its calls when all that were begun have ended.
    pub async fn stop(self) -> Tally {
        self.order("stop").await
    }

    async fn order(&self, verb: &str) -> Tally {
        let answer = self.host.order(verb, json!({ "load": self.number })).await;
        Tally::read(&answer.expect("the load was begun"))
    }
}

// === impl Tally ===

impl Tally {
    fn read(answer: &Value) -> Self {
        let failed = answer["failed"].as_object().expect("by code").iter();
        Self {
            answered: number(&answer["answered"]),
            failed: failed.map(|(code, calls)| (code.parse().unwrap(), FailedCalls::read(calls))).collect(),
            lost: number(&answer["lost"]),
            repeated: number(&answer["repeated"]),
            wrong: number(&answer["wrong"]),
            slowest: Duration::from_millis(number(&answer["slowest"])),
        }
    }

    /// Those that failed with this code.
    pub fn failed_with(&self, code: Code) -> FailedCalls {
        self.failed.get(&(code as i32)).cloned().unwrap_or_default()
    }

    /// How many failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|calls| calls.count).sum()
    }
}

// === impl Pace ===

impl Pace {
    fn read(answer: &Value) -> Self {
        let within = |share: &str| Duration::from_micros(number(&answer[share]));
        Self {
            elapsed: Duration::from_secs_f64(answer["seconds"].as_f64().expect("a number")),
            rate: answer["rate"].as_f64().expect("a number"),
            p50: within("p50"),
            p90: within("p90"),
            p99: within("p99"),
        }
    }
}

// === impl FailedCalls ===

impl FailedCalls {
    fn read(calls: &Value) -> Self {
        let messages = calls["messages"].as_array().expect("a list").iter();
        Self {
            count: number(&calls["count"]),
            messages: messages.map(|message| message.as_str().expect("a text").to_owned()).collect(),
        }
    }
}
