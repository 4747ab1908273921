//! What a run is told: raw forms as they are written, and the checked forms that everything else uses.

pub mod storage;
