//! How many spans wait to be sent, and how many were lost.
//!
//! The SDK's queue is bounded too, but what it drops it tells nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

use crate::telemetry::rate_limit::RateLimit;

/// Most spans that have ended and not been sent; some MiB.
pub(super) const MAX_QUEUE: usize = 2048;

/// Counts spans on their way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    /// Spans that were lost since that was last told.
    lost: AtomicU64,
    told: RateLimit,
}

/// Takes no more spans than there is room for.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P> {
    inner: P,
    queue: Arc<Queue>,
}

/// Notes that spans have left the queue, and whether they arrived.
#[derive(Debug)]
pub(super) struct CountingExporter<E> {
    inner: E,
    queue: Arc<Queue>,
}

impl Queue {
    /// Takes a place, if there is one.
    fn enter(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Ordering::AcqRel) < MAX_QUEUE;
        if !has_room {
            self.leave(1);
        }
        has_room
    }

    fn leave(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
    }

    /// Spans were lost, which is told once in a while.
    pub(super) fn lose(&self, count: usize) {
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
        if self.told.due("lost").is_some() {
            self.tell_lost();
        }
    }

    /// Tells of lost spans that were not told of.
    pub(super) fn tell_lost(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "spans were lost: they came faster than the collector took them, or it refused them");
        }
    }
}

impl<P> BoundedProcessor<P> {
    pub(super) fn new(inner: P, queue: Arc<Queue>) -> Self {
        Self { inner, queue }
    }
}

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.inner.on_end(span);
        } else {
            self.queue.lose(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E> CountingExporter<E> {
    pub(super) fn new(inner: E, queue: Arc<Queue>) -> Self {
        Self { inner, queue }
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.inner.export(batch).await;
        self.queue.leave(count);
        if sent.is_err() {
            self.queue.lose(count);
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
impl Queue {
    /// Spans that were lost since that was last told.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
