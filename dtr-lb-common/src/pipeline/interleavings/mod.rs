//! Several processors at once, in all interleavings: the pipeline under the model checker `loom`.

mod ending;
mod evicting;
mod explore;
mod memory;
mod opening;
mod packets;
mod world;
