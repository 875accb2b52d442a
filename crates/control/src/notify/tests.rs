use puffer_core::ManualClock;
use puffer_core::messaging::{SubscriptionProtocol, Topic, TopicSubscription};
use puffer_inventory::messaging::Publication;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

use super::*;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    notify: Notify,
    listener: TcpListener,
}

async fn world() -> World {
    world_of(SubscriptionProtocol::Http, Trust::system()).await
}

async fn world_of(protocol: SubscriptionProtocol, trust: Trust) -> World {
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
        protocol,
        endpoint: format!("{}://{}/in", protocol.name(), listener.local_addr().unwrap()),
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
    let notify = Notify::trusting(trust, store.clone(), Arc::clone(&clock) as _);
    World { _dir: dir, store, clock, notify, listener }
}

/// Takes one request and answers it; gives the request.
async fn answer(listener: &TcpListener, status: &str) -> String {
    serve(listener.accept().await.unwrap().0, status).await
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
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

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Trust::only(roots)
    }

    /// A server with a certificate for `name`.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Takes one connection, which must end before a request comes.
async fn hang_up(listener: &TcpListener, acceptor: &TlsAcceptor) {
    let (stream, _) = listener.accept().await.unwrap();
    // The client's refusal may show in the handshake or, as that is over for a server of TLS 1.3 early, as an end of the stream.
    if let Ok(mut stream) = acceptor.accept(stream).await {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(heard.is_empty(), "the message went to somebody who is not trusted");
    }
}

#[tokio::test]
async fn a_trusted_certificate_is_taken() {
    let authority = Authority::new();
    let w = world_of(SubscriptionProtocol::Https, authority.trust()).await;
    let acceptor = authority.acceptor("127.0.0.1");
    let server = async {
        let (stream, _) = w.listener.accept().await.unwrap();
        serve(acceptor.accept(stream).await.unwrap(), "200 OK").await
    };
    let (status, request) = tokio::join!(w.notify.activate(), server);
    assert_eq!((status.delivered, w.store.list::<HttpDelivery>().len()), (1, 0));
    assert!(request.starts_with("POST /in HTTP/1.1\r\n") && request.contains("\"Message\":\"hello\""));
}

#[tokio::test]
async fn an_untrusted_certificate_hears_nothing_and_is_tried_again() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let w = world_of(SubscriptionProtocol::Https, known.trust()).await;
    // Of another authority; of the right one, but for another name.
    for (n, acceptor) in [unknown.acceptor("127.0.0.1"), known.acceptor("127.0.0.2")].into_iter().enumerate()
    {
        let (status, ()) = tokio::join!(w.notify.activate(), hang_up(&w.listener, &acceptor));
        assert_eq!((status.failed, status.delivered, status.dropped), (1, 0, 0));
        let left = w.store.list::<HttpDelivery>();
        assert_eq!((left.len(), left[0].attempts as usize), (1, n + 1));
        w.clock.advance(retry_wait(left[0].attempts));
    }
    let acceptor = known.acceptor("127.0.0.1");
    let server = async {
        let (stream, _) = w.listener.accept().await.unwrap();
        serve(acceptor.accept(stream).await.unwrap(), "200 OK").await
    };
    let (status, _) = tokio::join!(w.notify.activate(), server);
    assert_eq!((status.delivered, w.store.list::<HttpDelivery>().len()), (1, 0), "once it is renewed");
}
