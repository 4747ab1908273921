//! The kinds as users write them, one file each, by API group.
//!
//! Every field works or is refused by name: nothing is accepted and ignored. What an API server can check by itself stands in the
//! schema (types, enumerations, CEL rules); what needs more than the resource is judged by [`crate::plan`].

pub mod backup_ref;
pub mod common_status;
pub mod compression;
pub mod condition;
pub mod consumer_groups;
pub mod definition;
pub mod history;
pub mod oso;
pub mod phase;
pub mod pod;
pub mod pvc;
pub mod restore_status;
pub mod run_kind;
pub mod storage_type;
pub mod strimzi;

pub use self::definition::{Definition, definitions};

/// The group of [`strimzi`].
pub const STRIMZI_GROUP: &str = "backup.strimzi.io";
/// The group of [`oso`].
pub const OSO_GROUP: &str = "kafka.oso.sh";
/// The one version of both groups.
pub const VERSION: &str = "v1alpha1";

/// Strimzi's annotation by which a resource is left alone while its value is `true`.
pub const PAUSE_ANNOTATION: &str = "strimzi.io/pause-reconciliation";
