//! What the pipeline remembers of clients. No world limits connections, so that every replica has room.

use std::{cell::RefCell, collections::BTreeMap};

use dtr_lb_common::{
    abi::{Client, ClientKey, Pressure, ReplicaId},
    pipeline::admission::ClientMemory,
};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    pressure: RefCell<BTreeMap<u32, Pressure>>,
    clients: RefCell<BTreeMap<ClientKey, Client>>,
}

impl Remembered {
    /// Becomes what the other one is.
    pub fn take_over(&self, from: &Self) {
        self.pressure.borrow_mut().clone_from(&from.pressure.borrow());
        self.clients.borrow_mut().clone_from(&from.clients.borrow());
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

    fn room(&self, _: ReplicaId) -> i32 {
        i32::MAX
    }

    fn take_room(&self, _: ReplicaId) {}
}
