//! What is one, and what is not.

use crate::{
    Format, Given, Input, Unreadable,
    haproxy::{is_one, known},
    import,
};

#[test]
fn what_is_one() {
    for text in [
        "global\n daemon\n",
        "# a\n\ndefaults # b\n\tmode http\n",
        "listen a\r\n  bind :80\r\n",
        "frontend a from b\nbind :80",
        "backend x\n  server a 10.0.0.1:80\n",
        "listen a 10.0.0.1:80\n balance roundrobin\n",
    ] {
        assert!(is_one(text), "{text}");
    }
    for text in [
        "",
        "server a 10.0.0.1:80\n",
        "global_defs {\n  router_id a\n}\n",
        "stream {\n  server {\n    listen 443;\n    proxy_pass a;\n  }\n}\n",
        "http {\n  upstream backend {\n    server a;\n  }\n}\n",
        "{\"LoadBalancers\": []}",
        "global:\n  log: x\n",
        "frontend a {\n  bind x;\n}\n",
        "virtual_server 10.0.0.1 80 {\n  delay_loop 6\n  real_server 10.0.0.2 80 {\n  }\n}\n",
    ] {
        assert!(!is_one(text), "{text}");
    }
}

#[test]
fn a_text_without_a_section_is_not_read() {
    let input = Input { name: "a".to_owned(), text: "server a 10.0.0.1:80 check\n".to_owned() };
    let given = Given { from: vec![Format::Haproxy], ..Given::default() };
    let error = import(&[input], &given, &|_| true).unwrap_err();
    assert!(matches!(error, Unreadable::Syntax { .. }), "{error}");
}

#[test]
fn many_keywords_are_known() {
    let of = |fate: &str| known().filter(|(_, other)| *other == fate).count();
    assert!(of("taken") > 100 && of("differs") > 200 && of("left out") > 150);
}
