//! Requests to the agent's HTTP side that somebody begins and never ends.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dtr_lb_tests::lab::LabOptions;

use crate::{BalancerOptions, Place};

/// So many are begun.
const REQUESTS: usize = 400;
/// Of each answer to somebody else.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) fn healthz_answers(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 2, ..place.lab_options().without_registry() };
    let options = BalancerOptions { sets: vec!["agent.http=10.77.0.10:8181".into()], ..place.options() };
    let stage = place.stage_with(lab, &options)?;
    let http: SocketAddr = (stage.lab.vip(), 8181).into();
    ensure!(http == SocketAddr::from(([10, 77, 0, 10], 8181)), "the lab's VIP is {http}");
    let url = format!("http://{http}/healthz");
    let attacker = stage.lab.clients()[1].namespace();
    let begun = attacker.run(|| -> std::io::Result<Vec<TcpStream>> {
        let begin = |_| {
            let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(3))?;
            // Who is refused a place may see that at once.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ");
            Ok(stream)
        };
        (0..REQUESTS).map(begin).collect()
    })??;
    for attempt in 0..10 {
        let asked = Instant::now();
        let answer = stage.lab.client().curl(&url, &["--max-time", "5"])?;
        let took = asked.elapsed();
        ensure!(answer.is_ok() && took < LIMIT, "attempt {attempt}, after {took:?}: {answer:?}");
    }
    ensure!(begun.len() == REQUESTS, "{} requests were begun", begun.len());
    stage.whoami("http")?;
    Ok(())
}
