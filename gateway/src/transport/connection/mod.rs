//! A TCP connection below everything, and its two writers: the websocket, by [`Wire`], and whoever has
//! a whole frame for it and finds nothing in the way. What the kernel takes is counted, and the
//! connection can be cut from outside.
//!
//! A frame that takes the long way is copied twice, queued once and wakes a task for each socket. One
//! that is passed straight to the kernel is made once for all of them.

mod delivery_tracker;
mod frame_counter;

use std::{
    fmt,
    io::{self, IoSlice},
    net::Shutdown,
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
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    time::Instant,
};

use super::connection_slots::ConnectionSlot;

pub(crate) use delivery_tracker::{DeliveryTracker, STRANGER_BYTES, WritableQueues};
use frame_counter::FrameCounter;

/// How long the client of a connection that was cut may take to read what it was sent last,
const LINGER_FOR: Duration = Duration::from_secs(2);
/// and how much of what it still sends is read and discarded meanwhile.
const LINGER_BYTES: usize = 1 << 20;

/// What others may know of, and do to, a TCP connection.
pub(crate) struct Connection {
    stream: TcpStream,
    tracker: OnceLock<Arc<DeliveryTracker>>,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    out: Mutex<Out>,
    /// Its place among the connections that the gateway may have.
    _slot: ConnectionSlot,
}

#[derive(Debug, Default)]
struct Out {
    counter: FrameCounter,
    /// A frame that was passed, and how much of it the kernel has.
    passed: Option<(Bytes, usize)>,
    /// Since when the kernel accepts nothing more.
    stuck_since: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, slot: ConnectionSlot) -> Self {
        Self {
            stream,
            tracker: OnceLock::new(),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            out: Mutex::default(),
            _slot: slot,
        }
    }

    /// From here on it is a websocket, and this the account to book on. Whether it was none before.
    pub(crate) fn carries(&self, tracker: &Arc<DeliveryTracker>) -> bool {
        self.tracker.set(tracker.clone()).is_ok()
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Takes a whole websocket frame with one event, if nothing is half written and it is not being closed.
    /// Calls before it writes.
    pub(crate) fn pass(&self, frame: &Bytes, before: impl FnOnce()) -> bool {
        let mut out = self.out();
        if out.passed.is_some() || !out.counter.is_between_frames() {
            return false;
        }
        before();
        // Not by the runtime, whose own account of what is ready is far away in memory: who waits asks it.
        let written = match SockRef::from(&self.stream).send(frame) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // Whoever reads finds out.
            Err(_) => frame.len(),
        };
        if written == frame.len() {
            self.took(1);
        } else {
            out.passed = Some((frame.clone(), written));
            // Who waits for the client to say something waits for the kernel, too.
            self.reader.wake();
        }
        true
    }

    /// Whether the kernel has accepted nothing of a response for so long.
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

    /// The client sent so many bytes: more than a stranger may end the session.
    fn received(&self, bytes: usize) -> io::Result<()> {
        if let Some(tracker) = self.tracker.get().filter(|tracker| !tracker.may_bring(bytes)) {
            tracker.cut();
        }
        self.fail_if_cut()
    }

    fn fail_if_cut(&self) -> io::Result<()> {
        match self.cut.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the gateway")),
            false => Ok(()),
        }
    }

    /// Writes the rest of what was passed.
    fn poll_passed(&self, out: &mut Out, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((frame, written)) = &mut out.passed {
            *written += ready!(self.poll_some(&[IoSlice::new(&frame[*written..])], cx))?;
            if *written == frame.len() {
                out.passed = None;
                self.took(1);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_some(&self, parts: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("link", &self.tracker.get()).finish_non_exhaustive()
    }
}

/// The connection as what is above it reads and writes it.
pub(crate) struct Wire(Arc<Connection>);

impl Wire {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The runtime may be ending, too.
        if self.0.cut.load(Ordering::Acquire)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(linger(self.0.clone()));
        }
    }
}

/// Gives the client of a connection that was cut the time to read what the kernel has for it. Closing a
/// connection while something from the client is unread makes the kernel reset it, and a reset throws away
/// what the client has not read yet, such as the reason why it was sent away.
async fn linger(connection: Arc<Connection>) {
    let lingering = async {
        poll_fn(|cx| connection.poll_passed(&mut connection.out(), cx)).await?;
        SockRef::from(&connection.stream).shutdown(Shutdown::Write)?;
        let (mut buffer, mut discarded) = ([0; 4_096], 0);
        while discarded < LINGER_BYTES {
            connection.stream.readable().await?;
            match connection.stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => discarded += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    // A client that is gone, or sends on and on, is closed all the same.
    let _ = tokio::time::timeout(LINGER_FOR, lingering).await;
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = &*self.0;
        connection.reader.register(cx.waker());
        connection.fail_if_cut()?;
        let mut out = connection.out();
        if out.passed.is_some() && connection.poll_passed(&mut out, cx)?.is_ready() {
            connection.writer.wake();
        }
        drop(out);
        loop {
            ready!(connection.stream.poll_read_ready(cx))?;
            match connection.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(connection.received(read?)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// In parts, so that a response's body, which may be the same for many, is not copied for each.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &*self.0;
        connection.fail_if_cut()?;
        let mut out = connection.out();
        // Of a connection that waits to write, one is woken: if that is who reads, it wakes this one.
        connection.writer.register(cx.waker());
        ready!(connection.poll_passed(&mut out, cx))?;
        let Poll::Ready(written) = connection.poll_some(parts, cx)? else {
            out.stuck_since.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        out.stuck_since = None;
        if let Some(tracker) = connection.tracker.get() {
            let mut left = written;
            let mut events = 0;
            for part in parts {
                let accepted_count = &part[..left.min(part.len())];
                events += out.counter.count(accepted_count);
                left -= accepted_count.len();
            }
            if events > 0 {
                tracker.is_carried_by(&self.0);
                tracker.took(events);
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&self.0.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            shut => shut,
        })
    }
}
