//! A request's way in: head, rule, target, and the head that the target will read. All of it happens on the bytes
//! as they lie in the read buffer, in one go, before anything is awaited.

use std::net::SocketAddrV4;
use std::sync::Arc;

use rand::RngExt;

use puffer_core::Timestamp;
use puffer_core::elb::rule::{Origin, redirect_location};

use super::pool::Ends;
use super::sticky::{Follows, Session, classic_cookies, classic_target, cookie_lines, named_target};
use super::worker::Worker;
use crate::config::ClassicListenerConfig;
use crate::http::body::Body;
use crate::http::own_response::{Delivery, push_error, push_fixed, push_redirect};
use crate::http::request::{Passage, Refused, Request, header_table, parse};
use crate::plane::counters::Block;
use crate::plane::group::{InFlight, Target};
use crate::plane::route::{Route, RuleAction, Way, choose_way};
use crate::report::LiveCounters;

/// A request that has been understood.
pub(super) struct Admitted {
    pub(super) head_bytes: usize,
    pub(super) body: Body,
    /// The client wants the connection to stay open.
    pub(super) keep_alive: bool,
    /// Minor version of the client's HTTP/1.
    pub(super) minor: u8,
    pub(super) is_head: bool,
    pub(super) is_idempotent: bool,
    pub(super) offers_upgrade: bool,
    pub(super) act: Act,
}

/// What is to be done with a request.
pub(super) enum Act {
    /// The head for the target is written.
    Forward(Forwarding),
    /// The whole response is written.
    Answer,
}

/// A request on its way to a target.
pub(super) struct Forwarding {
    pub(super) in_flight: InFlight,
    /// Of (balancer, group, zone).
    pub(super) block: Arc<Block>,
    /// Where the target takes it.
    pub(super) address: SocketAddrV4,
    /// Ready lines for the response.
    pub(super) cookies: Vec<u8>,
    /// The application's cookie that the load balancer's own follows.
    pub(super) follows: Option<Follows>,
    /// Under a classic load balancer.
    session: Session,
}

impl Forwarding {
    /// The ends of a connection that can carry it.
    pub(super) fn ends(&self, route: &Route) -> Ends {
        (self.in_flight.target().serial, self.address, route.node)
    }

    /// Sends it to another target of a classic load balancer.
    pub(super) fn move_to(
        &mut self,
        target: Arc<Target>,
        worker: &Worker,
        route: &Route,
        classic: &ClassicListenerConfig,
    ) {
        self.session = self.session.moved();
        if let Some(sticky) = &classic.stickiness {
            let now = worker.shared.clock.now();
            (self.cookies, self.follows) = classic_cookies(target.cookie_name(), sticky, self.session, now);
        }
        self.address = route.address_of(&target);
        self.in_flight = InFlight::new(target, worker.shared.clone());
    }
}

/// Understands the head at the start of `bytes` and writes what follows from it to `out`; none if the head is not all
/// there yet.
pub(super) fn admit(
    worker: &Worker,
    route: &Route,
    peer: SocketAddrV4,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<Option<Admitted>, Refused> {
    let mut table = header_table();
    let Some(mut request) = parse(bytes, &mut table, *peer.ip(), route.attributes.desync_mode)? else {
        return Ok(None);
    };
    out.clear();
    let now = worker.shared.clock.now();
    let counters = &route.block.part(worker.index).counters;
    let way = match route.action_for(&request) {
        Some(RuleAction::Forward(ways)) => choose_way(ways, || worker.rng.borrow_mut().random()),
        Some(RuleAction::Redirect(redirect)) => {
            let (path, query) = request.path_and_query();
            let origin = Origin {
                protocol: "HTTP",
                host: request.host,
                port: route.port,
                path,
                query: query.unwrap_or_default(),
            };
            counters.http_redirect_count.add(1);
            counters.http_code_elb_3xx.add(1);
            let location = redirect_location(redirect, origin);
            push_redirect(out, redirect.status_code, &location, delivery(&mut request, bytes, now));
            return Ok(Some(admitted(request, Act::Answer)));
        }
        Some(RuleAction::Fixed(fixed)) => {
            counters.http_fixed_response_count.add(1);
            count_own(counters, fixed.status_code);
            push_fixed(out, fixed, delivery(&mut request, bytes, now));
            return Ok(Some(admitted(request, Act::Answer)));
        }
        None => return Err(Refused(500)),
    };
    let Some(forwarding) = way.and_then(|way| choose_target(worker, route, way, &request, now)) else {
        count_own(counters, 503);
        push_error(out, 503, delivery(&mut request, bytes, now));
        return Ok(Some(admitted(request, Act::Answer)));
    };
    let passage = Passage {
        attributes: &route.attributes,
        peer,
        port: route.port,
        forwarded_lines: &route.forwarded_lines,
        node_text: &route.node_text,
        traces: route.classic.is_none(),
        now,
    };
    request.write_head(out, &passage, &mut *worker.rng.borrow_mut())?;
    forwarding.block.part(worker.index).counters.request_count.add(1);
    Ok(Some(admitted(request, Act::Forward(forwarding))))
}

fn choose_target(
    worker: &Worker,
    route: &Route,
    way: &Way,
    request: &Request<'_, '_>,
    now: Timestamp,
) -> Option<Forwarding> {
    let group = &way.group;
    let counters = &route.block.part(worker.index).counters;
    if let Some(classic) = &route.classic {
        let sticky = classic.stickiness.as_ref();
        let named = sticky.and_then(|s| classic_target(request, s, now));
        let kept = named.and_then(|name| group.pick_sticky(&route.zone, name));
        let session = match (named, &kept) {
            (None, _) => Session::New,
            (Some(_), Some(_)) => Session::Kept,
            (Some(_), None) => Session::Moved,
        };
        let target = kept.or_else(|| group.pick(&route.zone, || worker.rng.borrow_mut().random()))?;
        let (cookies, follows) = match sticky {
            Some(sticky) => classic_cookies(target.cookie_name(), sticky, session, now),
            None => (Vec::new(), None),
        };
        return Some(forwarding(worker, route, way, target, (cookies, follows), session));
    }
    let stickiness = &group.selection().stickiness.clone();
    let mut kept = None;
    if stickiness.enabled {
        kept = named_target(request, now).and_then(|name| group.pick_sticky(&route.zone, name));
        if kept.is_none() {
            counters.non_sticky_request_count.add(1);
        }
    }
    let target = match kept {
        Some(target) => target,
        None => group.pick(&route.zone, || worker.rng.borrow_mut().random())?,
    };
    let cookies = match stickiness.enabled {
        true => cookie_lines(target.cookie_name(), stickiness, now),
        false => Vec::new(),
    };
    Some(forwarding(worker, route, way, target, (cookies, None), Session::New))
}

fn forwarding(
    worker: &Worker,
    route: &Route,
    way: &Way,
    target: Arc<Target>,
    (cookies, follows): (Vec<u8>, Option<Follows>),
    session: Session,
) -> Forwarding {
    let address = route.address_of(&target);
    let in_flight = InFlight::new(target, worker.shared.clone());
    Forwarding { in_flight, block: way.block.clone(), address, cookies, follows, session }
}

fn admitted(request: Request<'_, '_>, act: Act) -> Admitted {
    Admitted {
        head_bytes: request.head_bytes,
        keep_alive: request.keep_alive,
        minor: request.minor,
        is_head: request.method == "HEAD",
        is_idempotent: request.is_idempotent(),
        offers_upgrade: request.upgrade.is_some(),
        body: request.body,
        act,
    }
}

/// How an answer of ours goes out. If the request's body is not here yet, the connection closes rather than that we
/// read a body nobody wants.
fn delivery(request: &mut Request<'_, '_>, bytes: &[u8], now: Timestamp) -> Delivery {
    let mut body = request.body.clone();
    let here = body.take(&bytes[request.head_bytes..]).is_ok() && body.is_done();
    request.keep_alive &= here;
    Delivery { keep_alive: request.keep_alive, head_only: request.method == "HEAD", now }
}

/// Counts a status that did not come from a target.
pub(super) fn count_own(counters: &LiveCounters, status: u16) {
    match status / 100 {
        3 => counters.http_code_elb_3xx.add(1),
        4 => counters.http_code_elb_4xx.add(1),
        5 => counters.http_code_elb_5xx.add(1),
        _ => {}
    }
    match status {
        500 => counters.http_code_elb_500.add(1),
        502 => counters.http_code_elb_502.add(1),
        503 => counters.http_code_elb_503.add(1),
        504 => counters.http_code_elb_504.add(1),
        _ => {}
    }
}
