use super::*;

fn at(second: u64, begun: Instant) -> Instant {
    begun + Duration::from_secs(second)
}

/// So many of each of these, in microseconds.
fn histogram(all: &[(u32, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    for (micros, count) in all {
        let bucket = HANDSHAKE_BOUNDS.iter().position(|bound| micros <= bound).unwrap_or(BOUNDS);
        histogram.buckets[bucket] += count;
        histogram.sum += u64::from(*micros) * count;
    }
    histogram
}

fn handshakes(all: &[(u32, u64)]) -> Handshakes {
    Handshakes { connect: histogram(all), client_rtt: histogram(&[]) }
}

fn place(last: u8) -> Place {
    let address = [10, 0, 0, last].into();
    Place { service: "http".into(), vip: [10, 0, 0, 10].into(), address, port: 80 }
}

#[test]
fn a_quantile_is_interpolated_within_its_bucket() {
    // 100 of 500 µs to 1 ms: half of them within 750 µs.
    let latency = Latency::of(&histogram(&[(1000, 100)])).expect("there are enough");
    assert_eq!(latency, Latency { p50: 0.75, p99: 0.995, mean: 1.0 });
    // 98 of them are fast, and two beyond all bounds: no more is known of those than that.
    let latency = Latency::of(&histogram(&[(80, 98), (9_000_000, 2)])).expect("there are enough");
    assert_eq!((latency.p50, latency.p99), (0.051, 5000.0));
    assert_eq!(latency.mean, 180.078);
    // Empty buckets between two full ones are stepped over.
    let latency = Latency::of(&histogram(&[(100, 50), (10_000, 50)])).expect("there are enough");
    assert_eq!(latency.p50, 0.1);
}

#[test]
fn few_handshakes_say_nothing() {
    assert_eq!(Latency::of(&histogram(&[(1000, 4)])), None);
    assert!(Latency::of(&histogram(&[(1000, 5)])).is_some());
}

#[test]
fn what_is_shown_is_of_the_last_minute() {
    let begun = Instant::now();
    let mut readings = Readings::default();
    assert!(readings.is_due(begun));
    // What an earlier agent has seen is not of now.
    let mut counted = 1000;
    assert_eq!(readings.recent(&place(11), &handshakes(&[(100, counted)]), begun), Handshakes::default());
    for step in 0..=20 {
        let now = at(10 * step, begun);
        assert!(
            readings.is_due(now) && !readings.is_due(at(10 * step, begun) - Duration::from_secs(10) / 2)
                || step == 0
        );
        readings.take(now, [(place(11), handshakes(&[(100, counted)]))]);
        // Ten in each step: after a minute and on, those of a minute to 70 s.
        counted += 10;
        let later = now + Duration::from_secs(9);
        let recent = readings.recent(&place(11), &handshakes(&[(100, counted)]), later);
        let steps = (step + 1).min(7);
        assert_eq!(count(&recent.connect), 10 * steps, "after {step} steps");
        assert_eq!(recent.connect.sum, 1000 * steps);
    }
    assert!(readings.of.values().all(|readings| readings.len() == KEPT));
    readings.take(at(300, begun), [(place(12), handshakes(&[]))]);
    assert_eq!(readings.of.len(), 1, "who is gone is forgotten");
}

#[test]
fn where_counting_began_anew_all_of_it_is_new() {
    let begun = Instant::now();
    let mut readings = Readings::default();
    readings.take(begun, [(place(11), handshakes(&[(100, 1000), (1000, 2)]))]);
    // Fewer of one kind, and more of another: the id is another replica's, or the datapath another one.
    let anew = handshakes(&[(100, 20), (1000, 30)]);
    assert_eq!(readings.recent(&place(11), &anew, at(10, begun)), anew);
    let anew = handshakes(&[(100, 20)]);
    assert_eq!(readings.recent(&place(11), &anew, at(10, begun)), anew);
}

/// The names and sentences of those that are slow, of replicas r1, r2, ... with so many handshakes of so many microseconds.
fn slow_of(replicas: &[(u32, u64)]) -> Vec<(String, f64, String)> {
    let names: Vec<_> = (1..=replicas.len()).map(|number| format!("r{number}")).collect();
    let all: Vec<_> = replicas.iter().map(|of| histogram(&[*of])).collect();
    let found = judge(names.iter().map(String::as_str).zip(&all));
    found.into_iter().map(|Slow { replica, times, text }| (replica, times, text)).collect()
}

#[test]
fn a_replica_that_takes_much_longer_than_its_peers_is_slow() {
    // Medians: 1.75 ms, 17.5 ms, 1.75 ms.
    let words = "r2 takes 10 times as long as its peers to accept a connection (18 ms; theirs 1.8 ms)";
    assert_eq!(
        slow_of(&[(2500, 100), (25_000, 100), (2500, 100)]),
        [("r2".to_owned(), 10.0, words.to_owned())]
    );
    // Two are slow among four: the median of each one's peers is that of a fast one.
    let two = slow_of(&[(25_000, 50), (50_000, 50), (500, 50), (500, 50)]);
    assert_eq!(two.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
}

#[test]
fn of_two_replicas_the_slow_one_has_one_peer() {
    let words = "r1 takes 3.5 times as long as its peer to accept a connection (0.18 ms; the peer's 0.05 ms)";
    assert!(slow_of(&[(250, 20), (100, 20)]).is_empty(), "not a millisecond more, though {words}");
    let found = slow_of(&[(5000, 20), (100, 20)]);
    assert_eq!(found.len(), 1);
    let words = "r1 takes 75 times as long as its peer to accept a connection (3.8 ms; the peer's 0.05 ms)";
    assert_eq!(found[0].2, words);
}

#[test]
fn equal_replicas_and_one_alone_are_not_slow() {
    assert!(slow_of(&[(25_000, 100), (25_000, 100), (25_000, 100)]).is_empty());
    assert!(slow_of(&[(5_000_000, 100)]).is_empty());
    assert!(slow_of(&[]).is_empty());
    // A millisecond more, but not three times as long.
    assert!(slow_of(&[(10_000, 100), (5000, 100), (5000, 100)]).is_empty());
}

#[test]
fn who_has_few_handshakes_is_neither_slow_nor_a_peer() {
    assert!(slow_of(&[(25_000, 19), (500, 100), (500, 100)]).is_empty());
    assert!(slow_of(&[(25_000, 100), (500, 19)]).is_empty(), "it has no peer");
    let found = slow_of(&[(25_000, 20), (500, 20), (25_000, 19), (25_000, 19)]);
    assert_eq!(found.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["r1"]);
}
