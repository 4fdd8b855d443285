//! A TCP proxy that cuts, freezes and refuses: between two messages of a gRPC stream, in the middle of one, or when told to.

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

/// Where the next connections end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// Nowhere.
    #[default]
    Never,
    /// Right after so many gRPC messages from the server, with not a byte of the next one.
    AfterMessages(usize),
    /// In the middle of this message (0 = the first), and so in the middle of an HTTP/2 frame.
    InMessage(usize),
    /// After so many bytes from the server, whatever they are.
    AfterBytes(usize),
}

/// Stands between clients and one server. Dropping it cuts everything.
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
    /// Counts up: a connection that began under an older number is cut.
    generation: watch::Sender<u64>,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a free loopback port and connects to `target` for each client; where nobody listens there, the client is cut.
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

    /// For clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where connections made from now on end.
    pub fn cut_next(&self, cut: Cut) {
        *self.state.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }

    /// Cuts all connections now.
    pub fn cut_all(&self) {
        self.state.generation.send_modify(|generation| *generation += 1);
    }

    /// `true`: not a byte passes in either direction, though all connections stay open.
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

/// Carries bytes both ways until either end closes, or the cut comes.
async fn carry(state: &State, mut client: TcpStream) {
    let cut = *state.cut.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(mut server) = TcpStream::connect(&state.target).await else {
        return;
    };
    // Cutting at once is the point: nothing may be held back by Nagle.
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
    // The sender lives as long as the state that we borrow.
    let _thawed = frozen.wait_for(|frozen| !frozen).await;
}
