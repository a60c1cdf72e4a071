//! The link between the gateway and the upstream broker: a TCP proxy that can be cut. It knows nothing of MQTT.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_local};

/// Clients that may wait to be accepted.
const BACKLOG: u32 = 16;

/// A port that can't be listened on is tried again after this.
const RETRY: Duration = Duration::from_millis(100);

/// A running link.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    up: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link on a free loopback port to `target`, up.
    ///
    /// # Errors
    /// In words.
    pub(super) fn open(target: SocketAddr) -> Result<Self, String> {
        let wrong = |error| format!("can't open a port for the link to the upstream: {error}");
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        let listener = socket.listen(BACKLOG).map_err(wrong)?;
        let (up, switch) = watch::channel(true);
        let task = spawn_local(serve(listener, address, target, switch));
        Ok(Self { address, up, task })
    }

    /// Where the gateway finds the upstream.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// True brings it up, false cuts it: new connections are refused, those that are there are dropped.
    pub(super) fn set(&self, up: bool) {
        self.up.send_replace(up);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut up: watch::Receiver<bool>,
) {
    loop {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // Any change is a cut, also one that was taken back at once.
                changed = up.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok((client, _)) = listener.accept() => {
                    connections.spawn_local(carry(client, target));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        connections.abort_all();
        // Bound without listening: connections are refused, and nobody else gets the port meanwhile.
        let mut parked = bind(address);
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
        listener = loop {
            if let Ok(listener) = parked.and_then(|socket| socket.listen(BACKLOG)) {
                break listener;
            }
            tokio::time::sleep(RETRY).await;
            parked = bind(address);
        };
    }
}

/// SO_REUSEADDR, since the connections that were cut linger on the port in TIME_WAIT.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn carry(mut client: TcpStream, target: SocketAddr) {
    // Whatever ends it, the gateway sees a connection that is gone: that is what a link is for.
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    use super::*;

    async fn echo(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    }

    async fn round_trip(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        stream.read_u8().await
    }

    /// A changed switch takes effect a little later; the deadline is the test's.
    async fn connect_until(address: SocketAddr, up: bool) -> Option<TcpStream> {
        loop {
            let result = TcpStream::connect(address).await;
            if result.is_ok() == up {
                return result.ok();
            }
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_cut_link_drops_its_connections_and_refuses_new_ones_until_it_is_up_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let link = Link::open(listener.local_addr().unwrap()).unwrap();
            spawn_local(echo(listener));
            for _ in 0..3 {
                let mut stream = connect_until(link.address(), true).await.unwrap();
                assert_eq!(round_trip(&mut stream).await.unwrap(), b'x');
                link.set(false);
                assert!(stream.read_u8().await.is_err(), "the connection is gone");
                connect_until(link.address(), false).await;
                link.set(true);
            }
            let mut stream = connect_until(link.address(), true).await.unwrap();
            assert_eq!(round_trip(&mut stream).await.unwrap(), b'x');
            // Down and up within one turn still cuts.
            link.set(false);
            link.set(true);
            assert!(stream.read_u8().await.is_err());
        };
        let script = async { tokio::time::timeout(Duration::from_secs(20), script).await.unwrap() };
        LocalSet::new().block_on(&runtime, script);
    }
}
