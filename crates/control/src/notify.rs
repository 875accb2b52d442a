//! Messages reach HTTP endpoints, and what is kept for others does not grow without end.
//!
//! A delivery is a record from the transaction that published the message until the endpoint has taken it, so it is made at
//! least once: a server that dies between the endpoint's answer and the removal of the record delivers again. An endpoint
//! that refuses (4xx) is not asked again; one that fails is, ever more rarely, and given up in the end.
//! Source: SNS developer guide, "message delivery retries".

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::event::Event;
use puffer_core::messaging::{ATTEMPTS_MAX, HttpDelivery, HttpTarget, QueueMessage, retry_wait};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::{messaging, notices};
use puffer_store::{Store, StoreError, Subscription};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Reconciler;

/// Longest time between two activations.
const PERIOD: Duration = Duration::from_secs(30);
/// From connecting to the answer's first line (what SNS gives an endpoint).
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Deliveries at a time; the next ones wait for the slowest of them.
const AT_ONCE: usize = 32;
/// Bytes of an answer that are read to find its status.
const STATUS_LINE_BYTES_MAX: usize = 512;
/// Records removed in one transaction: bounds its length.
const PRUNED_AT_ONCE: usize = 1_000;

/// The reconciler. See the module.
pub struct Notify {
    store: Store,
    clock: Arc<dyn Clock>,
    deliveries: Subscription,
    due: Mutex<Option<Timestamp>>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NotifyStatus {
    /// Taken by their endpoints.
    pub delivered: usize,
    /// To be tried again.
    pub failed: usize,
    /// Given up.
    pub dropped: usize,
}

enum Outcome {
    Taken,
    Refused(u16),
    Failed(String),
}

impl Notify {
    /// Over the messages of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Notify {
        Notify { deliveries: store.subscribe::<HttpDelivery>(), store, clock, due: Mutex::new(None) }
    }

    fn due_now(&self, now: Timestamp) -> Vec<Arc<HttpDelivery>> {
        let mut later: Option<Timestamp> = None;
        let due = self.store.read(|r| {
            let mut due = Vec::new();
            for d in r.iter::<HttpDelivery>() {
                if d.due_at <= now && due.len() < AT_ONCE {
                    due.push(Arc::clone(d));
                } else {
                    later = Some(later.map_or(d.due_at, |l| l.min(d.due_at)));
                }
            }
            due
        });
        *self.due.lock() = later;
        due
    }

    async fn settle(&self, delivery: &HttpDelivery, outcome: Outcome, status: &mut NotifyStatus) {
        let attempts = delivery.attempts + 1;
        let again = match &outcome {
            Outcome::Taken => {
                status.delivered += 1;
                None
            }
            Outcome::Failed(_) if attempts < ATTEMPTS_MAX => {
                status.failed += 1;
                Some(self.clock.now() + retry_wait(attempts))
            }
            Outcome::Failed(why) => {
                tracing::warn!(endpoint = delivery.endpoint, why, "a notification is given up");
                status.dropped += 1;
                None
            }
            Outcome::Refused(code) => {
                tracing::warn!(endpoint = delivery.endpoint, code, "a notification was refused");
                status.dropped += 1;
                None
            }
        };
        let written = self.store.transact::<_, StoreError>(|tx| {
            match again {
                None => drop(tx.delete::<HttpDelivery>(&delivery.id)),
                Some(at) => {
                    tx.update::<HttpDelivery>(&delivery.id, |d| (d.attempts, d.due_at) = (attempts, at));
                }
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "a delivery's outcome could not be recorded; it is made again");
        }
    }

    async fn prune(&self) {
        let now = self.clock.now();
        // Looked for without the writer's lock: most of the time there is nothing.
        let (events, messages) = self.store.read(|r| {
            (notices::events_to_prune(r, PRUNED_AT_ONCE), messaging::expired(r, PRUNED_AT_ONCE, now))
        });
        if events.is_empty() && messages.is_empty() {
            return;
        }
        let pruned = self.store.transact::<_, StoreError>(|tx| {
            for key in &events {
                tx.delete::<Event>(key);
            }
            for id in &messages {
                tx.delete::<QueueMessage>(id);
            }
            Ok(())
        });
        if let Err(error) = pruned.await {
            tracing::warn!(%error, "old messages and events could not be dropped");
        }
    }
}

impl Reconciler for Notify {
    type Status = NotifyStatus;

    fn name(&self) -> &'static str {
        "notify"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = *self.due.lock();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.deliveries.next() => {}
            () = timer => {}
        }
    }

    async fn activate(&self) -> NotifyStatus {
        let mut status = NotifyStatus::default();
        let due = self.due_now(self.clock.now());
        // Record before act: nobody is told of what may yet be undone. After the look, so that all that was seen is settled.
        if self.store.settled().await.is_err() {
            return status;
        }
        let mut running = JoinSet::new();
        for delivery in due {
            running.spawn(async move {
                let outcome = match tokio::time::timeout(DELIVERY_TIMEOUT, post(&delivery)).await {
                    Ok(Ok(200..=299)) => Outcome::Taken,
                    Ok(Ok(429)) => Outcome::Failed("the endpoint answers 429".to_owned()),
                    Ok(Ok(code @ 400..=499)) => Outcome::Refused(code),
                    Ok(Ok(code)) => Outcome::Failed(format!("the endpoint answers {code}")),
                    Ok(Err(error)) => Outcome::Failed(error.to_string()),
                    Err(_) => Outcome::Failed("the endpoint does not answer".to_owned()),
                };
                (delivery, outcome)
            });
        }
        while let Some(done) = running.join_next().await {
            if let Ok((delivery, outcome)) = done {
                self.settle(&delivery, outcome, &mut status).await;
            }
        }
        self.prune().await;
        status
    }
}

/// The status that the endpoint answers.
async fn post(d: &HttpDelivery) -> std::io::Result<u16> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, what.to_owned());
    let target = HttpTarget::parse(&d.endpoint).ok_or_else(|| invalid("the endpoint is no http URL"))?;
    let raw = if d.raw { "x-amz-sns-rawdelivery: true\r\n" } else { "" };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: Amazon Simple Notification Service Agent\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         x-amz-sns-message-type: {}\r\nx-amz-sns-message-id: {}\r\nx-amz-sns-topic-arn: {}\r\n\
         x-amz-sns-subscription-arn: {}\r\n{raw}\r\n",
        target.path,
        target.host,
        target.port,
        d.body.len(),
        d.message_type,
        d.message_id,
        d.topic_arn,
        d.subscription_arn,
    );
    let mut stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(d.body.as_bytes()).await?;
    let mut answer = Vec::with_capacity(STATUS_LINE_BYTES_MAX);
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let code = text.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    code.ok_or_else(|| invalid("the endpoint does not answer in HTTP"))
}

#[cfg(test)]
mod tests {
    use puffer_core::ManualClock;
    use puffer_core::messaging::{SubscriptionProtocol, Topic, TopicSubscription};
    use puffer_inventory::messaging::Publication;
    use tokio::net::TcpListener;

    use super::*;

    struct World {
        _dir: tempfile::TempDir,
        store: Store,
        clock: Arc<ManualClock>,
        notify: Notify,
        listener: TcpListener,
    }

    async fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let topic = Topic {
            arn: "arn:aws:sns:r:1:t".into(),
            name: "t".into(),
            display_name: String::new(),
            created_at: clock.now(),
            tags: Default::default(),
        };
        let subscription = TopicSubscription {
            arn: format!("{}:s", topic.arn),
            topic_arn: topic.arn.clone(),
            protocol: SubscriptionProtocol::Http,
            endpoint: format!("http://{}/in", listener.local_addr().unwrap()),
            raw: false,
            confirmed: true,
            token: "t".into(),
        };
        let now = clock.now();
        let make = |tx: &mut puffer_store::Transaction<'_>| {
            let topic = tx.put(topic);
            tx.put(subscription);
            let publication = Publication { subject: None, text: &|_| "hello", seed: "1" };
            messaging::publish(tx, &topic, &publication, now);
            Ok::<_, StoreError>(())
        };
        store.transact(make).await.unwrap();
        let notify = Notify::new(store.clone(), Arc::clone(&clock) as _);
        World { _dir: dir, store, clock, notify, listener }
    }

    /// Takes one request and answers it; gives the request.
    async fn answer(listener: &TcpListener, status: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn a_failed_delivery_is_made_again_and_a_taken_one_is_not() {
        let w = world().await;
        let (status, request) = tokio::join!(w.notify.activate(), answer(&w.listener, "503 No"));
        assert_eq!((status.failed, status.delivered), (1, 0));
        assert!(request.starts_with("POST /in HTTP/1.1\r\n") && request.contains("\"Message\":\"hello\""));
        assert_eq!(w.notify.activate().await, NotifyStatus::default(), "not before its time");
        w.clock.advance(retry_wait(1));
        let (status, again) = tokio::join!(w.notify.activate(), answer(&w.listener, "200 OK"));
        assert_eq!((status.delivered, w.store.list::<HttpDelivery>().len()), (1, 0));
        assert_eq!(request, again, "the same message, by its id too");
    }

    #[tokio::test]
    async fn a_refusal_or_endless_failure_ends_a_delivery() {
        let w = world().await;
        let (status, _) = tokio::join!(w.notify.activate(), answer(&w.listener, "404 No"));
        assert_eq!((status.dropped, w.store.list::<HttpDelivery>().len()), (1, 0));
        let w = world().await;
        drop(w.listener);
        let mut n = 0;
        while !w.store.list::<HttpDelivery>().is_empty() {
            w.notify.activate().await;
            w.clock.advance(Duration::from_secs(300));
            n += 1;
        }
        assert_eq!(n, ATTEMPTS_MAX);
    }
}
