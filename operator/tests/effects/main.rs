//! Every field of a spec arrives: what it says is in the engine's configuration or in what Kubernetes is given, and is not there
//! without it. `strimzi.yaml` and `oso.yaml` say of each field where, `always.yaml` what is so whatever a spec says.

mod always;
mod fields;
mod made;
mod table;
