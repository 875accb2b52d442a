//! What the Auto Scaling service announces, in the transaction in which it happens: to the topics of the group, to the
//! target of a hook, and to the log of events.

use puffer_core::autoscaling::notice::{self, HookNotice, Notice};
use puffer_core::autoscaling::{Activity, Group};
use puffer_core::event::Event;
use puffer_core::messaging::Topic;
use puffer_core::{Timestamp, ids};
use puffer_store::{Reader, Transaction};
use serde_json::Value;

use crate::messaging::{self, NewMessage, Publication, Target};

/// Events kept; the oldest go first. About 1 KiB each.
pub const EVENTS_MAX: usize = 20_000;
/// The source of the service's events.
const SOURCE: &str = "aws.autoscaling";

/// Announces the end of an activity.
pub(crate) fn activity_ended(tx: &mut Transaction<'_>, activity: &Activity, now: Timestamp) {
    let Some(notice) = Notice::of(activity) else { return };
    let Some(group) = tx.get::<Group>(&activity.group) else { return };
    let Some((region, account)) = place_of(&group.arn) else { return };
    let mut resources = vec![group.arn.clone()];
    if let Some(id) = &activity.instance_id {
        resources.push(format!("arn:aws:ec2:{region}:{account}:instance/{id}"));
    }
    let detail = notice::activity_detail(activity, notice, now);
    record(tx, &group, notice.detail_type(), resources, detail, &activity.id, now);
    let wanted = notice.notification_type();
    let topics = group.notifications.iter().filter(|(_, types)| types.contains(wanted));
    for (arn, _) in topics {
        let Some(topic) = tx.get::<Topic>(arn) else { continue };
        let message = notice::activity_message(&group, activity, notice, &account, now).to_string();
        let subject = notice.subject(&group.name);
        let publication =
            Publication { subject: Some(&subject), text: &|_| message.as_str(), seed: &activity.id };
        messaging::publish(tx, &topic, &publication, now);
    }
}

/// Announces that an instance waits for a hook: an event, and a message to the hook's target. Says whether the target, if the
/// hook has one, could be told.
pub(crate) fn hook_waits(
    tx: &mut Transaction<'_>,
    group: &Group,
    waits: &HookNotice<'_>,
    target: Option<&str>,
    now: Timestamp,
) -> bool {
    record(tx, group, waits.detail_type(), vec![group.arn.clone()], waits.detail(), &waits.action.token, now);
    let (Some(target), Some((_, account))) = (target, place_of(&group.arn)) else { return true };
    let message = waits.message(&account, now).to_string();
    send(tx, target, &notice::hook_subject(&group.name), message, &waits.action.token, now)
}

/// Sends a test message to a target that is to be told from now on; says whether there is such a target.
pub fn test(tx: &mut Transaction<'_>, group: &Group, target: &str, request_id: &str, now: Timestamp) -> bool {
    let Some((_, account)) = place_of(&group.arn) else { return false };
    let message = notice::test_message(group, &account, request_id, now).to_string();
    send(tx, target, &notice::test_subject(&group.name), message, request_id, now)
}

fn send(
    tx: &mut Transaction<'_>,
    target: &str,
    subject: &str,
    message: String,
    seed: &str,
    now: Timestamp,
) -> bool {
    let found = messaging::target(&tx.reader(), target);
    match found {
        None => false,
        Some(Target::Topic(topic)) => {
            let publication = Publication { subject: Some(subject), text: &|_| message.as_str(), seed };
            messaging::publish(tx, &topic, &publication, now);
            true
        }
        Some(Target::Queue(queue)) => {
            let new = NewMessage { body: message, seed: seed.to_owned(), ..NewMessage::default() };
            match messaging::enqueue(tx, &queue, new, now) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(queue = queue.name, %error, "a notification is lost");
                    false
                }
            }
        }
    }
}

/// Writes an event of a group into the log. `seed` is what makes it differ from any other event of the group.
pub fn record(
    tx: &mut Transaction<'_>,
    group: &Group,
    detail_type: &str,
    resources: Vec<String>,
    detail: Value,
    seed: &str,
    now: Timestamp,
) {
    let Some((region, account)) = place_of(&group.arn) else { return };
    tx.put(Event {
        id: ids::uuid_v7_of(now, &format!("{detail_type}|{seed}")),
        at: now,
        source: SOURCE.to_owned(),
        detail_type: detail_type.to_owned(),
        resources,
        account,
        region,
        detail,
        group: Some(group.name.clone()),
    });
}

/// The keys of the oldest events beyond [`EVENTS_MAX`], at most `most`.
pub fn events_to_prune(r: &Reader<'_>, most: usize) -> Vec<String> {
    let excess = r.count::<Event>().saturating_sub(EVENTS_MAX).min(most);
    r.iter::<Event>().take(excess).map(|e| puffer_core::Record::key(&**e)).collect()
}

/// Region and account in an ARN.
fn place_of(arn: &str) -> Option<(String, String)> {
    let mut parts = arn.split(':').skip(3);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}
