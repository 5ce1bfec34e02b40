use super::*;

#[test]
fn a_question_is_an_address_with_or_without_a_port_and_an_end() {
    let cases = [
        ("10.0.0.5", "10.0.0.10:443", Ok(("10.0.0.5", None))),
        ("10.0.0.5:40000", "10.0.0.10:443", Ok(("10.0.0.5", Some(40_000)))),
        ("2001:db8::5", "[2001:db8::10]:443", Ok(("2001:db8::5", None))),
        ("[2001:db8::5]", "[2001:db8::10]:443", Ok(("2001:db8::5", None))),
        ("[2001:db8::5]:1", "[2001:db8::10]:443", Ok(("2001:db8::5", Some(1)))),
        ("client", "10.0.0.10:443", Err("`client` is no client")),
        ("10.0.0.5:99999", "10.0.0.10:443", Err("is no client")),
        ("10.0.0.0/8", "10.0.0.10:443", Err("is no client")),
        ("10.0.0.5", "10.0.0.10", Err("`10.0.0.10` is no end of a service")),
        ("10.0.0.5", "dtr:443", Err("is no end")),
        ("10.0.0.5", "[2001:db8::10]:443", Err("different families")),
        ("10.0.0.5:0", "10.0.0.10:443", Err("port 0")),
        ("10.0.0.5", "10.0.0.10:0", Err("port 0")),
    ];
    for (source, destination, expected) in cases {
        match (Question::new(source, destination), expected) {
            (Ok(question), Ok((address, port))) => {
                assert_eq!(question.source.address.to_string(), address);
                assert_eq!(question.source.port, port);
                assert_eq!(question.destination.to_string(), destination);
            }
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{source} {destination}: {error}");
            }
            (other, _) => panic!("{source} {destination}: {other:?}"),
        }
    }
}

#[test]
fn a_client_on_this_host_is_told_that_it_is_not_balanced() {
    let own = BTreeSet::from([IpAddr::from([10, 0, 0, 2])]);
    let step = local_client(IpAddr::from([10, 0, 0, 2]), &own).expect("it is of this host");
    assert!(
        step.about == "client" && step.text.starts_with("10.0.0.2 is an address of this host"),
        "{step:?}"
    );
    assert_eq!(local_client(IpAddr::from([10, 0, 0, 5]), &own), None);
}
