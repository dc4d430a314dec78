//! A TCP connection, with TLS or without.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, ready},
};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::{io::ReadBuf, net::TcpStream};

/// How much is encrypted at once: a record of TLS.
const RECORD: usize = 16_384;

/// A TCP connection, with TLS or without. What is encrypted counts as written; the network may not have accepted it yet.
pub(crate) struct Socket {
    tcp: TcpStream,
    /// Whoever locks it to write has locked what the connection writes before.
    tls: Option<Box<Mutex<ServerConnection>>>,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self { tcp, tls: tls.map(|tls| Box::new(Mutex::new(tls))) }
    }

    /// Writes what can be written at once; with TLS, see [`Self::has_unsent`]. It doesn't go through the runtime, to avoid
    /// a cache miss on its readiness state.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut tls) = self.tls() else { return SockRef::from(&self.tcp).send(bytes) };
        let mut written = 0;
        while written < bytes.len() && !tls.wants_write() {
            let now = RECORD.min(bytes.len() - written);
            tls.writer().write_all(&bytes[written..written + now])?;
            written += now;
            self.write_unsent(&mut tls)?;
        }
        Ok(written)
    }

    /// Whether the network has not accepted everything that was encrypted.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls().is_some_and(|tls| tls.wants_write())
    }

    /// Waits until the network has accepted everything.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut tls) = self.tls() else { return Poll::Ready(Ok(())) };
        loop {
            self.write_unsent(&mut tls)?;
            if !tls.wants_write() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.tcp.poll_write_ready(cx))?;
        }
    }

    pub(super) fn poll_write(&self, parts: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let Some(mut tls) = self.tls() else {
            loop {
                ready!(self.tcp.poll_write_ready(cx))?;
                match self.tcp.try_write_vectored(parts) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            }
        };
        let mut written = 0;
        for part in parts {
            let now = &part[..part.len().min(RECORD - written)];
            tls.writer().write_all(now)?;
            written += now.len();
        }
        self.write_unsent(&mut tls)?;
        Poll::Ready(Ok(written))
    }

    /// Reads into the buffer. Nothing means that the client sends no more.
    pub(super) fn poll_read(&self, buf: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(mut tls) = self.tls() else {
            loop {
                ready!(self.tcp.poll_read_ready(cx))?;
                match self.tcp.try_read_buf(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
            }
        };
        loop {
            match tls.reader().read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It went without a word, as many clients do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.tcp.poll_read_ready(cx))?;
            match tls.read_tls(&mut Network(&self.tcp)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            let processed = tls.process_new_packets();
            // Parts of the handshake, or why it fails.
            self.write_unsent(&mut tls)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Ends what is written to the client.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        if let Some(mut tls) = self.tls() {
            tls.send_close_notify();
            self.write_unsent(&mut tls)?;
        }
        match SockRef::from(&self.tcp).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            shut => shut,
        }
    }

    /// Writes what is encrypted, as far as the network accepts it now.
    fn write_unsent(&self, tls: &mut ServerConnection) -> io::Result<()> {
        while tls.wants_write() {
            match tls.write_tls(&mut Network(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn tls(&self) -> Option<MutexGuard<'_, ServerConnection>> {
        self.tls.as_ref().map(|tls| tls.lock().expect("nobody panics while holding it"))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

/// The network, as rustls reads and writes it.
struct Network<'a>(&'a TcpStream);

impl Read for Network<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Network<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
