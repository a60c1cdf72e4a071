//! A network that does what networks do, under a seed: [`Relay`](super::Relay) is only there or cut, this one is late,
//! slow, silent and wrong as well.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::free_port;

/// What the network does to bytes. Each holds for both directions, from when it is set, also for open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Bytes go through.
    Fair,
    /// They arrive later.
    Delay(Duration),
    /// They wait until the weather changes.
    Stall,
    /// They are swallowed, and both sides believe that they are connected.
    HalfOpen,
    /// One byte a second.
    Trickle,
    /// The first byte of the next piece from the target is another one; then the weather is fair. Towards the target bytes
    /// stay as they are: a payload has no checksum, and what is changed in it would arrive.
    Corrupt,
}

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As when a program closes its socket.
    Fin,
    /// As when a router forgets the connection.
    Rst,
}

/// Forwards connections on `port` to a target through the weather of the moment.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    ended: AtomicBool,
    weather: Mutex<Weather>,
    /// When each connection came.
    came: Mutex<Vec<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy to a port on this machine, in fair weather.
    pub fn to(target: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::new(Shared {
            target,
            ended: AtomicBool::new(false),
            weather: Mutex::new(Weather::Fair),
            came: Mutex::default(),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accepting.accept(&listener));
        Self { port, shared }
    }

    /// The weather from now on.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// What it is now: [`Weather::Corrupt`] ends by itself.
    pub fn weather(&self) -> Weather {
        *self.shared.weather.lock().unwrap()
    }

    /// Ends what is connected; whoever comes afterwards is let through. Says how many connections there were.
    pub fn cut(&self, how: Cut) -> usize {
        let streams = std::mem::take(&mut *self.shared.open.lock().unwrap());
        let mut live = 0;
        for stream in &streams {
            if how == Cut::Rst {
                // What is closed with data to linger for zero seconds is reset.
                let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            }
            // It may be closed already.
            live += usize::from(stream.shutdown(Shutdown::Both).is_ok());
        }
        live / 2
    }

    /// When each connection came so far.
    pub fn came(&self) -> Vec<Instant> {
        self.shared.came.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut(Cut::Fin);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            self.came.lock().unwrap().push(Instant::now());
            // Held while connecting, so that a cut can't miss a connection that is being made.
            let mut open = self.open.lock().unwrap();
            let Ok(upstream) = TcpStream::connect(("127.0.0.1", self.target)) else { continue };
            for (from, to, is_answer) in [(&client, &upstream, false), (&upstream, &client, true)] {
                from.set_nodelay(true).unwrap();
                open.push(from.try_clone().unwrap());
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let shared = self.clone();
                std::thread::spawn(move || shared.carry(from, to, is_answer));
            }
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if self.pass(&mut buffer[..read], &mut to, is_answer).is_err() {
                break;
            }
        }
        // Either may be gone already.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// One piece through the weather. How long it takes is what is tested, not something to wait for.
    fn pass(&self, mut bytes: &mut [u8], to: &mut TcpStream, is_answer: bool) -> std::io::Result<()> {
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            let weather = *self.weather.lock().unwrap();
            match weather {
                Weather::Fair => return to.write_all(bytes),
                Weather::Delay(late) => {
                    std::thread::sleep(late);
                    return to.write_all(bytes);
                }
                Weather::HalfOpen => return Ok(()),
                Weather::Corrupt if !is_answer => return to.write_all(bytes),
                Weather::Corrupt => {
                    *self.weather.lock().unwrap() = Weather::Fair;
                    bytes[0] ^= 0xFF;
                }
                Weather::Stall => std::thread::sleep(Duration::from_millis(5)),
                Weather::Trickle => {
                    let (byte, rest) = bytes.split_at_mut(1);
                    to.write_all(byte)?;
                    bytes = rest;
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    self.wait_or_change(weather, Duration::from_secs(1));
                }
            }
        }
    }

    fn wait_or_change(&self, weather: Weather, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until && *self.weather.lock().unwrap() == weather {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
