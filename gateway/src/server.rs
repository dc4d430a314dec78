//! The gateway as a whole: its listener, its region tasks, its routes.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{Router, routing::get};
use kafka::{KafkaSettings, Reading};
use odds::{Region, Timestamp};
use process::Lifecycle;
use socketioxide::SocketIo;
use tokio::net::TcpListener;

use crate::{
    GatewaySettings, page,
    region::{RegionHandle, RegionTask},
    sockets,
};

pub struct Gateway {
    listener: TcpListener,
    settings: GatewaySettings,
    kafka: KafkaSettings,
    clock: fn() -> Timestamp,
}

impl Gateway {
    pub async fn bind(
        settings: GatewaySettings,
        kafka: KafkaSettings,
        clock: fn() -> Timestamp,
    ) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(settings.listen).await.with_context(|| format!("--listen {}", settings.listen))?;
        Ok(Self { listener, settings, kafka, clock })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the region tasks and serves, as tasks of this lifecycle.
    pub fn start(self, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        let instance = self.settings.instance()?;
        let (layer, io) = SocketIo::new_layer();
        let mut handles: HashMap<Region, RegionHandle> = HashMap::new();
        for region in Region::ALL {
            let (task, handle) = RegionTask::new(region, io.clone(), self.clock, self.settings.tick());
            let consumers = match region {
                Region::Us | Region::Uk => 2,
                Region::Eu | Region::Au => 1,
            };
            let group = format!("gateway-{region}-{instance}");
            let reading = Reading::Group { group, instance: instance.clone(), consumers };
            lifecycle.run("a region", task.run(self.kafka.clone(), reading, lifecycle.stopping()));
            handles.insert(region, handle);
        }
        sockets::serve(&io, Arc::new(handles));
        let mut router = Router::new().route("/healthz", get(async || "ok\n"));
        if let Some(folder) = &self.settings.page {
            anyhow::ensure!(folder.join("index.html").is_file(), "--page {}: no index.html there", folder.display());
            router = router.merge(page::routes(folder));
        }
        let router = router.layer(layer);
        let stopping = lifecycle.stopping();
        lifecycle.run("the listener", async move {
            let stopped = stopping.clone();
            let serve = axum::serve(self.listener, router).with_graceful_shutdown(stopping.cancelled_owned());
            tokio::select! {
                served = serve => Ok(served?),
                () = async { stopped.cancelled().await; io.close().await } => Ok(()),
            }
        });
        Ok(())
    }
}
