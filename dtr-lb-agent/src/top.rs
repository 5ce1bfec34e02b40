//! `dtr-lb top`: the status, live, in the terminal.
//!
//! `rates` and `state` are pure, `view` draws a state into a frame of any size. What is left is the loop here: statuses
//! come once a second, each asked for apart from the loop, so that keys work while the agent does not answer; the
//! terminal is given back as it was, however the program ends.

mod rates;
mod state;
mod view;

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::gethostname;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{
    api::{self, ClientError, Ordered},
    status::Status,
};

use state::{Act, Next, State};

/// From one status to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// How long keys are waited for before the reader looks whether it is still wanted.
const KEY_PAUSE: Duration = Duration::from_millis(100);

/// Why it could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error(
        "`top` needs a terminal; for a file, a pipe or a script there is `dtr-lb status`, or `dtr-lb status --json`"
    )]
    NoTerminal,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the terminal cannot be used: {0}; `dtr-lb status` needs none")]
    Terminal(#[from] io::Error),
}

/// Runs until a key or a signal ends it.
pub async fn run(socket: &Path) -> Result<(), TopError> {
    use io::IsTerminal as _;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    // Before anything is drawn, so that an error is read where it belongs.
    let first = api::ask_status(socket).await?;
    let mut ends =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let terminal = Screen::take()?;
    show(terminal, socket, first, &mut ends).await
}

/// The terminal while it is ours.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal; from here on a panic gives it back, too, before it is told.
    fn take() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone cannot be given back.
        let _ = ratatui::try_restore();
    }
}

async fn show(
    mut screen: Screen,
    socket: &Path,
    first: Status,
    [terminate, interrupt, hang_up]: &mut [tokio::signal::unix::Signal; 3],
) -> Result<(), TopError> {
    let mut state = State::default();
    state.take(Instant::now(), Ok(first));
    state.host = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut keys = read_keys();
    let (sender, mut answers) = mpsc::channel(1);
    let (acts, mut acted) = mpsc::channel(4);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut asked = false;
    loop {
        screen.terminal.draw(|frame| view::draw(frame, &state))?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            event = keys.recv() => match event {
                Some(Ok(Event::Key(key))) => match state.key(key) {
                    Next::Stay => {}
                    Next::Quit => return Ok(()),
                    Next::Do(act) => {
                        let (acts, socket) = (acts.clone(), socket.to_owned());
                        tokio::spawn(async move {
                            // Nobody waits for it once the program ends.
                            let _ = acts.send(carry_out(&socket, act).await).await;
                        });
                    }
                },
                // A new size is seen when it is drawn.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            Some(done) = acted.recv() => {
                state.done(done);
                // What it changed is to be seen at once.
                ticks.reset_immediately();
            }
            Some((at, answer)) = answers.recv() => {
                asked = false;
                state.take(at, answer);
            }
            // An agent that is slow is not asked again before it has answered.
            _ = ticks.tick(), if !asked => {
                asked = true;
                let (sender, socket) = (sender.clone(), socket.to_owned());
                tokio::spawn(async move {
                    let answer = api::ask_status(&socket).await.map_err(|error| error.to_string());
                    // Nobody waits for it once the program ends.
                    let _ = sender.send((Instant::now(), answer)).await;
                });
            }
        }
    }
}

/// Has the agent do it. Says what was done, or why not.
async fn carry_out(socket: &Path, act: Act) -> Result<Ordered, String> {
    let done = match act {
        Act::Order(order) => api::ask_replica(socket, &order).await,
        Act::Undo => api::ask_undo(socket).await,
    };
    done.map_err(|error| error.to_string())
}

/// Keys and changes of size. They are waited for in a thread, which ends soon after the receiver is dropped.
fn read_keys() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, keys) = mpsc::channel(16);
    thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(KEY_PAUSE) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let failed = event.is_err();
            if sender.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    keys
}
