use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::*;

struct Names;

impl NameSource for Names {
    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        match name {
            "web-1.us-east-1.elb.amazonaws.com" => {
                vec![Ipv4Addr::new(172, 31, 0, 9), Ipv4Addr::new(172, 31, 16, 9)]
            }
            "wide.us-east-1.elb.amazonaws.com" => (0..200).map(|i| Ipv4Addr::new(10, 0, 0, i)).collect(),
            _ => Vec::new(),
        }
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn server(upstreams: Upstreams) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let server = DnsServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(Names), upstreams).await.unwrap();
    let address = server.address().unwrap();
    (address, tokio::spawn(server.serve()))
}

async fn ask(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut answer = [0; 4096];
    let n = timeout(Duration::from_secs(10), socket.recv(&mut answer)).await.unwrap().unwrap();
    Message::from_vec(&answer[..n]).unwrap()
}

#[tokio::test]
async fn own_names_have_addresses() {
    let (server, task) = server(Upstreams::default()).await;
    let answer = ask(server, &question("WEB-1.us-east-1.elb.amazonaws.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.id, 77);
    assert!(answer.metadata.authoritative);
    let addresses: Vec<_> = answer
        .answers
        .iter()
        .map(|r| match &r.data {
            RData::A(a) => a.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(addresses, Names.addresses("web-1.us-east-1.elb.amazonaws.com"));
    let none = ask(server, &question("web-1.us-east-1.elb.amazonaws.com.", RecordType::AAAA)).await;
    assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
    let unknown = ask(server, &question("other.us-east-1.elb.amazonaws.com.", RecordType::A)).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
    task.abort();
}

#[tokio::test]
async fn a_long_answer_is_cut_on_udp_and_whole_on_tcp() {
    let (server, task) = server(Upstreams::default()).await;
    let asked = question("wide.us-east-1.elb.amazonaws.com.", RecordType::A);
    let cut = ask(server, &asked).await;
    assert!(cut.metadata.truncation);
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = asked.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 200);
    task.abort();
}

#[tokio::test]
async fn other_names_are_forwarded_or_fail() {
    let (alone, first) = server(Upstreams::default()).await;
    let asked = question("example.org.", RecordType::A);
    assert_eq!(ask(alone, &asked).await.metadata.response_code, ResponseCode::ServFail);

    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let mut packet = [0; 512];
        let (n, from) = upstream.recv_from(&mut packet).await.unwrap();
        // First somebody else's answer, then the real one.
        let mut wrong = packet[..n].to_vec();
        (wrong[0], wrong[2]) = (wrong[0] ^ 1, wrong[2] | 0x80);
        upstream.send_to(&wrong, from).await.unwrap();
        let mut right = Message::from_vec(&packet[..n]).unwrap().into_response();
        right.metadata.response_code = ResponseCode::Refused;
        upstream.send_to(&right.to_vec().unwrap(), from).await.unwrap();
    });
    let (forwarding, second) = server(Upstreams::new(vec![address])).await;
    assert_eq!(ask(forwarding, &asked).await.metadata.response_code, ResponseCode::Refused);
    answering.await.unwrap();
    first.abort();
    second.abort();
}

#[test]
fn nonsense_gets_silence() {
    assert!(matches!(reply_to(b"", &Names, true), Reply::Silence));
    assert!(matches!(reply_to(&[0xff; 40], &Names, true), Reply::Silence));
    let mut answer = question("a.example.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    assert!(matches!(reply_to(&answer.to_vec().unwrap(), &Names, true), Reply::Silence));
}

#[test]
fn resolvers_of_the_host_without_ourselves() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# c\nnameserver 127.0.0.53\nsearch x\nnameserver 9.9.9.9\nnameserver bad\n")
        .unwrap();
    let found = system_resolvers(file.path(), &["127.0.0.53".parse().unwrap()]);
    assert_eq!(found, ["9.9.9.9:53".parse().unwrap()]);
}
