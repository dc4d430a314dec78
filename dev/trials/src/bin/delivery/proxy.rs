//! A proxy in front of a server, with a fault that can be changed.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug)]
pub struct Proxy<F> {
    pub address: SocketAddr,
    fault: watch::Sender<Option<F>>,
    lost: AtomicUsize,
}

impl<F: Copy + PartialEq + Send + Sync + 'static> Proxy<F> {
    /// Starts it, with a function that relays one connection. While it is `down`, connections are refused.
    pub async fn start<R>(
        down: F,
        relay: impl Fn(Arc<Self>, TcpStream) -> R + Send + 'static,
    ) -> anyhow::Result<Arc<Self>>
    where
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let this = Arc::new(Self { address, fault: watch::Sender::new(None), lost: AtomicUsize::new(0) });
        tokio::spawn(this.clone().accept(listener, down, relay));
        Ok(this)
    }

    async fn accept<R>(
        self: Arc<Self>,
        mut listener: TcpListener,
        down: F,
        relay: impl Fn(Arc<Self>, TcpStream) -> R + Send + 'static,
    ) -> io::Result<()>
    where
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    tokio::spawn(relay(self.clone(), accepted?.0));
                }
                () = self.until(|fault| fault == Some(down)) => {
                    drop(listener);
                    self.while_it_is(down).await;
                    listener = TcpListener::bind(self.address).await?;
                }
            }
        }
    }

    pub fn set(&self, fault: Option<F>) {
        self.fault.send_replace(fault);
    }

    pub fn fault(&self) -> Option<F> {
        *self.fault.borrow()
    }

    /// Waits until the fault is another one.
    pub async fn while_it_is(&self, fault: F) {
        self.until(|now| now != Some(fault)).await;
    }

    async fn until(&self, is_so: impl Fn(Option<F>) -> bool) {
        // The sender lives as long as the proxy.
        let _ = self.fault.subscribe().wait_for(|fault| is_so(*fault)).await;
    }

    /// Notes that an answer to something that was accepted does not arrive.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}
