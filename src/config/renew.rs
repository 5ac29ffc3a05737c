//! `[renew_intent]`: lifetimes that grow while a sandbox is used.

use std::time::Duration;

use super::section::Section;
use crate::secret::Secret;

/// `[renew_intent]`.
#[derive(Debug, Clone)]
pub struct RenewIntent {
    /// Renew sandboxes on access. Default false.
    pub enabled: bool,
    /// `min_interval_seconds`, the time between two renewals of one sandbox;
    /// at least 1 s. Default 60 s.
    pub min_interval: Duration,
    /// The queue that intents are read from, if `redis.enabled`. Default none.
    pub redis: Option<Redis>,
}

/// `[renew_intent.redis]`.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The address, with its password. Required.
    pub dsn: Secret,
    /// The list that holds the intents. Default `opensandbox:renew:intent`.
    pub queue_key: String,
    /// Intents handled at once; at least 1. Default 8.
    pub consumer_concurrency: u32,
}

impl RenewIntent {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            enabled: section.boolean("enabled", false),
            min_interval: section.whole_seconds("min_interval_seconds", 60, 1),
            redis: section.table("redis", Redis::read),
        }
    }
}

impl Redis {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let enabled = section.boolean("enabled", false);
        let dsn = section.secret("dsn");
        let queue_key = section.text_or("queue_key", "opensandbox:renew:intent");
        let consumer_concurrency = section.integer("consumer_concurrency", 8, 1..=i64::from(u32::MAX));
        if enabled && dsn.is_none() && !section.failed("dsn") {
            section.fail("dsn", "[renew_intent] redis.dsn must be set when redis.enabled is true.");
        }
        Some(Self { dsn: dsn.filter(|_| enabled)?, queue_key, consumer_concurrency })
    }
}
