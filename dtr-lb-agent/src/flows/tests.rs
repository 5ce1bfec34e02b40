use bytemuck::Zeroable as _;
use dtr_lb_common::{abi::Control, address::Be16};

use super::*;

fn tuple(source: &str, destination: &str) -> Tuple {
    let end = |text: &str| text.parse::<SocketAddr>().expect("an end");
    let (source, destination) = (end(source), end(destination));
    Tuple {
        source: source.ip().into(),
        destination: destination.ip().into(),
        source_port: Be16::new(source.port()),
        destination_port: Be16::new(destination.port()),
    }
}

fn filter(query: &Query) -> Result<Filter, FlowsError> {
    Filter::new(query, &Directory::default(), &BTreeMap::new())
}

fn entry(direction: Direction, state: State, key: Tuple, to: Tuple) -> Flow {
    Flow { control: Control::new(state, direction, false), key, to, ..Flow::zeroed() }
}

#[test]
fn one_entry_stands_for_a_connection_and_tells_its_ends() {
    let (client, replica) =
        (tuple("192.0.2.1:40000", "10.0.0.10:443"), tuple("10.0.0.2:10001", "10.0.0.11:443"));
    let there = entry(Direction::ToReplica, State::ESTABLISHED, client, replica);
    let there = Ends::of(&there).expect("it stands");
    assert_eq!(there.vip().to_string(), "10.0.0.10:443");
    assert_eq!(there.nat.map(|nat| nat.to_string()).as_deref(), Some("10.0.0.2:10001"));
    let back = |state| Ends::of(&entry(Direction::ToClient, state, replica.reversed(), client.reversed()));
    assert!(back(State::ESTABLISHED).is_none() && back(State::TIME_WAIT).is_none());
    let held = back(State::TIME_WAIT_HELD).expect("nothing else is left of it");
    assert_eq!((held.client, held.nat), (client, there.nat));
    // Where the client's address and port stay, there is no other.
    let kept = tuple("192.0.2.1:40000", "10.0.0.11:443");
    let there = Ends::of(&entry(Direction::ToReplica, State::ESTABLISHED, client, kept)).expect("it stands");
    assert_eq!((there.client, there.nat), (client, None));
    let direct = Ends::of(&entry(Direction::Direct, State::ESTABLISHED, client, client)).expect("it stands");
    assert_eq!((direct.client, direct.nat), (client, None));
}

#[test]
fn a_filter_takes_what_all_of_its_parts_take() {
    let client = tuple("192.0.2.1:40000", "10.0.0.10:443");
    let flow = Flow { replica: 7, ..entry(Direction::ToReplica, State::ESTABLISHED, client, client) };
    let ends = Ends { client, nat: None };
    let prefix = |text: &str| Query { client: Some(text.parse().expect("a prefix")), ..Query::default() };
    let state = |text: &str| Query { state: Some(text.into()), ..Query::default() };
    let cases = [
        (Query::default(), true),
        (prefix("192.0.2.0/24"), true),
        (prefix("192.0.3.0/24"), false),
        (prefix("2001:db8::/32"), false),
        (state("established"), true),
        (state("closed"), false),
    ];
    for (query, expected) in cases {
        assert_eq!(filter(&query).expect("it is valid").takes(&ends, &flow), expected, "{query:?}");
    }
    let of = |replicas: &[ReplicaId], services: &[ServiceKey]| Filter {
        replicas: Some(replicas.iter().copied().collect()),
        services: Some(services.iter().copied().collect()),
        ..filter(&Query::default()).expect("it is valid")
    };
    assert!(of(&[6, 7], &[ends.service()]).takes(&ends, &flow));
    assert!(!of(&[6], &[ends.service()]).takes(&ends, &flow));
    assert!(!of(&[7], &[]).takes(&ends, &flow));
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let unknown = |query: Query| filter(&query).err().expect("it is refused").to_string();
    let state = unknown(Query { state: Some("open".into()), ..Query::default() });
    assert!(state.contains("`open`") && state.contains("client_closed"), "{state}");
    let service = unknown(Query { service: Some("web".into()), ..Query::default() });
    assert!(service.contains("no service is called `web`"), "{service}");
    let replica = unknown(Query { replica: Some("r9".into()), ..Query::default() });
    assert!(replica.contains("no replica is called `r9`"), "{replica}");
    assert!(unknown(Query { limit: Some(MOST + 1), ..Query::default() }).contains("narrow it down"));
}

#[test]
fn handshakes_are_looked_at_where_their_states_are_asked_for() {
    for state in State::ALL {
        let query = Query { state: Some(state.name().into()), ..Query::default() };
        let handshake = [State::SYN_SENT, State::SYN_RECEIVED].contains(&state);
        assert_eq!(filter(&query).expect("it is valid").half_open, handshake, "{state:?}");
    }
}
