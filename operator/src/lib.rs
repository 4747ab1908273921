//! The operator: from a resource that somebody applied to a run of `kafka-backup` that is done.
//!
//! # The flow
//!
//! ```text
//! resource -> references -> plan -> observe -> decide -> act -> status
//! ```
//!
//! [`controller`] is that flow, one page. What a resource refers to ([`references`]) and what its Jobs and pods show ([`observe`], [`ask`]) is
//! I/O or comes from watches; [`plan`], [`decide`], [`build`] and [`status`] are pure. A [`plan::Plan`] is neutral: nothing after it knows
//! which API group a resource is of. The engine's own configuration is in it, and is what a pod reads.
//!
//! # What it never does
//!
//! It touches neither Kafka nor a store, and no Secret: pods get Secrets by reference, and its role has no rule on them. Which image
//! runs is its own choice, never a resource's. It draws no random number and reads no clock in a decision, and names follow from the
//! resource and the run, so that whatever is decided twice is done once.

pub mod act;
pub mod api;
pub mod apply;
pub mod args;
pub mod ask;
pub mod bookkeeping;
pub mod build;
pub mod context;
pub mod controller;
pub mod controllers;
pub mod decide;
pub mod events;
pub mod health;
pub mod kinds;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod owner;
pub mod plan;
pub mod references;
pub mod state;
pub mod status;
pub mod watches;
