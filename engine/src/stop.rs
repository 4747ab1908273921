//! The wish to end a run cleanly: a signal sets it, workers look at it between two steps.

use tokio::sync::watch;

/// One handle on the wish; clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    sender: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { sender: watch::Sender::new(false) }
    }
}

impl Stop {
    /// Asks the run to end.
    pub fn set(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the run was asked to end.
    pub fn is_set(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until the run is asked to end. Dropping the future does no harm.
    pub async fn wait(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = receiver.wait_for(|set| *set).await;
    }
}
