//! `millstream catalog`: the catalog made again from the store, and both compared.

use super::{StartError, make_control, storage};
use crate::config::Config;
use crate::control::check::{How, Report};
use crate::id::ChannelId;
use std::time::Duration;

/// Makes hubs, channels and history again from what is in the store.
pub async fn rebuild_catalog(
    config: Config,
    progress: impl Fn(usize, usize, &ChannelId),
) -> Result<(usize, usize), StartError> {
    let control = make_control(&config).await?;
    let found = control.rebuild(progress).await?;
    control.settle(Duration::MAX).await;
    Ok(found)
}

/// Compares the catalog with the store, and mends what can be mended if that is asked for.
pub async fn check_catalog(
    config: Config,
    how: How,
    progress: impl Fn(usize, usize, &ChannelId),
) -> Result<Report, StartError> {
    let control = make_control(&config).await?;
    let finished = match how.repair {
        true => storage::finish_idle(&control, &config, how.idle).await?,
        false => Vec::new(),
    };
    if !finished.is_empty() {
        control.recover_history(finished).await?;
    }
    let report = control.check(how, progress).await?;
    control.settle(Duration::MAX).await;
    Ok(report)
}
