//! Making a lab: the cables, the programs at their ends, and who lives there.

use std::{fs, path::PathBuf};

use super::{
    Lab, SWITCH,
    certificate::Authority,
    client::Client,
    command,
    error::Error,
    name_of, namespace,
    options::PassStub,
    plan::Host,
    prepare,
    replica::{Place, Replica, ReplicaOptions},
};

impl Lab {
    /// The namespaces, the switch, and every cable.
    pub(super) fn connect(&self) -> Result<(), Error> {
        let all: Vec<_> = self.namespaces.iter().map(|(_, namespace)| namespace.clone()).collect();
        namespace::create(&all)?;
        for namespace in &all {
            // Only where it is used: the second family brings noise that packet counters see, such as multicast
            // reports. And the switch is a switch.
            let off = !self.families.has_v6() || *namespace == *self.namespace(SWITCH);
            prepare::second_family(namespace, off)?;
        }
        for host in self.plan.hosts() {
            prepare::host(self.namespace(&host.name), host)?;
        }
        for end in self.plan.clients.iter().chain(&self.plan.replicas) {
            prepare::one_processor_a_connection(self.namespace(&end.name))?;
        }
        let switch = self.plan.switch_batch(|host| name_of(self.id(), host));
        command::ip_batch(Some(self.namespace(SWITCH).name()), &switch)?;
        for host in self.plan.hosts() {
            command::ip_batch(Some(self.namespace(&host.name).name()), &host.batch())?;
        }
        Ok(())
    }

    /// Makes the far ends of the balancer's cables behave like a wire.
    pub(super) fn face_balancer(
        &mut self,
        pass_stub: Option<&PassStub>,
        sums_by_device: bool,
    ) -> Result<(), Error> {
        let switch = self.namespace(SWITCH).clone();
        let balancer = self.balancer().clone();
        for cable in &self.plan.balancer.cables {
            let port = &cable.switch_port;
            // A veth hands packets over with their checksum still to be filled in by hardware that does not
            // exist. A program that sends them on from XDP would send them like that.
            let (end, interface) =
                if sums_by_device { (&balancer, &cable.interface) } else { (&switch, port) };
            command::success(end.command("ethtool").args(["-K", interface, "tx", "off"]))?;
            if let Some(stub) = pass_stub {
                let attached = stub.attach(&switch, port).map_err(|source| Error::PassStub {
                    namespace: switch.name().to_owned(),
                    interface: port.clone(),
                    source,
                })?;
                self.stubs.push(attached);
            }
        }
        Ok(())
    }

    /// Clients and replicas. The replicas start side by side.
    pub(super) fn populate(&mut self, replicas: Vec<ReplicaOptions>, big_bytes: u64) -> Result<(), Error> {
        for name in ["authority", "content", "images", "registry", "tmp"] {
            self.make_directory(name)?;
        }
        let authorities = self.path("authority");
        let authority_file = authorities.join("ca.crt");
        let authority = Authority::create(&authority_file)?;
        let big = self.big_file();
        fs::write(&big, distinct_bytes(big_bytes)).map_err(Error::file("write", big))?;

        let hosts = self.path("hosts");
        fs::write(&hosts, self.plan.hosts_file()).map_err(Error::file("write", &hosts))?;

        let client = |host: &Host| Client {
            namespace: self.namespace(&host.name).clone(),
            address: host.address(),
            vips: self.vips().to_vec(),
            authority: authority_file.clone(),
            authorities: authorities.clone(),
            hosts: hosts.clone(),
            scratch: self.path("tmp"),
        };
        let clients = self.plan.clients.iter().map(client).collect();
        let made: Result<_, _> = self
            .plan
            .replicas
            .iter()
            .zip(replicas)
            .map(|(host, options)| self.make_replica(host, options, &authority))
            .collect();
        self.clients = clients;
        self.replicas = made?;
        self.replicas.iter().try_for_each(Replica::launch)?;
        self.replicas.iter().try_for_each(Replica::wait_ready)
    }

    fn make_replica(
        &self,
        host: &Host,
        options: ReplicaOptions,
        authority: &Authority,
    ) -> Result<Replica, Error> {
        let directory = self.make_directory(&host.name)?;
        let certificate =
            authority.issue(&host.name, &[self.vips(), &host.addresses()].concat(), &directory)?;
        let place = Place {
            name: host.name.clone(),
            addresses: host.addresses(),
            namespace: self.namespace(&host.name).clone(),
            switch: self.namespace(SWITCH).clone(),
            switch_port: host.cables[0].switch_port.clone(),
            directory,
            content: self.path("content"),
            storage: self.path("registry"),
            logs: self.directory.logs(),
            processes: self.processes.clone(),
        };
        Replica::create(place, options, &certificate)
    }

    fn make_directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path(name);
        fs::create_dir(&path).map_err(Error::file("create the directory", &path))?;
        Ok(path)
    }
}

/// Each eight bytes are their own place, so that bytes that are lost, doubled or moved are found.
fn distinct_bytes(length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    for (place, chunk) in (0u64..).zip(bytes.chunks_mut(8)) {
        chunk.copy_from_slice(&place.to_be_bytes()[..chunk.len()]);
    }
    bytes
}
