//! InitProducerId: what idempotent and transactional producing begin with (KIP-98).

use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId, TransactionalId};

use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::coordinators::CoordinatorOf;
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::string;

/// A producer's identity: with the sequence numbers of its batches, a broker takes each batch once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// Its epoch; a newer one fences this one.
    pub epoch: i16,
}

impl Cluster {
    /// A new producer id; or, with a transactional id, that id's own, with its earlier holder fenced and any
    /// transaction it left open aborted. `transaction_timeout_ms` only counts with a transactional id.
    ///
    /// # Errors
    /// What the retry table does not retry, and [`Error::Exhausted`].
    pub async fn init_producer_id(
        &self,
        transactional_id: Option<&str>,
        transaction_timeout_ms: i32,
    ) -> Result<Producer, Error> {
        let mut retry = self.retry();
        loop {
            retry.ready().await;
            match self.init_producer_id_once(transactional_id, transaction_timeout_ms).await {
                Ok(producer) => return Ok(producer),
                Err(error) => retry.again(error).await?,
            }
        }
    }

    async fn init_producer_id_once(&self, id: Option<&str>, timeout_ms: i32) -> Result<Producer, Error> {
        let build = |_| build_init_producer_id(id, timeout_ms);
        let response = match id {
            None => self.call_any_once(build).await?,
            Some(id) => {
                let coordinator = self.coordinator(CoordinatorOf::Transaction, id).await?;
                self.call_once(coordinator, CONTROL_LANE, Duration::ZERO, build).await?
            }
        };
        process_init_producer_id(id, &response)
    }
}

fn build_init_producer_id(id: Option<&str>, transaction_timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(id.map(|id| TransactionalId(string(id))))
        .with_transaction_timeout_ms(transaction_timeout_ms)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn process_init_producer_id(id: Option<&str>, response: &InitProducerIdResponse) -> Result<Producer, Error> {
    let resource = || id.map_or(Resource::Cluster, |id| Resource::TransactionalId(id.to_owned()));
    match Error::from_code(InitProducerIdRequest::NAME, response.error_code, resource, None) {
        Some(error) => Err(error),
        None => Ok(Producer { id: *response.producer_id, epoch: response.producer_epoch }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_new_producer_has_no_identity_to_bring_along() {
        let request = build_init_producer_id(None, 5);
        assert_eq!((request.transactional_id, *request.producer_id, request.producer_epoch), (None, -1, -1));
    }

    #[test]
    fn a_refusal_names_the_transactional_id() {
        let response = InitProducerIdResponse::default().with_error_code(53);
        let error = process_init_producer_id(Some("tx"), &response).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains(r#"transactional id "tx""#), "{error}");
        let busy = InitProducerIdResponse::default().with_error_code(51);
        assert!(process_init_producer_id(Some("tx"), &busy).unwrap_err().is_retriable());
    }
}
