//! Questions in the wire format, with the scripted name server of the lookups behind.

use std::time::Duration;

use hickory_resolver::proto::rr::Name;

use super::super::tests::{A as TYPE_A, AAAA as TYPE_AAAA, Say, Server};
use super::*;

const VIRTUAL: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 7);

fn answers(lookup: Lookup) -> Answers {
    Answers { lookup, claimed: Box::new(|host| (host == "cart.shop").then_some(VIRTUAL)) }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn ask(answers: &Answers, question: &Message, over: Over) -> Message {
    let bytes = answers.answer(&question.to_vec().unwrap(), over).await.expect("an answer");
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.message_type), (7, MessageType::Response));
    reply
}

/// The code, and each address with its TTL.
async fn told(answers: &Answers, name: &str, kind: RecordType) -> (ResponseCode, Vec<(String, u32)>) {
    let reply = ask(answers, &question(name, kind), Over::Udp).await;
    assert_eq!(reply.queries.len(), 1);
    let name = reply.queries[0].name().clone();
    let shown = |record: &Record| {
        assert_eq!(record.name, name, "the name is the one that was asked for");
        (record.data.ip_addr().expect("an address").to_string(), record.ttl)
    };
    (reply.metadata.response_code, reply.answers.iter().map(shown).collect())
}

#[tokio::test]
async fn a_name_of_ours_has_a_virtual_address_and_nothing_else() {
    let server = Server::start().await;
    let answers = answers(server.lookup());
    let virtual_address = (ResponseCode::NoError, vec![("240.0.0.7".to_owned(), 5)]);
    assert_eq!(told(&answers, "cart.shop.", RecordType::A).await, virtual_address);
    assert_eq!(told(&answers, "CART.Shop.", RecordType::A).await, virtual_address);
    for other in [RecordType::AAAA, RecordType::HTTPS, RecordType::SRV, RecordType::TXT] {
        assert_eq!(told(&answers, "cart.shop.", other).await, (ResponseCode::NoError, vec![]));
    }
    assert_eq!(server.asked("cart.shop"), 0);
}

#[tokio::test]
async fn other_names_are_what_the_name_server_says() {
    let server = Server::start().await;
    server.has("real.test", 40, &["203.0.113.9"]);
    server.has("real.test", 40, &["2001:db8::9"]);
    server.says("broken.test", TYPE_A, Say::Code(2));
    server.says("none.test", TYPE_A, Say::Code(0));
    server.says("refused.test", TYPE_AAAA, Say::Code(5));
    let answers = answers(server.lookup());
    let (code, found) = told(&answers, "Real.test.", RecordType::A).await;
    assert_eq!((code, found[0].0.as_str()), (ResponseCode::NoError, "203.0.113.9"));
    assert!(found[0].1 <= 40 && found[0].1 >= 39, "{found:?}");
    assert_eq!(told(&answers, "real.test.", RecordType::AAAA).await.1[0].0, "2001:db8::9");
    for (name, kind, code) in [
        ("absent.test.", RecordType::A, ResponseCode::NXDomain),
        ("none.test.", RecordType::A, ResponseCode::NoError),
        ("broken.test.", RecordType::A, ResponseCode::ServFail),
        ("refused.test.", RecordType::AAAA, ResponseCode::Refused),
    ] {
        assert_eq!(told(&answers, name, kind).await, (code, vec![]), "{name}");
    }
}

#[tokio::test]
async fn a_silent_name_server_is_told_as_a_failure() {
    let server = Server::start().await;
    server.says("silent.test", TYPE_A, Say::Nothing);
    let answers = answers(server.hasty());
    assert_eq!(told(&answers, "silent.test.", RecordType::A).await, (ResponseCode::ServFail, vec![]));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_cut_and_whole_over_tcp() {
    let server = Server::start().await;
    let many: Vec<String> = (0..100).map(|last| format!("203.0.113.{last}")).collect();
    server.has("many.test", 40, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let answers = answers(server.lookup_within(Duration::from_secs(2)));
    let mut asked = question("many.test.", RecordType::A);
    let cut = ask(&answers, &asked, Over::Udp).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(ask(&answers, &asked, Over::Tcp).await.answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.edns = Some(edns);
    let whole = ask(&answers, &asked, Over::Udp).await;
    assert_eq!((whole.answers.len(), whole.edns.is_some()), (100, true));
}

#[tokio::test]
async fn what_is_no_proper_question_is_refused_or_left_unanswered() {
    let server = Server::start().await;
    let answers = answers(server.lookup());
    let code = |reply: Message| reply.metadata.response_code;
    let mut two = question("cart.shop.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(ask(&answers, &two, Over::Udp).await), ResponseCode::FormErr);
    let none = Message::new(7, MessageType::Query, OpCode::Query);
    assert_eq!(code(ask(&answers, &none, Over::Udp).await), ResponseCode::FormErr);
    let notify = Message::new(7, MessageType::Query, OpCode::Notify);
    assert_eq!(code(ask(&answers, &notify, Over::Udp).await), ResponseCode::NotImp);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(ask(&answers, &chaos, Over::Udp).await), ResponseCode::Refused);

    let whole = question("cart.shop.", RecordType::A).to_vec().unwrap();
    for length in 0..whole.len() {
        let reply = answers.answer(&whole[..length], Over::Udp).await;
        let code = reply.map(|bytes| code(Message::from_vec(&bytes).unwrap()));
        assert_eq!(code, (length >= HEADER_BYTES).then_some(ResponseCode::FormErr), "{length} bytes of it");
    }
    let answer = Message::response(7, OpCode::Query).to_vec().unwrap();
    assert_eq!(answers.answer(&answer, Over::Udp).await, None, "an answer is not answered");
    let mut broken = whole.clone();
    broken[2] |= 0x80;
    assert_eq!(answers.answer(&broken[..14], Over::Udp).await, None);
}
