//! From frontends, and the backends that they lead to, to services.

use std::collections::{HashMap, HashSet};

use super::{
    access::{self, Effort, Part},
    acl::{Acls, Condition},
    bind::{self, Binds},
    farm::{self, Farm},
    proxies::{Proxies, Proxy},
    sections::{Kind, Line},
    server::Port,
    settings::{Mode, Settings},
    stick::{self, Tables},
    tell::Role,
};
use crate::{
    job::{Job, Said, Server, Service},
    report::{At, Ledger},
};

/// Servers of all services together: more are not those of one balancer.
const MOST_SERVERS: usize = 16_384;

/// What is known while frontends are read.
pub(super) struct Reader<'p, 'a> {
    proxies: &'p Proxies<'a>,
    tables: Tables<'a>,
    farms: HashMap<usize, Farm>,
    acls: Vec<Acls>,
    /// What became of each proxy.
    pub(super) roles: Vec<Role>,
    /// Time-outs of which the draft says what became.
    pub(super) idle: HashSet<At>,
    effort: Effort,
    servers: usize,
}

/// Where a frontend leads.
enum Target {
    Backend(usize),
    /// Nothing that dtr-lb could do: a page, a redirection.
    Nowhere(String),
}

impl<'p, 'a> Reader<'p, 'a> {
    pub(super) fn new(proxies: &'p Proxies<'a>) -> Self {
        Self {
            proxies,
            tables: proxies.tables(),
            farms: HashMap::new(),
            acls: proxies.list.iter().map(|proxy| Acls::read(&proxy.settings.acls)).collect(),
            roles: vec![Role::Unused; proxies.list.len()],
            idle: HashSet::new(),
            effort: Effort::default(),
            servers: 0,
        }
    }

    /// Makes services of all frontends.
    pub(super) fn read(&mut self, ledger: &mut Ledger, job: &mut Job) {
        for place in 0..self.proxies.list.len() {
            let Proxy { section, settings, .. } = &self.proxies.list[place];
            if settings.disabled {
                self.roles[place] = Role::Disabled;
            } else if section.kind != Kind::Backend {
                self.frontend(place, ledger, job);
            }
        }
        for (place, role) in self.roles.iter().enumerate() {
            if matches!(role, Role::Serves) {
                self.acls[place].tell(ledger);
            }
        }
    }

    fn frontend(&mut self, place: usize, ledger: &mut Ledger, job: &mut Job) {
        let Proxy { section, settings, .. } = &self.proxies.list[place];
        let listens = !settings.binds.is_empty() || section.address.is_some();
        if section.kind == Kind::Listen && !listens && self.roles[place] != Role::Unused {
            return;
        }
        let target = self.target(place, ledger);
        if let Target::Backend(backend) = target
            && self.serves_pages(place, backend)
        {
            self.roles[place] = Role::Pages;
            self.roles[backend] = Role::Pages;
            return;
        }
        if settings.mode.is_some_and(|mode| mode.value == Mode::Other) {
            self.roles[place] = Role::Nowhere("it is no proxy of TCP".to_owned());
            return;
        }
        let backend = match target {
            Target::Backend(backend) => backend,
            Target::Nowhere(_) if settings.has_pages && !settings.is_redirecting(section) => {
                self.roles[place] = Role::Pages;
                return;
            }
            Target::Nowhere(why) => {
                self.roles[place] = Role::Nowhere(why);
                return;
            }
        };
        if !listens {
            if section.kind == Kind::Frontend {
                ledger.fault(section.at, "it has no `bind`: no client can connect");
                self.roles[place] = Role::Nowhere("it has no `bind`".to_owned());
            }
            return;
        }
        if self.proxies.list[backend].settings.servers.is_empty() {
            self.roles[place] =
                Role::Nowhere(format!("{} has no servers", name_of(&self.proxies.list[backend])));
            return;
        }
        self.roles[place] = Role::Serves;
        self.roles[backend] = Role::Serves;
        self.service(place, backend, ledger, job);
    }

    /// Whether what answers there is HAProxy itself.
    fn serves_pages(&self, place: usize, backend: usize) -> bool {
        let (front, back) = (&self.proxies.list[place].settings, &self.proxies.list[backend].settings);
        back.servers.is_empty() && (front.has_pages || back.has_pages)
    }

    /// Where clients of a frontend go.
    fn target(&mut self, place: usize, ledger: &mut Ledger) -> Target {
        let Proxy { section, settings, .. } = &self.proxies.list[place];
        let by_default = settings.default_backend.map(|line| line.word(1));
        let always = settings
            .use_backend
            .iter()
            .find(|line| Condition::of(line.from(2), &self.acls[place]).is_always());
        let mut named = settings.use_backend.iter().map(|line| line.word(1));
        let first = named.next();
        let only = first.filter(|first| named.all(|name| name == *first));
        let own = (section.kind == Kind::Listen && !settings.servers.is_empty()).then_some(place);
        let chosen = always.map(|line| line.word(1)).or(by_default);
        let target = match (chosen, own, only) {
            (Some(name), _, _) => self.proxies.backend(name).ok_or_else(|| name.to_owned()),
            (None, Some(own), _) => Ok(own),
            (None, None, Some(only)) => self.proxies.backend(only).ok_or_else(|| only.to_owned()),
            (None, None, None) => {
                let why = if settings.use_backend.is_empty() {
                    "it leads to no backend"
                } else {
                    "which backend a client gets is for rules to say that dtr-lb does not keep: no service is made of it. Give each of them a VIP or a port of its own"
                };
                self.choices(place, None, ledger);
                return if section.kind == Kind::Listen
                    && settings.has_pages
                    && settings.use_backend.is_empty()
                {
                    Target::Backend(place)
                } else {
                    Target::Nowhere(why.to_owned())
                };
            }
        };
        match target {
            Ok(backend) => {
                self.choices(place, Some((backend, chosen.is_none() && own.is_none())), ledger);
                Target::Backend(backend)
            }
            Err(name) => {
                let at = always
                    .or(settings.default_backend.as_ref())
                    .or(settings.use_backend.first())
                    .map_or(section.at, |line| line.at);
                let why = format!("there is no backend {name}");
                ledger.fault_that_decides(at, format!("{why}: HAProxy refuses this"));
                self.choices(place, None, ledger);
                Target::Nowhere(why)
            }
        }
    }

    /// Says what becomes of each `use_backend`; clients go to `chosen`, if there is one, because a rule says so (`true`).
    fn choices(&mut self, place: usize, chosen: Option<(usize, bool)>, ledger: &mut Ledger) {
        for line in &self.proxies.list[place].settings.use_backend {
            let name = line.word(1);
            let condition = Condition::of(line.from(2), &self.acls[place]);
            let goes_to = self.proxies.backend(name);
            let is_kept = match (chosen, goes_to) {
                (Some((chosen, by_rule)), Some(backend)) if chosen == backend => {
                    if by_rule && !condition.is_always() {
                        ledger.left_out_that_decides(
                            line.at,
                            "all clients go there, also those that the condition does not hold for",
                        );
                        false
                    } else {
                        ledger.taken(line.at, "");
                        true
                    }
                }
                (_, None) if !name.contains("%[") && !name.starts_with('<') => {
                    ledger.fault_that_decides(
                        line.at,
                        format!("there is no backend {name}: HAProxy refuses this"),
                    );
                    false
                }
                _ => {
                    let why = match condition.clients() {
                        Err(why) => why,
                        Ok(_) => "a service has the same replicas for all clients".to_owned(),
                    };
                    let all = chosen.map_or("nobody is served here".to_owned(), |(chosen, _)| {
                        format!("all clients go to {}", name_of(&self.proxies.list[chosen]))
                    });
                    ledger.left_out_that_decides(line.at, format!("{why}: {all}"));
                    if let Some(backend) = goes_to
                        && self.roles[backend] == Role::Unused
                    {
                        self.roles[backend] = Role::ByRules;
                    }
                    false
                }
            };
            self.acls[place].used(condition.names, is_kept);
        }
    }

    fn service(&mut self, place: usize, backend: usize, ledger: &mut Ledger, job: &mut Job) {
        let Proxy { section, settings, .. } = &self.proxies.list[place];
        let back = &self.proxies.list[backend].settings;
        if !self.farms.contains_key(&backend) {
            let farm = farm::read(backend, self.proxies, &self.tables, ledger);
            self.farms.insert(backend, farm);
        }
        let binds = binds(settings, section.address.as_deref(), section.at, ledger);
        let mut service = Service::new(name_of(&self.proxies.list[place]), section.at);
        let access = self.access(place, backend, ledger);
        if access.is_left_out {
            ledger.left_out_that_decides(
                section.at,
                "the file has more rules of access than are read: everyone is let in here",
            );
        }
        let rules = settings.access.list.iter().chain(back.access.list.iter().filter(|_| place != backend));
        let tracks: Vec<&Line> = if access.rates.is_empty() {
            Vec::new()
        } else {
            rules.copied().filter(|line| line.word(2).starts_with("track-sc")).collect()
        };
        service.max_new_flows_per_source =
            stick::limit(&access.rates, settings.stick_table, &tracks, &self.tables, ledger);
        service.rules = access.rules;
        service.denied_are_reset = access.denied_are_reset;
        service.idle = idle(settings, back, section.at, ledger);
        self.idle.extend(service.idle.map(|idle| idle.at));
        service.refuses_if_all_down = true;
        let farm = &self.farms[&backend];
        tell_tls(farm, &binds, ledger);
        service.affinity = farm.affinity;
        service.passive = farm.passive;
        service.mode = farm.mode;
        service.servers = servers(farm, &binds, MOST_SERVERS.saturating_sub(self.servers), ledger);
        self.servers += service.servers.len();
        if service.servers.len() < farm.servers.len() && self.servers >= MOST_SERVERS {
            ledger.left_out_that_decides(
                section.at,
                format!("more than {MOST_SERVERS} servers in all services: the rest is left out"),
            );
        }
        service.binds = binds.list;
        tell_mode(settings, ledger);
        tell_mode(back, ledger);
        job.services.push(service);
    }

    fn access(&mut self, place: usize, backend: usize, ledger: &mut Ledger) -> access::Access {
        let front = &self.proxies.list[place].settings;
        let back = &self.proxies.list[backend].settings;
        let is_http = front.is_http();
        if place == backend {
            let part = Part { lines: &front.access.list, acls: &mut self.acls[place], is_http };
            return access::read(vec![part], &mut self.effort, ledger);
        }
        let mut of_back = std::mem::take(&mut self.acls[backend]);
        let parts = vec![
            Part { lines: &front.access.list, acls: &mut self.acls[place], is_http },
            Part { lines: &back.access.list, acls: &mut of_back, is_http },
        ];
        let access = access::read(parts, &mut self.effort, ledger);
        self.acls[backend] = of_back;
        access
    }
}

fn name_of(proxy: &Proxy<'_>) -> String {
    proxy.section.name.clone()
}

fn binds(settings: &Settings<'_>, of_header: Option<&str>, at: At, ledger: &mut Ledger) -> Binds {
    let mut all = of_header.map(|address| bind::of_header(address, at, ledger)).unwrap_or_default();
    for line in &settings.binds {
        let binds = bind::read(line, ledger);
        all.ends_tls.extend(binds.ends_tls);
        all.list.extend(binds.list);
    }
    all
}

/// The servers with their ports.
fn servers(farm: &Farm, binds: &Binds, most: usize, ledger: &mut Ledger) -> Vec<Server> {
    let mut ports = binds.list.iter().map(|bind| &bind.value.ports);
    let first = ports.next().filter(|ports| ports.start() == ports.end()).map(|ports| *ports.start());
    let one_port = first.filter(|first| ports.all(|ports| ports.start() == first && ports.end() == first));
    let with_port = |(server, port): &(Server, Port)| {
        let port = match port {
            Port::Same => None,
            Port::Fixed(port) => Some(*port),
            Port::Offset(offset) => {
                let port = one_port
                    .and_then(|port| u16::try_from(i32::from(port) + offset).ok())
                    .filter(|port| *port != 0);
                if port.is_none() {
                    ledger.left_out_that_decides(server.at, "its port counts from the client's, and there are several of those: give each port a frontend of its own");
                    return None;
                }
                port
            }
        };
        Some(Server { port, ..server.clone() })
    };
    farm.servers.iter().take(most).filter_map(with_port).collect()
}

/// The time of silence after which HAProxy ends a connection.
fn idle(
    front: &Settings<'_>,
    back: &Settings<'_>,
    at: At,
    ledger: &mut Ledger,
) -> Option<Said<std::time::Duration>> {
    if let Some(tunnel) = back.tunnel.filter(|_| !front.is_http()) {
        for other in [front.client, back.server].into_iter().flatten() {
            ledger.taken(other.at, "once both sides have spoken, `timeout tunnel` holds in its place");
        }
        return Some(tunnel);
    }
    if front.client.is_none() && back.server.is_none() {
        ledger.differs(at, "without `timeout client` and `timeout server` HAProxy keeps silent connections for ever; dtr-lb ends them after datapath.idle_timeout, 1h unless written");
    }
    match (front.client, back.server) {
        (Some(client), Some(server)) => Some(if server.value < client.value { server } else { client }),
        (client, server) => client.or(server),
    }
}

/// Ports at which clients speak TLS from the first byte on.
fn is_tls_port(port: u16) -> bool {
    const PORTS: [u16; 10] = [636, 853, 989, 990, 993, 995, 2376, 5061, 5671, 6514];
    port % 1000 == 443 || PORTS.contains(&port) || port == 465 || port == 8883
}

/// What it means that HAProxy speaks TLS to servers.
fn tell_tls(farm: &Farm, binds: &Binds, ledger: &mut Ledger) {
    let speaks_tls = binds.list.iter().any(|bind| is_tls_port(*bind.value.ports.start()));
    if farm.tls.is_empty() {
        for at in &binds.ends_tls {
            ledger.left_out_that_decides(*at, "the servers speak no TLS at their port, and clients do: write the port at which they do as replica_port");
        }
    }
    for at in &farm.tls {
        if !binds.ends_tls.is_empty() {
            ledger.differs(
                *at,
                "`ssl`: clients speak TLS with the server itself, where HAProxy ends it and begins it anew",
            );
        } else if speaks_tls {
            ledger.fault(
                *at,
                "`ssl` wraps clients' connections in TLS, and theirs is TLS already: TLS within TLS, which the servers do not understand. \
                 dtr-lb passes on what clients send; its check speaks TLS (HAProxy's word for that alone is `check-ssl`)",
            );
        } else {
            ledger.left_out_that_decides(
                *at,
                "`ssl`: HAProxy speaks TLS to the server for clients who speak none, and dtr-lb passes on what they send: clients have to speak TLS themselves",
            );
        }
    }
}

fn tell_mode(settings: &Settings<'_>, ledger: &mut Ledger) {
    let Some(mode) = settings.mode else { return };
    if mode.value == Mode::Http {
        ledger.differs(
            mode.at,
            "dtr-lb balances connections, not requests: all requests of a connection go to one server, and no X-Forwarded-For is added \
             (mode = \"dnat\" or \"dsr\" keeps the client's address)",
        );
    } else {
        ledger.taken(mode.at, "");
    }
}
