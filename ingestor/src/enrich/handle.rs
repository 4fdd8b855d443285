//! The static data in use, shared: readers take what is there now, the one writer swaps in a new build.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::static_data::StaticData;

/// Cheap to clone; every clone sees the swap.
#[derive(Debug, Clone)]
pub struct StaticHandle {
    data: Arc<ArcSwapOption<StaticData>>,
    loaded: watch::Sender<bool>,
}

impl StaticHandle {
    /// With what the cache holds, if it holds something.
    pub fn new(data: Option<StaticData>) -> Self {
        Self {
            loaded: watch::Sender::new(data.is_some()),
            data: Arc::new(ArcSwapOption::from_pointee(data)),
        }
    }

    /// What is in use now; `None` before the first build is loaded.
    pub fn get(&self) -> Option<Arc<StaticData>> {
        self.data.load_full()
    }

    /// Puts a new build in use. Who holds the old one keeps it until done.
    pub fn swap(&self, data: StaticData) {
        self.data.store(Some(Arc::new(data)));
        self.loaded.send_replace(true);
    }

    /// Comes back once there is a build in use.
    pub async fn loaded(&self) {
        // The sender lives in `self`, so the wait can't fail.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }
}
