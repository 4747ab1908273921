//! What a run tells at its end: one JSON object for programs, a few lines for people.

#[cfg(feature = "run")]
mod run;
mod size;
pub mod termination;
#[cfg(feature = "run")]
mod text;

#[cfg(feature = "run")]
pub use self::run::{RunReport, failure_json};
pub use self::size::bytes;
pub use self::termination::Termination;
