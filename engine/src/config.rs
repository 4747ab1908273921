//! What a run is told: raw forms as they are written, and the checked forms that everything else uses.

pub mod backup;
pub mod cluster;
pub mod restore;
pub mod storage;
