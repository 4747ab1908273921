//! What every Kafka error code asks of the client, in one table; and how long to keep trying.
//!
//! [`class`] is the table. Whoever retries goes through [`Retry`], which adds backoff, the circuit breaker, a
//! fresh look at the metadata where the class asks for it, and an end.

use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;

use crate::error::Kind;

/// What a Kafka error code asks of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The same request to the same broker, a little later.
    Retry,
    /// The same request, to whoever leads now.
    RefreshMetadata,
    /// The same request, to the coordinator of now.
    RefreshCoordinator,
    /// Credentials lack a permission, or were refused.
    Denied,
    /// The request names something that is not there or is not allowed.
    Usage,
    /// Somebody else holds, or already made, what the request is about.
    Conflict,
    /// The request was one that this program must not send: a promise of our own was broken.
    Fatal,
}

impl Class {
    /// Whether the same request may succeed later.
    pub const fn is_retriable(self) -> bool {
        match self {
            Self::Retry | Self::RefreshMetadata | Self::RefreshCoordinator => true,
            Self::Denied | Self::Usage | Self::Conflict | Self::Fatal => false,
        }
    }

    /// What it means for whoever reads the failure, once it is final.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Retry | Self::RefreshMetadata | Self::RefreshCoordinator => Kind::Unavailable,
            Self::Denied => Kind::Denied,
            Self::Usage => Kind::Usage,
            Self::Conflict => Kind::Conflict,
            Self::Fatal => Kind::Bug,
        }
    }
}

/// The class of an error code, for requests that a client of our kind sends. `code` is not 0.
///
/// Every code that Kafka's own client calls retriable is retried. Beyond those: `BROKER_NOT_AVAILABLE` and
/// `STALE_CONTROLLER_EPOCH` pass when the cluster has settled, `UNKNOWN_SERVER_ERROR` is what a broker answers in
/// the middle of its shutdown, `NEW_LEADER_ELECTED` and `REBOOTSTRAP_REQUIRED` ask for new metadata,
/// `OPERATION_NOT_ATTEMPTED` for the same again, and `REASSIGNMENT_IN_PROGRESS` ends by itself.
pub const fn class(code: i16) -> Class {
    use ResponseError as E;
    let Some(error) = ResponseError::try_from_code(code) else { return Class::Fatal };
    match error {
        E::CorruptMessage
        | E::RequestTimedOut
        | E::CoordinatorLoadInProgress
        | E::NotEnoughReplicas
        | E::NotEnoughReplicasAfterAppend
        | E::ConcurrentTransactions
        | E::FetchSessionIdNotFound
        | E::InvalidFetchSessionEpoch
        | E::UnknownLeaderEpoch
        | E::OffsetNotAvailable
        | E::UnstableOffsetCommit
        | E::ThrottlingQuotaExceeded
        | E::FetchSessionTopicIdError
        | E::ShareSessionNotFound
        | E::InvalidShareSessionEpoch
        | E::ShareSessionLimitReached
        | E::UnknownServerError
        | E::OperationNotAttempted
        | E::ReassignmentInProgress => Class::Retry,

        E::UnknownTopicOrPartition
        | E::LeaderNotAvailable
        | E::NotLeaderOrFollower
        | E::ReplicaNotAvailable
        | E::NetworkException
        | E::NotController
        | E::KafkaStorageError
        | E::ListenerNotFound
        | E::FencedLeaderEpoch
        | E::PreferredLeaderNotAvailable
        | E::EligibleLeadersNotAvailable
        | E::ElectionNotNeeded
        | E::UnknownTopicId
        | E::InconsistentTopicId
        | E::BrokerNotAvailable
        | E::StaleControllerEpoch
        | E::NewLeaderElected
        | E::RebootstrapRequired => Class::RefreshMetadata,

        E::CoordinatorNotAvailable | E::NotCoordinator => Class::RefreshCoordinator,

        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::DelegationTokenAuthorizationFailed
        | E::DelegationTokenAuthDisabled
        | E::DelegationTokenNotFound
        | E::DelegationTokenOwnerMismatch
        | E::DelegationTokenRequestNotAllowed
        | E::DelegationTokenExpired
        | E::SaslAuthenticationFailed
        | E::SecurityDisabled
        | E::InvalidPrincipalType
        | E::PrincipalDeserializationFailure
        | E::UnacceptableCredential => Class::Denied,

        E::OffsetOutOfRange
        | E::MessageTooLarge
        | E::OffsetMetadataTooLarge
        | E::InvalidTopicException
        | E::RecordListTooLarge
        | E::InvalidGroupId
        | E::InvalidCommitOffsetSize
        | E::InvalidTimestamp
        | E::UnsupportedSaslMechanism
        | E::UnsupportedVersion
        | E::InvalidPartitions
        | E::InvalidReplicationFactor
        | E::InvalidReplicaAssignment
        | E::InvalidConfig
        | E::UnsupportedForMessageFormat
        | E::PolicyViolation
        | E::InvalidTransactionTimeout
        | E::LogDirNotFound
        | E::GroupIdNotFound
        | E::TopicDeletionDisabled
        | E::UnsupportedCompressionType
        | E::InvalidRecord
        | E::ResourceNotFound
        | E::PositionOutOfRange
        | E::TransactionalIdNotFound
        | E::InconsistentClusterId
        | E::OffsetMovedToTieredStorage
        | E::MismatchedEndpointType
        | E::UnsupportedEndpointType
        | E::NoReassignmentInProgress
        | E::InvalidRegularExpression => Class::Usage,

        E::TopicAlreadyExists
        | E::IllegalGeneration
        | E::UnknownMemberId
        | E::RebalanceInProgress
        | E::InvalidProducerEpoch
        | E::InvalidProducerIdMapping
        | E::TransactionCoordinatorFenced
        | E::NonEmptyGroup
        | E::FencedInstanceId
        | E::GroupSubscribedToTopic
        | E::GroupMaxSizeReached
        | E::ProducerFenced
        | E::DuplicateResource
        | E::FencedMemberEpoch
        | E::UnreleasedInstanceId
        | E::StaleMemberEpoch => Class::Conflict,

        E::InvalidFetchSize
        | E::InvalidRequiredAcks
        | E::InconsistentGroupProtocol
        | E::InvalidSessionTimeout
        | E::IllegalSaslState
        | E::InvalidRequest
        | E::OutOfOrderSequenceNumber
        | E::DuplicateSequenceNumber
        | E::InvalidTxnState
        | E::UnknownProducerId
        | E::StaleBrokerEpoch
        | E::MemberIdRequired
        | E::InconsistentVoterSet
        | E::InvalidUpdateVersion
        | E::FeatureUpdateFailed
        | E::SnapshotNotFound
        | E::DuplicateBrokerRegistration
        | E::BrokerIdNotRegistered
        | E::IneligibleReplica
        | E::UnsupportedAssignor
        | E::UnknownControllerId
        | E::UnknownSubscriptionId
        | E::TelemetryTooLarge
        | E::InvalidRegistration
        | E::TransactionAbortable
        | E::InvalidRecordState
        | E::FencedStateEpoch
        | E::InvalidVoterKey
        | E::DuplicateVoter
        | E::VoterNotFound
        | E::StreamsInvalidTopology
        | E::StreamsInvalidTopologyEpoch
        | E::StreamsTopologyFenced
        | E::Unknown(_) => Class::Fatal,
    }
}

/// The name of an error code as Kafka's documentation writes it, `NOT_COORDINATOR` for 16; `UNKNOWN_CODE` for one
/// that is newer than this program.
pub fn code_name(code: i16) -> String {
    let Some(error) = ResponseError::try_from_code(code) else { return "NONE".to_owned() };
    match error {
        ResponseError::Unknown(_) => "UNKNOWN_CODE".to_owned(),
        known => screaming_snake(&known.to_string()),
    }
}

fn screaming_snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 8);
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

/// The first pause.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: short enough to notice a new leader soon after its election.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Pauses that double up to [`BACKOFF_MAX`], each between a half and the whole of its nominal length, so that
/// workers who failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    nominal: Duration,
    random: u64,
}

impl Backoff {
    /// The same seed gives the same pauses.
    pub const fn new(seed: u64) -> Self {
        Self { nominal: BACKOFF_FIRST, random: seed }
    }

    /// The pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let half = self.nominal / 2;
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let pause = half + half.mul_f64(unit(self.random));
        self.nominal = (self.nominal * 2).min(BACKOFF_MAX);
        pause
    }

    /// Begins again with the shortest pause.
    pub const fn reset(&mut self) {
        self.nominal = BACKOFF_FIRST;
    }
}

/// A number in 0..1 from the finalizer of SplitMix64.
fn unit(state: u64) -> f64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // 32 bits are plenty for a pause, and exact in an f64.
    f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// How long a call may go on without any success, and how long it pauses in between.
#[derive(Debug)]
pub struct Budget {
    limit: Duration,
    last_success: Instant,
    backoff: Backoff,
}

impl Budget {
    /// A budget that begins at `now`.
    pub const fn new(limit: Duration, now: Instant, seed: u64) -> Self {
        Self { limit, last_success: now, backoff: Backoff::new(seed) }
    }

    /// Something succeeded: the time starts again.
    pub const fn progress(&mut self, now: Instant) {
        self.last_success = now;
        self.backoff.reset();
    }

    /// How long to pause before the next try; `None` when the budget is used up.
    pub fn pause(&mut self, now: Instant) -> Option<Duration> {
        (now.saturating_duration_since(self.last_success) < self.limit).then(|| self.backoff.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of Kafka 4.3 whose exception is a `RetriableException` in its Java client, read from
    /// `org.apache.kafka.common.protocol.Errors`.
    const RETRIABLE: [i16; 32] = [
        2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89, 100, 103,
        106, 122, 123, 133,
    ];
    /// Those of them whose exception is an `InvalidMetadataException`, and `NOT_CONTROLLER`.
    const METADATA: [i16; 14] = [3, 5, 6, 9, 13, 41, 56, 72, 74, 80, 83, 84, 100, 103];
    const NEWEST: i16 = 133;

    #[test]
    fn every_code_that_kafka_documents_as_retriable_is_retried() {
        for code in RETRIABLE {
            assert!(class(code).is_retriable(), "{code} {}", code_name(code));
        }
        for code in METADATA {
            assert_eq!(class(code), Class::RefreshMetadata, "{code} {}", code_name(code));
        }
        assert_eq!((class(15), class(16)), (Class::RefreshCoordinator, Class::RefreshCoordinator));
    }

    #[test]
    fn only_the_named_exceptions_are_retried_beyond_the_documentation() {
        let beyond: Vec<i16> = (-1..=NEWEST)
            .filter(|code| *code != 0 && class(*code).is_retriable() && !RETRIABLE.contains(code))
            .collect();
        assert_eq!(beyond, [-1, 8, 11, 55, 60, 108, 129]);
    }

    #[test]
    fn every_code_up_to_the_newest_has_a_name_and_a_class_of_its_own() {
        for code in (-1..=NEWEST).filter(|code| *code != 0) {
            assert_ne!(code_name(code), "UNKNOWN_CODE", "{code}");
        }
        for (code, name) in [
            (-1, "UNKNOWN_SERVER_ERROR"),
            (16, "NOT_COORDINATOR"),
            (35, "UNSUPPORTED_VERSION"),
            (48, "INVALID_TXN_STATE"),
            (88, "UNSTABLE_OFFSET_COMMIT"),
        ] {
            assert_eq!(code_name(code), name);
        }
        assert_eq!((class(NEWEST + 1), code_name(NEWEST + 1).as_str()), (Class::Fatal, "UNKNOWN_CODE"));
    }

    #[test]
    fn every_refused_authorization_is_denied() {
        for code in [29, 30, 31, 53, 58, 65] {
            assert_eq!(class(code).kind(), Kind::Denied, "{code} {}", code_name(code));
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_stay_within_their_jitter() {
        let mut backoff = Backoff::new(7);
        let mut nominal = BACKOFF_FIRST;
        for _ in 0..12 {
            let pause = backoff.pause();
            assert!(pause >= nominal / 2 && pause <= nominal, "{pause:?} of {nominal:?}");
            nominal = (nominal * 2).min(BACKOFF_MAX);
        }
        backoff.reset();
        assert!(backoff.pause() <= BACKOFF_FIRST);
    }

    #[test]
    fn pauses_differ_by_seed_and_repeat_with_it() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn a_budget_ends_after_its_time_without_success() {
        let start = Instant::now();
        let mut budget = Budget::new(Duration::from_secs(10), start, 1);
        assert!(budget.pause(start + Duration::from_millis(9_999)).is_some());
        budget.progress(start + Duration::from_secs(9));
        assert!(budget.pause(start + Duration::from_secs(18)).is_some());
        assert_eq!(budget.pause(start + Duration::from_secs(19)), None);
    }
}
