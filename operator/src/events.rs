//! Events on resources, for `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::build::labels;
use crate::decide::Note;

/// Kubernetes takes 1,024 bytes.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// Puts what happened on the resource. An event that cannot be written is no reason to do anything again.
pub async fn publish(client: &Client, about: &ObjectReference, note: &Note) {
    let Note { is_warning, reason, message } = note;
    let event = Event {
        type_: if *is_warning { EventType::Warning } else { EventType::Normal },
        reason: reason.clone(),
        note: Some(message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // A recorder of its own: one that has told of this reason before would tell it again in the words of then.
    let recorder = Recorder::new(client.clone(), Reporter { controller: labels::OPERATOR.to_owned(), instance: None });
    if let Err(error) = recorder.publish(&event, about).await {
        tracing::warn!("event {reason} cannot be written: {error}");
    }
}
