//! What is remembered of clients, in plain memory.

use std::{cell::RefCell, collections::BTreeMap};

use crate::{
    abi::{Client, ClientKey, Pressure, ReplicaId},
    pipeline::admission::ClientMemory,
};

/// All of it. Nothing makes room for anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// By the numbers of services.
    pub pressure: RefCell<BTreeMap<u32, Pressure>>,
    pub clients: RefCell<BTreeMap<ClientKey, Client>>,
    /// Of replicas of which it was said; others have all.
    pub room: RefCell<BTreeMap<ReplicaId, i32>>,
}

impl Remembered {
    /// Becomes what the other one is.
    pub fn take_over(&self, from: &Self) {
        let Self { pressure, clients, room } = from;
        self.pressure.borrow_mut().clone_from(&pressure.borrow());
        self.clients.borrow_mut().clone_from(&clients.borrow());
        self.room.borrow_mut().clone_from(&room.borrow());
    }
}

impl ClientMemory for &Remembered {
    fn pressure<R>(&self, service: u32, f: impl FnOnce(&mut Pressure) -> R) -> Option<R> {
        Some(f(self.pressure.borrow_mut().entry(service).or_default()))
    }

    fn client<R>(&self, key: &ClientKey, f: impl FnOnce(&mut Client) -> R) -> Option<R> {
        self.clients.borrow_mut().get_mut(key).map(f)
    }

    fn remember(&self, key: &ClientKey, client: &Client) {
        self.clients.borrow_mut().insert(*key, *client);
    }

    fn room(&self, replica: ReplicaId) -> i32 {
        self.room.borrow().get(&replica).copied().unwrap_or(i32::MAX)
    }

    fn take_room(&self, replica: ReplicaId) {
        if let Some(room) = self.room.borrow_mut().get_mut(&replica) {
            *room = room.saturating_sub(1);
        }
    }
}
