//! What is remembered of clients and of floods, and this host's Ethernet addresses.

use core::{
    hint::black_box,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::{
    btf_maps::{Array, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use dtr_lb_common::{
    abi::{
        Client, ClientKey, MAX_CLIENTS, MAX_REPLICAS, MAX_SERVICES, OWN_MAC_SETS, OwnMacs, Pressure,
        ROOM_KNOWN, ReplicaId,
    },
    pipeline::admission::ClientMemory,
    wire::Mac,
};

#[btf_map]
static PRESSURE: PerCpuArray<Pressure, MAX_SERVICES> = PerCpuArray::new();
/// Those that were not seen for the longest time make room. Processors may write one at once: then one count is lost.
#[btf_map]
static CLIENTS: LruHashMap<ClientKey, Client, MAX_CLIENTS> = LruHashMap::new();
/// Connections that each replica may have besides; the agent sets it each time that it has counted them. By two, as an atomic
/// operation is on 64 bits.
#[btf_map]
static ROOM: Array<i64, MAX_REPLICAS> = Array::new();
#[btf_map]
static OWN_MACS: Array<OwnMacs, OWN_MAC_SETS> = Array::new();

/// The kernel's.
pub(crate) struct Clients;

impl ClientMemory for Clients {
    #[inline(always)]
    fn pressure<R>(&self, service: u32, f: impl FnOnce(&mut Pressure) -> R) -> Option<R> {
        // SAFETY: this CPU's own value, and nothing else refers to it.
        PRESSURE.get_ptr_mut(service).map(|pressure| f(unsafe { &mut *pressure }))
    }

    #[inline(always)]
    fn client<R>(&self, key: &ClientKey, f: impl FnOnce(&mut Client) -> R) -> Option<R> {
        // SAFETY: the words of a value are plain numbers. Another CPU may change them meanwhile, or the place may become another
        // client's: that client is then taken for one that has proven more or less than it has, once.
        CLIENTS.get_ptr_mut(key).map(|client| f(unsafe { &mut *client }))
    }

    #[inline(always)]
    fn remember(&self, key: &ClientKey, client: &Client) {
        // Where there is no room it proves itself once more.
        let _ = CLIENTS.insert(key, client, 0);
    }

    #[inline(always)]
    fn room(&self, replica: ReplicaId) -> i32 {
        // SAFETY: a word is read at once.
        match ROOM.get_ptr(replica.into()).map(|room| unsafe { room.read_volatile() }) {
            Some(0) => i32::MAX,
            Some(room) => (room - ROOM_KNOWN) as i32,
            None => 0,
        }
    }

    #[inline(always)]
    fn take_room(&self, replica: ReplicaId) {
        if let Some(room) = ROOM.get_ptr_mut(replica.into()) {
            // SAFETY: the word is a map's, and others change it by whole words, too.
            unsafe { atomic_xadd::<i64, i64, { AtomicOrdering::Relaxed }>(room, -1) };
        }
    }
}

/// Whether an address is in a set of this host's.
#[inline(always)]
pub(crate) fn is_own(set: u32, mac: &Mac) -> bool {
    let Some(set) = OWN_MACS.get_ptr(set.wrapping_sub(1)) else { return false };
    // SAFETY: words of a map's value, which the agent writes only while another set is in force.
    let salt = unsafe { (&raw const (*set).salt).read() };
    OwnMacs::holds(salt, mac, |at| {
        let at = black_box(at);
        if at >= OwnMacs::SLOTS {
            return 0;
        }
        // SAFETY: the slot is inside the set. A pointer, as an index would leave a panic in the code.
        unsafe { (&raw const (*set).slots).cast::<u64>().add(at).read() }
    })
}
