//! The operator, from `kubectl apply` to data that is back, on a real Kubernetes with real brokers and a real store.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

mod bad_input;
mod flows;
mod life;
mod pods;
mod strimzi;
mod world;
