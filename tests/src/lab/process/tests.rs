use tempfile::TempDir;

use super::*;

fn start(directory: &TempDir, script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn("test", command, &directory.path().join("test.log")).unwrap()
}

fn says(process: &Process, word: &str) -> bool {
    wait::until(Duration::from_secs(5), || process.log_tail(9).contains(word))
}

#[test]
fn a_process_that_ends_by_itself_says_how() {
    let directory = TempDir::new().unwrap();
    let process = start(&directory, "echo out; echo err >&2; exit 7");
    let status = process.wait(Duration::from_secs(5)).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(process.log_tail(10), "out\nerr");
    assert_eq!(process.log_tail(1), "err");
    assert!(!process.is_running());
    assert_eq!(process.stop().unwrap().code(), Some(7), "ending it again changes nothing");
    assert!(process.signal(Signal::SIGHUP).is_err(), "its id may be another's by now");
}

#[test]
fn stop_is_gentle_first() {
    let directory = TempDir::new().unwrap();
    let process = start(&directory, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    assert!(says(&process, "ready"));
    assert!(process.wait(Duration::ZERO).unwrap().is_none());
    assert!(process.is_running());
    assert_eq!(process.stop().unwrap().code(), Some(0));
    assert!(process.log_tail(1).contains("bye"));
}

#[test]
fn kill_takes_the_children_along() {
    let directory = TempDir::new().unwrap();
    let process = start(&directory, "sleep 1000 & echo ready; wait");
    assert!(says(&process, "ready"));
    assert_eq!(process.kill().unwrap().signal(), Some(Signal::SIGKILL as i32));
    assert!(!group_lives(Pid::from_raw(process.pid())));
}

#[test]
fn children_left_behind_are_ended_with_the_group() {
    let directory = TempDir::new().unwrap();
    let process = start(&directory, "sleep 1000 & echo ready");
    assert!(says(&process, "ready"));
    assert!(wait::until(Duration::from_secs(5), || !process.is_running()));
    assert!(group_lives(Pid::from_raw(process.pid())));
    assert_eq!(process.stop().unwrap().code(), Some(0));
    assert!(!group_lives(Pid::from_raw(process.pid())));
}

#[test]
fn a_stopped_process_still_ends_gently_together_with_the_rest() {
    let directory = TempDir::new().unwrap();
    let processes = Processes::default();
    let mut started = Vec::new();
    for name in ["one", "two"] {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"]);
        started.push(processes.spawn(name, command, &directory.path().join(name)).unwrap());
    }
    assert!(started.iter().all(|process| says(process, "ready")));
    started[0].signal_group(Signal::SIGSTOP).unwrap();
    assert!(processes.end_all().is_empty());
    for process in &started {
        assert_eq!(process.stop().unwrap().code(), Some(5));
    }
}

#[test]
fn a_program_that_does_not_exist_is_an_error_with_its_name() {
    let directory = TempDir::new().unwrap();
    let command = Command::new("dtr-lb-no-such-program");
    let error = Process::spawn("x", command, &directory.path().join("log")).unwrap_err();
    assert!(error.to_string().contains("dtr-lb-no-such-program"), "{error}");
}

#[test]
fn the_parent_may_be_a_thread_that_is_gone() {
    let directory = TempDir::new().unwrap();
    let process =
        thread::scope(|scope| scope.spawn(|| start(&directory, "echo ready; exec sleep 1000")).join())
            .unwrap();
    assert!(says(&process, "ready"));
    assert!(process.wait(Duration::from_millis(50)).unwrap().is_none(), "it outlives the thread that asked");
    process.kill().unwrap();
}

#[test]
fn stat_is_read_past_a_hostile_name() {
    assert_eq!(state_and_group("12 (a) Z 9 (b) S 1 77 77 0"), Some(('S', 77)));
    assert_eq!(state_and_group("12 (short) S"), None);
    assert_eq!(state_and_group(""), None);
}
