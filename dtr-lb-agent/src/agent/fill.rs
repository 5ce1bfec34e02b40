//! How full the flow table is, and when that is worth a line in the log.

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Room,
    /// From 80 % on.
    Near,
    /// From 100 % on, or where a connection was refused for want of room.
    Full,
}

/// What was known at the last census.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fill {
    level: Level,
    /// Connections that were refused for want of room, since the maps were made; none before the first census.
    refused: Option<u64>,
}

impl Fill {
    /// Takes in a census: entries, the connections that the table is for, and all refusals. Returns the level if it is another one
    /// than before, and how many were refused since.
    pub(super) fn take(&mut self, entries: u64, max_flows: u32, refused: u64) -> Option<(Level, u64)> {
        let since = refused.saturating_sub(self.refused.unwrap_or(refused));
        self.refused = Some(refused);
        // A connection has two entries as a rule.
        let percent = 100 * entries / (2 * u64::from(max_flows)).max(1);
        let level = match percent {
            _ if since > 0 => Level::Full,
            100.. => Level::Full,
            80.. => Level::Near,
            // It has to fall a little before it counts as changed.
            75.. if self.level > Level::Room => Level::Near,
            _ => Level::Room,
        };
        let changed = level != self.level;
        self.level = level;
        changed.then_some((level, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_change_and_none_for_swaying() {
        let mut fill = Fill::default();
        // Entries of a table for 100 connections, refusals so far; the level that is told.
        let cases = [
            (100, 5, None),
            (159, 5, None),
            (160, 5, Some((Level::Near, 0))),
            (158, 5, None),
            (200, 5, Some((Level::Full, 0))),
            (190, 5, Some((Level::Near, 0))),
            (190, 8, Some((Level::Full, 3))),
            (190, 9, None),
            (190, 9, Some((Level::Near, 0))),
            (149, 9, Some((Level::Room, 0))),
        ];
        for (entries, refused, told) in cases {
            assert_eq!(fill.take(entries, 100, refused), told, "{entries} entries, {refused} refused");
        }
    }
}
