//! The admin port: `/healthz` and `/metrics`, for the operators of the process.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use clap::Args;
use tokio::net::TcpListener;

use crate::metrics::MetricRegistry;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Admin")]
pub struct AdminSettings {
    /// Address for /healthz and /metrics, as host:port. Without it, they are not served.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
}

impl AdminSettings {
    /// Opens the admin port, if the settings have one. Fails if the address can't be bound.
    pub async fn bind(&self, metrics: Arc<MetricRegistry>) -> anyhow::Result<Option<Admin>> {
        let Some(address) = self.admin else { return Ok(None) };
        let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/metrics", get(async move || ([(CONTENT_TYPE, OPEN_METRICS)], metrics.encode())));
        Ok(Some(Admin { listener, router }))
    }
}

/// The admin server of a process.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    router: Router,
}

impl Admin {
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub async fn serve(self, stopping: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        Ok(axum::serve(self.listener, self.router).with_graceful_shutdown(stopping).await?)
    }
}
