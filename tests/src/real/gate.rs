//! A way to a server that a test can narrow, close and cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Bytes that are passed on at once.
const PIECE: usize = 16 << 10;

/// What the gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Everything.
    Open,
    /// So many bytes in a second from the server on each connection.
    Slow(u32),
    /// So many bytes from the server on each connection, which is then cut.
    Cut(usize),
    /// Nothing: connections are taken and stay silent.
    Silent,
    /// Nothing: connections are refused, and those that are there are cut.
    Closed,
}

/// A gate on loopback. Dropping it cuts all connections.
pub(super) struct Gate {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
    connections: Arc<AtomicUsize>,
    keeper: tokio::task::JoinHandle<()>,
}

// === impl Gate ===

impl Gate {
    /// An open one to a server on loopback.
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (flow, seen) = watch::channel(Flow::Open);
        let connections = Arc::new(AtomicUsize::new(0));
        let keeper = tokio::spawn(keep(listener, server, seen, connections.clone()));
        Self { address, flow, connections, keeper }
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets this through from here on. Connections that are open feel it, too.
    pub(super) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// The connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(
    listener: TcpListener,
    server: u16,
    mut flow: watch::Receiver<Flow>,
    connections: Arc<AtomicUsize>,
) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut open = JoinSet::new();
    loop {
        if *flow.borrow_and_update() == Flow::Closed {
            listener = None;
            open.shutdown().await;
        } else if listener.is_none() {
            // Somebody else may have the port for a moment.
            listener = TcpListener::bind(address).await.ok();
        }
        let Some(accepting) = &listener else {
            tokio::select! {
                changed = flow.changed() => if changed.is_err() { return },
                () = sleep(Duration::from_millis(50)) => {}
            }
            continue;
        };
        tokio::select! {
            changed = flow.changed() => if changed.is_err() { return },
            accepted = accepting.accept() => if let Ok((client, _)) = accepted {
                let (flow, connections) = (flow.clone(), connections.clone());
                open.spawn(async move {
                    let _counted = Counted::new(connections);
                    // That a connection ends is its end here, too.
                    let _ = carry(client, server, flow).await;
                });
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn carry(mut client: TcpStream, server: u16, mut flow: watch::Receiver<Flow>) -> std::io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async {
        let mut piece = vec![0; PIECE];
        let mut carried = 0;
        loop {
            let read = from_server.read(&mut piece).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            carried += read;
            // An end of the test is an end of the connection.
            let passes = flow.wait_for(|flow| *flow != Flow::Silent).await;
            let passes = *passes.map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            match passes {
                Flow::Slow(rate) => sleep(Duration::from_secs(1) * u32::try_from(read).unwrap() / rate).await,
                Flow::Cut(after) if carried > after => return Err(std::io::ErrorKind::ConnectionReset.into()),
                _ => {}
            }
            to_client.write_all(&piece[..read]).await?;
        }
    };
    // Whoever ends first: HTTP's clients do not go on after they have closed their side.
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
