//! A TCP connection with two writers: hyper or the websocket, through [`Wire`]; and the regions, which pass whole
//! frames directly to the kernel while nothing else is being written. Events are counted when the kernel accepts them,
//! and a connection can be cut from outside. What a client has compressed is inflated here.
//!
//! Sending through the socket's queue copies a frame twice, queues it once and wakes a task for each socket. A frame
//! that is passed directly is encoded once for all sockets.

mod delivery_tracker;
mod frame_boundary;
mod read_ahead;
mod socket;

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{future::poll_fn, task::AtomicWaker};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    time::Instant,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use super::{connection_slots::ConnectionSlot, packet::Packet};

pub(crate) use delivery_tracker::{DeliveryTracker, Passed, STRANGER_BYTES, WritableQueues};
use frame_boundary::FrameBoundary;
use read_ahead::{CHUNK, ReadAhead};
pub(super) use socket::Socket;

/// How long a connection that was cut stays open for the client to read what was sent last.
const LINGER_FOR: Duration = Duration::from_secs(2);
/// How many bytes from the client are discarded during this time.
const LINGER_BYTES: usize = 1 << 20;

/// A TCP connection, shared by both writers.
pub(crate) struct Connection {
    socket: Socket,
    tracker: OnceLock<Arc<DeliveryTracker>>,
    /// With compression: the longest message that the client may send, in bytes.
    compression: OnceLock<usize>,
    cut: AtomicBool,
    /// The task that reads and writes.
    task: AtomicWaker,
    out: Mutex<Out>,
    /// Its slot in the limits on connections.
    _slot: ConnectionSlot,
}

/// The state of what is written.
#[derive(Debug, Default)]
struct Out {
    boundary: FrameBoundary,
    /// A frame of the gateway's own that is partly written.
    own: Option<OwnFrame>,
    /// Since when the kernel has accepted nothing more.
    stuck_since: Option<Instant>,
}

/// A whole websocket frame.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Bytes,
    /// 1 if it is an event.
    events: u64,
}

impl Frame {
    /// A frame with one packet of Engine.IO.
    pub(super) fn text(packet: &[u8]) -> Self {
        Self { bytes: encoded(Data::Text, packet), events: u64::from(counts(packet)) }
    }

    pub(super) fn binary(data: &[u8]) -> Self {
        Self { bytes: encoded(Data::Binary, data), events: 0 }
    }
}

/// Whether a packet of Engine.IO is an event or an answer: its message (4) with Socket.IO's event (2) or acknowledgement
/// (3).
pub(super) fn counts(packet: &[u8]) -> bool {
    packet.starts_with(b"42") || packet.starts_with(b"43")
}

fn encoded(kind: Data, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
    let length = payload.len() as u64;
    let mut frame = Vec::with_capacity(header.len(length) + payload.len());
    header.format(length, &mut frame).expect("writing to memory");
    frame.extend(payload);
    frame.into()
}

/// A frame that is partly written.
#[derive(Debug)]
struct OwnFrame {
    frame: Frame,
    /// How many of its bytes the kernel has accepted.
    written: usize,
}

impl Connection {
    pub(crate) fn new(socket: Socket, slot: ConnectionSlot) -> Self {
        Self {
            socket,
            tracker: OnceLock::new(),
            compression: OnceLock::new(),
            cut: AtomicBool::new(false),
            task: AtomicWaker::new(),
            out: Mutex::default(),
            _slot: slot,
        }
    }

    /// Notes that the connection is a websocket now, whose events this tracker counts. Returns false if it was one
    /// before.
    pub(crate) fn carries(&self, tracker: &Arc<DeliveryTracker>) -> bool {
        self.tracker.set(tracker.clone()).is_ok()
    }

    /// Notes that compression was negotiated, before the first frame. The client's messages may have this many bytes.
    pub(crate) fn compresses(&self, longest: usize) {
        // A connection is upgraded once.
        let _ = self.compression.set(longest);
    }

    pub(crate) fn has_compression(&self) -> bool {
        self.compression.get().is_some()
    }

    /// Wakes the task that reads and writes.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Writes an event's whole websocket frame. Returns its size, or `None` if another frame is partly written, the
    /// websocket is being closed, or `before`, which is called just before the frame is written, returns false.
    pub(crate) fn pass(&self, packet: &Packet, before: impl FnOnce() -> bool) -> Option<usize> {
        let frame = if self.has_compression() { packet.compressed() } else { packet.frame() };
        let mut out = self.out();
        if out.own.is_some() || !out.boundary.is_between_frames() || self.socket.has_unsent() || !before() {
            return None;
        }
        let written = match self.socket.send(frame) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // The reader will find out that the connection is broken.
            Err(_) => frame.len(),
        };
        if written == frame.len() && !self.socket.has_unsent() {
            self.took(1);
        } else {
            out.own = Some(OwnFrame { frame: Frame { bytes: frame.clone(), events: 1 }, written });
            self.task.wake();
        }
        Some(frame.len())
    }

    /// Whether the kernel has accepted nothing of a response for longer than this.
    pub(crate) fn is_stuck_for(&self, time: Duration) -> bool {
        self.out().stuck_since.is_some_and(|since| since.elapsed() > time)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().expect("nobody panics while holding it")
    }

    fn took(&self, events: u64) {
        if let Some(tracker) = self.tracker.get().filter(|_| events > 0) {
            tracker.took(events);
        }
    }

    /// Notes that the client sent this many bytes, or that what it sent became so much longer. Cuts the session if that
    /// is too much before sign-in. Fails if the connection was cut.
    fn received(&self, bytes: usize) -> io::Result<()> {
        if let Some(tracker) = self.tracker.get().filter(|tracker| !tracker.may_bring(bytes)) {
            tracker.cut();
        }
        self.fail_if_cut()
    }

    /// The longest message that the client may send now.
    fn longest_message(&self, of_known: usize) -> usize {
        let is_strange = self.tracker.get().is_none_or(|tracker| tracker.is_strange());
        if is_strange { of_known.min(STRANGER_BYTES) } else { of_known }
    }

    fn fail_if_cut(&self) -> io::Result<()> {
        match self.cut.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the gateway")),
            false => Ok(()),
        }
    }

    /// Writes the rest of the gateway's own frame.
    fn poll_own(&self, out: &mut Out, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(OwnFrame { frame, written }) = &mut out.own {
            if *written < frame.bytes.len() {
                *written += ready!(self.socket.poll_write(&[IoSlice::new(&frame.bytes[*written..])], cx))?;
            }
            if *written == frame.bytes.len() {
                ready!(self.socket.poll_flush(cx))?;
                self.took(frame.events);
                out.own = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes these frames, and what has been written in part.
    pub(super) fn poll_write_frames(&self, frames: &mut VecDeque<Frame>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail_if_cut()?;
        let mut out = self.out();
        loop {
            ready!(self.poll_own(&mut out, cx))?;
            if frames.is_empty() {
                // Most connections have nothing to write most of the time.
                frames.shrink_to_fit();
                return self.socket.poll_flush(cx);
            }
            // Reading goes on with a frame that answers one of the client's.
            if !out.boundary.is_between_frames() {
                return Poll::Pending;
            }
            out.own = frames.pop_front().map(|frame| OwnFrame { frame, written: 0 });
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("tracker", &self.tracker.get()).finish_non_exhaustive()
    }
}

/// The connection as hyper and the websocket read and write it.
pub(crate) struct Wire {
    connection: Arc<Connection>,
    ahead: ReadAhead,
}

impl Wire {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, ahead: ReadAhead::default() }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // There may be no runtime any more while the process ends.
        if self.connection.cut.load(Ordering::Acquire)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(linger(self.connection.clone()));
        }
    }
}

/// Keeps a connection that was cut open for a moment, so that the client can read what the kernel still has for it. If
/// a connection is closed while data from the client is unread, the kernel resets it. A reset discards what the client
/// has not read yet, such as its `bye`.
async fn linger(connection: Arc<Connection>) {
    let lingering = async {
        poll_fn(|cx| connection.poll_own(&mut connection.out(), cx)).await?;
        connection.socket.shutdown()?;
        let (mut buffer, mut discarded) = ([0; 4_096], 0);
        while discarded < LINGER_BYTES {
            match poll_fn(|cx| connection.socket.poll_read(&mut ReadBuf::new(&mut buffer), cx)).await? {
                0 => break,
                read => discarded += read,
            }
        }
        io::Result::Ok(())
    };
    // The connection is closed in any case.
    let _ = tokio::time::timeout(LINGER_FOR, lingering).await;
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { connection, ahead } = &mut *self;
        connection.task.register(cx.waker());
        connection.fail_if_cut()?;
        let longest = connection.compression.get().copied();
        if longest.is_none() && ahead.is_empty() && buf.remaining() >= CHUNK {
            let read = ready!(connection.socket.poll_read(buf, cx))?;
            return Poll::Ready(connection.received(read));
        }
        while !ahead.give(buf) {
            let read = ready!(ahead.poll_read(connection, longest, cx))?;
            connection.received(read)?;
            if read == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// Vectored, so that hyper doesn't copy a response's body, which many clients may share.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &*self.connection;
        connection.fail_if_cut()?;
        let mut out = connection.out();
        ready!(connection.poll_own(&mut out, cx))?;
        let Poll::Ready(written) = connection.socket.poll_write(parts, cx)? else {
            out.stuck_since.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        out.stuck_since = None;
        // Before an upgrade, frames don't matter.
        if connection.tracker.get().is_some() {
            let mut left = written;
            for part in parts {
                let accepted = &part[..left.min(part.len())];
                out.boundary.follow(accepted);
                left -= accepted.len();
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.socket.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.connection.socket.shutdown())
    }
}
