//! A TCP proxy that drops, freezes and refuses connections.
//!
//! The proxy can drop a connection between two messages of a gRPC stream, in the middle of one, or on request.

mod frames;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use frames::Messages;

/// The point at which the proxy drops the next connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    #[default]
    Never,
    /// After this many gRPC messages from the server, before the first byte of the next one.
    AfterMessages(usize),
    /// In the middle of this message (the first one is 0), and so in the middle of an HTTP/2 frame.
    InMessage(usize),
    /// After this many bytes from the server.
    AfterBytes(usize),
}

/// A proxy between clients and one server. Dropping it drops all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepts: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    target: String,
    cut: Mutex<Cut>,
    /// Incremented by [`Proxy::cut_all`], which ends the connections of lower generations.
    generation: watch::Sender<u64>,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a free loopback port and forwards each client to `target`.
    ///
    /// If nothing listens at `target`, the proxy drops the client.
    pub async fn start(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            target: target.into(),
            cut: Mutex::default(),
            generation: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
        });
        let shared = state.clone();
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let mut generation = state.generation.subscribe();
                    generation.mark_unchanged();
                    tokio::select! {
                        () = carry(&state, client) => {}
                        _ = generation.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            state,
            accepts,
        }
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the point at which the proxy drops the connections that it accepts from now on.
    pub fn cut_next(&self, cut: Cut) {
        *self.state.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }

    /// Drops all connections now.
    pub fn cut_all(&self) {
        self.state.generation.send_modify(|generation| *generation += 1);
    }

    /// Stops or resumes the flow of bytes in both directions while all connections stay open.
    pub fn freeze(&self, frozen: bool) {
        self.state.frozen.send_replace(frozen);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.cut_all();
    }
}

/// Forwards bytes in both directions until either end closes or the cut is reached.
async fn carry(state: &State, mut client: TcpStream) {
    let cut = *state.cut.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(mut server) = TcpStream::connect(&state.target).await else {
        return;
    };
    // Disable Nagle's algorithm: every byte before the cut must leave immediately.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            thaw(state).await;
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut messages = Messages::new(cut);
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            thaw(state).await;
            let passes = messages.pass(&buffer[..read]);
            let written = to_client.write_all(&buffer[..passes]).await;
            if written.is_err() || passes < read || messages.over() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn thaw(state: &State) {
    let mut frozen = state.frozen.subscribe();
    // `wait_for` fails only when the sender is gone, and the borrowed state owns the sender.
    let _thawed = frozen.wait_for(|frozen| !frozen).await;
}
