//! Multicast DNS on the sockets: a thread of its own that looks which networks there are, hears and speaks on each, and
//! takes back what it has told when it ends. What is said decides [`crate::discovery`]. A flood on the LAN costs what
//! `PACKETS_PER_SECOND_MAX` packets cost, the rest is dropped by the kernel.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tracing::{info, warn};

use super::clock::Clock;
use super::lock::Locked;
use super::panics::Panics;
use crate::discovery::{Link, Output, PACKET_BYTES_MAX, PORT, Responder, Wanted};
use crate::health::Page;
use crate::time::Mono;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Networks that are served; a host of containers may have hundreds.
const LINKS_MAX: usize = 16;
/// Which networks there are is looked up this often.
const LINKS_EVERY: Duration = Duration::from_secs(5);
/// Packets that are looked at in a second, of all networks.
const PACKETS_PER_SECOND_MAX: u32 = 200;
/// The thread's stack: packets lie on the heap.
const STACK_BYTES: usize = 256 * 1024;
/// After a panic all of it begins anew, this much later.
const PAUSE: Duration = Duration::from_secs(5);

/// Multicast DNS, while it is on. Dropped, it takes back what it has told, and ends.
#[derive(Debug)]
pub struct Discovery {
    shared: Arc<Shared>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Shared {
    /// None: it ends.
    wanted: Mutex<Option<Wanted>>,
    page: Arc<Mutex<Page>>,
    panics: Arc<Panics>,
    clock: Clock,
}

#[derive(Debug)]
struct Running {
    /// A byte wakes the thread.
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Discovery {
    /// One that tells nothing yet.
    #[must_use]
    pub fn new(page: Arc<Mutex<Page>>, panics: Arc<Panics>, clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { wanted: Mutex::new(None), page, panics, clock }), running: None }
    }

    /// Tells this from now on; none: nothing any more.
    pub fn tell(&mut self, wanted: Option<Wanted>) {
        let is_off = wanted.is_none();
        *self.shared.wanted.locked() = wanted;
        match &self.running {
            _ if is_off => self.end(),
            Some(running) => running.ring(),
            None => match start(self.shared.clone()) {
                Ok(running) => self.running = Some(running),
                Err(error) => warn!(%error, "the gateway is not announced on its networks"),
            },
        }
    }

    /// Goodbyes are sent within milliseconds.
    fn end(&mut self) {
        *self.shared.wanted.locked() = None;
        if let Some(mut running) = self.running.take() {
            running.ring();
            if let Some(thread) = running.thread.take() {
                // A panic in it has been told.
                let _ = thread.join();
            }
        }
        self.shared.page.locked().local_name = None;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    fn ring(&self) {
        // Full of bytes that nobody has read yet: it wakes all the same.
        let _ = (&self.bell).write(&[0]);
    }
}

fn start(shared: Arc<Shared>) -> std::io::Result<Running> {
    let (bell, heard) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    heard.set_nonblocking(true)?;
    let thread =
        std::thread::Builder::new().name("fg-mdns".into()).stack_size(STACK_BYTES).spawn(move || {
            while shared.wanted.locked().is_some() {
                if shared.panics.catch("mDNS", || serve(&shared, &heard)).is_none() {
                    wait(&[], &heard, PAUSE);
                }
            }
        })?;
    Ok(Running { bell, thread: Some(thread) })
}

/// Until nothing is wanted any more.
fn serve(shared: &Shared, bell: &UnixStream) {
    let seed = shared.clock.now().wall.as_millis().unsigned_abs() ^ u64::from(std::process::id());
    let mut responder = Responder::new(seed);
    let mut doors: Vec<Door> = Vec::new();
    let mut looked: Option<Mono> = None;
    let (mut second, mut packets) = (shared.clock.now().mono, 0);
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let now = shared.clock.now().mono;
        if looked.is_none_or(|at| now.since(at) >= LINKS_EVERY) {
            looked = Some(now);
            look(&mut doors);
            responder.set_links(now, doors.iter().map(|door| door.link.clone()).collect());
        }
        let wanted = shared.wanted.locked().clone();
        let is_over = wanted.is_none();
        let unclaimed = shared.page.locked().unclaimed;
        responder.tell(now, wanted.map(|wanted| with_claim(wanted, unclaimed)));
        for output in responder.poll(now) {
            send(&doors, &output);
        }
        note(shared, &responder, !doors.is_empty());
        if is_over {
            return;
        }
        if now.since(second) >= Duration::from_secs(1) {
            (second, packets) = (now, 0);
        }
        let is_flood = packets >= PACKETS_PER_SECOND_MAX;
        let sockets: Vec<&UdpSocket> =
            if is_flood { Vec::new() } else { doors.iter().flat_map(Door::sockets).collect() };
        let until = responder.next_deadline().map_or(LINKS_EVERY, |at| at.since(now)).min(LINKS_EVERY);
        wait(&sockets, bell, if is_flood { until.min(Duration::from_secs(1)) } else { until });
        if is_flood {
            continue;
        }
        for door in &doors {
            packets += door.hear(shared, &mut responder, &mut buffer, PACKETS_PER_SECOND_MAX - packets);
        }
    }
}

/// Tells status the name that the gateway has, and the log when it is another.
fn note(shared: &Shared, responder: &Responder, has_links: bool) {
    let name = responder.name();
    let mut page = shared.page.locked();
    if !has_links {
        page.local_name = None;
    }
    if let Some(name) = name
        && page.local_name.as_ref() != Some(&name)
    {
        info!(name, "found on the network by this name");
        page.local_name = Some(name);
    }
}

/// Whether the gateway waits for its first account stands with its page: who set it up looks for that one.
fn with_claim(mut wanted: Wanted, unclaimed: bool) -> Wanted {
    for service in wanted.services.iter_mut().filter(|service| service.kind.starts_with("_http")) {
        service.facts.push(format!("unclaimed={}", u8::from(unclaimed)));
    }
    wanted
}

/// Sleeps until something comes, the bell rings, or the time is over.
fn wait(sockets: &[&UdpSocket], bell: &UnixStream, until: Duration) {
    let mut waiting: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::IN)).collect();
    waiting.push(PollFd::new(bell, PollFlags::IN));
    // A millisecond more, so that a deadline is over when it is looked at.
    let until = Timespec::try_from(until + Duration::from_millis(1)).ok();
    // Interrupted, it looks earlier.
    let _ = poll(&mut waiting, until.as_ref());
    let mut bell = bell;
    let _ = bell.read(&mut [0; 64]);
}

fn send(doors: &[Door], output: &Output) {
    let Some(door) = doors.iter().find(|door| door.link.index == output.link) else { return };
    // What can't be sent was lost on the way: who wants to know asks again.
    match output.to {
        Some(to @ SocketAddr::V4(_)) => door.v4.as_ref().map(|socket| socket.send_to(&output.bytes, to)),
        Some(to @ SocketAddr::V6(_)) => door.v6.as_ref().map(|socket| socket.send_to(&output.bytes, to)),
        None => {
            let _ = door.v4.as_ref().map(|socket| socket.send_to(&output.bytes, (GROUP_V4, PORT)));
            door.v6.as_ref().map(|socket| socket.send_to(&output.bytes, (GROUP_V6, PORT)))
        }
    };
}

/// A network, and the sockets there.
#[derive(Debug)]
struct Door {
    link: Link,
    /// Each address with the bits that neighbours share.
    nets: Vec<(IpAddr, u8)>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Door {
    fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.v4.iter().chain(&self.v6)
    }

    /// Hands over what has come; how many packets.
    fn hear(&self, shared: &Shared, responder: &mut Responder, buffer: &mut [u8], max: u32) -> u32 {
        let mut count = 0;
        for socket in self.sockets() {
            while count < max {
                match socket.recv_from(buffer) {
                    Ok((length, from)) => {
                        count += 1;
                        // Only neighbours are answered: a packet from elsewhere was sent by somebody who has no business here.
                        if let Some(bytes) = buffer.get(..length).filter(|_| self.is_neighbour(from.ip())) {
                            responder.hear(shared.clock.now().mono, self.link.index, from, bytes);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // Such as a network that is down: should it say so again and again, that is bounded too.
                    Err(_) => {
                        count += 1;
                        break;
                    }
                }
            }
        }
        count
    }

    fn is_neighbour(&self, from: IpAddr) -> bool {
        match from {
            IpAddr::V4(from) => self.nets.iter().any(|(own, bits)| match own {
                IpAddr::V4(own) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits).min(32)).unwrap_or(0);
                    own.to_bits() & mask == from.to_bits() & mask
                }
                IpAddr::V6(_) => false,
            }),
            IpAddr::V6(from) => {
                from.is_unicast_link_local()
                    || self.nets.iter().any(|(own, bits)| match own {
                        IpAddr::V6(own) => {
                            let mask = u128::MAX.checked_shl(128 - u32::from(*bits).min(128)).unwrap_or(0);
                            own.to_bits() & mask == from.to_bits() & mask
                        }
                        IpAddr::V4(_) => false,
                    })
            }
        }
    }
}

/// A network by its interface's name, and each own address there with the bits that neighbours share.
type Found = (String, Link, Vec<(IpAddr, u8)>);

/// Opens sockets where there is a new network or another address, closes those that are gone.
fn look(doors: &mut Vec<Door>) {
    let mut found: Vec<Found> = Vec::new();
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        // A mobile modem or a tunnel has nobody at its other end who looks for a gateway.
        let Some(index) = interface.index else { continue };
        if interface.is_loopback() || interface.is_p2p() || !interface.is_oper_up() {
            continue;
        }
        let net = match &interface.addr {
            if_addrs::IfAddr::V4(four) => (IpAddr::V4(four.ip), four.prefixlen),
            if_addrs::IfAddr::V6(six) => (IpAddr::V6(six.ip), six.prefixlen),
        };
        let place = found.iter().position(|(_, link, _)| link.index == index).unwrap_or_else(|| {
            found.push((interface.name.clone(), Link { index, addresses: Vec::new() }, Vec::new()));
            found.len() - 1
        });
        if let Some((_, link, nets)) = found.get_mut(place) {
            link.addresses.push(net.0);
            nets.push(net);
        }
    }
    found.truncate(LINKS_MAX);
    doors.retain(|door| found.iter().any(|(_, link, nets)| *link == door.link && *nets == door.nets));
    for (name, link, nets) in found {
        if doors.iter().any(|door| door.link == link) {
            continue;
        }
        let four = link.addresses.iter().find_map(|address| match address {
            IpAddr::V4(four) => Some(*four),
            IpAddr::V6(_) => None,
        });
        let v4 = four.and_then(|four| told(&name, open_v4(&name, link.index, four)));
        let has_six = link.addresses.iter().any(IpAddr::is_ipv6);
        let v6 = has_six.then(|| told(&name, open_v6(&name, link.index))).flatten();
        doors.push(Door { link, nets, v4, v6 });
    }
}

fn told(interface: &str, opened: std::io::Result<UdpSocket>) -> Option<UdpSocket> {
    opened.inspect_err(|error| warn!(interface, %error, "no mDNS on this network")).ok()
}

fn open_v4(name: &str, index: u32, own: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = socket(Domain::IPV4, name)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.set_multicast_all_v4(false)?;
    socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
    socket.set_multicast_if_v4(&own)?;
    // 255 tells the other end that no router was between (RFC 6762, 11).
    socket.set_multicast_ttl_v4(255)?;
    socket.set_ttl_v4(255)?;
    Ok(socket.into())
}

fn open_v6(name: &str, index: u32) -> std::io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6, name)?;
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    socket.set_multicast_all_v6(false)?;
    socket.join_multicast_v6(&GROUP_V6, index)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    Ok(socket.into())
}

/// One that shares the port with others on this machine, such as Avahi.
fn socket(domain: Domain, interface: &str) -> std::io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Not allowed by older kernels: then answers to one may come in by another interface's socket, and are passed over.
    let _ = socket.bind_device(Some(interface.as_bytes()));
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_on_the_same_network_are_neighbours() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let nets = vec![(address("192.168.4.7"), 24), (address("fd00::7"), 64), (address("10.0.0.1"), 32)];
        let link = Link { index: 1, addresses: Vec::new() };
        let door = Door { link, nets, v4: None, v6: None };
        for (from, expected) in [
            ("192.168.4.200", true),
            ("192.168.5.1", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("fd00::99", true),
            ("fd01::99", false),
            ("fe80::1", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(door.is_neighbour(address(from)), expected, "{from}");
        }
    }
}
