//! Where a resource stands as a whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a resource stands as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing has been run.
    #[default]
    Pending,
    /// A run is under way.
    Running,
    /// The last run ended well.
    Completed,
    /// The restore ended with less than was asked for.
    PartiallyFailed,
    /// The last run failed, or nothing can be run.
    Failed,
}
