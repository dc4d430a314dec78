//! The admin port: `/healthz` and `/metrics`, for whoever runs the process, not for its users.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Admin")]
pub struct AdminSettings {
    /// Where /healthz and /metrics are served, as host:port. Not served without.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
}

/// The admin server of a process.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    router: Router,
}

impl Admin {
    pub async fn bind(address: SocketAddr, metrics: Registry) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
        let metrics = Arc::new(metrics);
        let router = Router::new().route("/healthz", get(async || "ok\n")).route(
            "/metrics",
            get(async move || {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &metrics).expect("writing to a string");
                ([(CONTENT_TYPE, OPEN_METRICS)], text)
            }),
        );
        Ok(Self { listener, router })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub async fn serve(self, stopping: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        Ok(axum::serve(self.listener, self.router).with_graceful_shutdown(stopping).await?)
    }
}
