//! `dtr-lb reload`

use super::{Failure, complain, places, print, runtime};
use crate::{
    api::{self, Reloaded},
    cli::Global,
};

/// Makes the agent read its config file again, and says what has changed. A config that is not valid changes nothing.
pub fn reload(global: &Global) -> Result<(), Failure> {
    let Reloaded { changes, notes } = runtime()?.block_on(api::ask_reload(&places(global).socket))?;
    notes.iter().for_each(|note| complain(&format!("note: {note}")));
    if changes.is_empty() {
        return print("nothing has changed\n");
    }
    print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())
}
