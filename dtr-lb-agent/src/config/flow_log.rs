//! `agent.flow_log`: where the flow log goes.

use std::path::PathBuf;

use super::agent::absolute;
use super::takes::Text;

/// Where the flow log goes, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowLogTarget {
    /// systemd's.
    Journal,
    File(PathBuf),
}

pub(super) const FLOW_LOG: Text<FlowLogTarget> = Text {
    words: "\"journal\", or the absolute path of a file",
    parse: |text| match text {
        "journal" => Ok(FlowLogTarget::Journal),
        path if path.ends_with('/') => Err("a directory, not a file".to_owned()),
        path => absolute(path).map(FlowLogTarget::File),
    },
    show: |target| match target {
        FlowLogTarget::Journal => "journal".to_owned(),
        FlowLogTarget::File(path) => path.display().to_string(),
    },
};
