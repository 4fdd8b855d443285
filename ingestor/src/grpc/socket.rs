//! Accepted connections: counted, with TLS where it is set up, and such that they can be cut, since tonic ends them only when
//! their last stream has ended.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpIncoming};

use super::{
    connections::{ConnectionLimiter, ConnectionPermit, Ended},
    tls::Tls,
};

/// A peer that vanished without a word is noticed by the kernel too, below HTTP/2's own pings.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Out of file descriptors, mostly: accepting goes on when some are free again, without a busy loop until then.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// TLS handshakes at once: the others wait in the kernel.
const MAX_HANDSHAKES: usize = 256;
/// HTTP/2 begins with so many bytes from the client.
const PREFACE: usize = 24;

/// What a connection has to pass.
pub(super) struct AcceptPolicy {
    pub(super) connections: Arc<ConnectionLimiter>,
    pub(super) tls: Option<Tls>,
    /// How long a client may take to begin: for a TLS handshake, and for the first words of HTTP/2.
    pub(super) patience: Duration,
    /// Ends all connections.
    pub(super) cut: CancellationToken,
}

/// The connections that come in at `listener`.
pub(super) fn incoming(
    listener: TcpListener,
    door: AcceptPolicy,
) -> impl Stream<Item = io::Result<Socket>> + Send + 'static {
    // tonic's own settings for these are ignored for a listener that it did not bind.
    let accepted = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE));
    let state = (accepted, door, JoinSet::new());
    stream::unfold(state, |(mut accepted, door, mut handshakes)| async move {
        loop {
            let stream = tokio::select! {
                Some(done) = handshakes.join_next(), if !handshakes.is_empty() => match done {
                    Ok(Some(socket)) => return Some((Ok(socket), (accepted, door, handshakes))),
                    _ => continue,
                },
                next = accepted.next(), if handshakes.len() < MAX_HANDSHAKES => match next? {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        sleep(ACCEPT_RETRY_DELAY).await;
                        continue;
                    }
                },
            };
            let Some(entered) = door.enter(&stream) else {
                continue;
            };
            match &door.tls {
                None => return Some((Ok(entered.socket(Io::Plain(stream))), (accepted, door, handshakes))),
                Some(tls) => {
                    let handshake = tls.acceptor().accept(stream);
                    handshakes.spawn(async move {
                        match timeout(entered.patience, handshake).await {
                            Ok(Ok(stream)) => Some(entered.socket(Io::Tls(Box::new(stream)))),
                            refused => {
                                Ended::NoTls.count();
                                tracing::debug!(peer = %entered.peer.0.address, ?refused, "TLS handshake failed");
                                None
                            }
                        }
                    });
                }
            }
        }
    })
}

impl AcceptPolicy {
    fn enter(&self, stream: &TcpStream) -> Option<Accepted> {
        // Gone already: nothing to tell anybody.
        let address = stream.peer_addr().ok()?;
        match self.connections.enter(address.ip()) {
            Ok(place) => Some(Accepted {
                peer: Peer(Arc::new(PeerState {
                    address,
                    cut: self.cut.child_token(),
                })),
                place,
                patience: self.patience,
            }),
            Err(ended) => {
                ended.count();
                tracing::debug!(peer = %address, ?ended, "connection refused");
                None
            }
        }
    }
}

/// A connection that has its place.
struct Accepted {
    peer: Peer,
    place: ConnectionPermit,
    patience: Duration,
}

impl Accepted {
    fn socket(self, io: Io) -> Socket {
        Socket {
            io,
            cut: Box::pin(self.peer.0.cut.clone().cancelled_owned()),
            opening: Some(PrefaceCheck {
                deadline: Box::pin(sleep(self.patience)),
                read: 0,
            }),
            peer: self.peer,
            _place: self.place,
        }
    }
}

/// The other end of a connection, as every request on it knows it.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    address: SocketAddr,
    cut: CancellationToken,
}

impl Peer {
    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Ends the connection at once.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    #[cfg(test)]
    pub(super) fn nobody() -> Self {
        Self(Arc::new(PeerState {
            address: ([127, 0, 0, 1], 1).into(),
            cut: CancellationToken::new(),
        }))
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that ends at once when its token is cancelled.
pub(super) struct Socket {
    io: Io,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    opening: Option<PrefaceCheck>,
    peer: Peer,
    _place: ConnectionPermit,
}

/// Until the client has said that it speaks HTTP/2.
struct PrefaceCheck {
    deadline: Pin<Box<Sleep>>,
    read: usize,
}

impl Socket {
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn poll_opening(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(opening) = &mut self.opening
            && opening.deadline.as_mut().poll(context).is_ready()
        {
            Ended::Silent.count();
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn io(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream),
            Io::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        self.poll_opening(context)?;
        let before = buf.filled().len();
        ready!(self.io().poll_read(context, buf))?;
        if let Some(opening) = &mut self.opening {
            opening.read += buf.filled().len() - before;
            if opening.read >= PREFACE {
                self.opening = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        self.io().poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        self.io().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        self.io().poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
