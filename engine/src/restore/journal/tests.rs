use super::*;
use crate::kafka::groups::CommittedOffset;
use crate::restore::{Counts, Outcome, TopicReport};

fn request() -> Request {
    Request {
        backup_id: "b".parse().unwrap(),
        target_cluster_id: "target".to_owned(),
        topics: [("orders".to_owned(), "orders-2".to_owned())].into(),
        point_in_time_ms: None,
        start_ms: None,
        original_offset_header: None,
        partition_mapping: BTreeMap::new(),
    }
}

fn intent(action: Action) -> Intent {
    let actions = [("orders-2".to_owned(), action)].into();
    Intent {
        request: request(),
        backup_cut_at_ms: None,
        actions,
        overwritten: BTreeMap::new(),
        existing_topics: None,
        settings: BTreeMap::new(),
    }
}

async fn journal(folder: &tempfile::TempDir) -> Journal {
    let storage = format!("file://{}", folder.path().display()).parse().unwrap();
    let store = Store::open_or_create(&storage).await.unwrap();
    Journal::new(store, &ArchiveKeys::new(&"a".parse().unwrap()), "r".parse().unwrap())
}

#[tokio::test]
async fn the_first_intent_counts_whatever_a_later_run_sees() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    assert_eq!(journal.intent(&request()).await.unwrap(), None);
    assert_eq!(journal.backup_id().await.unwrap(), None);
    journal.write_intent(intent(Action::Create)).await.unwrap();
    assert_eq!(journal.backup_id().await.unwrap(), Some("b".parse().unwrap()));
    let again = journal.write_intent(intent(Action::Use)).await.unwrap();
    assert_eq!(again, intent(Action::Create));
    assert_eq!(journal.intent(&request()).await.unwrap(), Some(intent(Action::Create)));
}

#[tokio::test]
async fn a_restore_of_something_else_under_the_same_id_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    journal.write_intent(intent(Action::Create)).await.unwrap();
    let changes: [fn(&mut Request); 7] = [
        |request| request.backup_id = "b2".parse().unwrap(),
        |request| request.target_cluster_id = "elsewhere".to_owned(),
        |request| drop(request.topics.insert("payments".to_owned(), "payments".to_owned())),
        |request| request.point_in_time_ms = Some(1),
        |request| request.start_ms = Some(1),
        |request| request.original_offset_header = Some("h".to_owned()),
        |request| drop(request.partition_mapping.insert("orders".to_owned(), [(0, 1)].into())),
    ];
    for change in changes {
        let mut other = request();
        change(&mut other);
        assert_eq!(journal.intent(&other).await.unwrap_err().kind(), Kind::Conflict, "{other:?}");
        assert_ne!(other.default_id(), request().default_id(), "{other:?}");
    }
}

#[tokio::test]
async fn what_was_done_with_a_group_is_remembered_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let offset = |offset| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
    let wanted: CommittedOffsets = [(("t".to_owned(), 0), offset(5)), (("t".to_owned(), 1), offset(6))].into();
    let found: CommittedOffsets = [(("t".to_owned(), 1), offset(3)), (("u".to_owned(), 1), offset(9))].into();
    for group in ["g", "../../g", "", "a/b", "\u{1f980} \n"] {
        assert_eq!(journal.group_before(group).await.unwrap(), None, "{group:?}");
        let before = GroupBefore::new(group, &wanted, &found);
        assert_eq!((before.offset(&("t".to_owned(), 0)), before.offset(&("t".to_owned(), 1))), (None, Some(3)));
        journal.write_group_before(before.clone()).await.unwrap();
        assert_eq!(journal.group_before(group).await.unwrap(), Some(before));
        assert_eq!(journal.group_committed(group).await.unwrap(), None);
        let report =
            |committed| GroupReport { source: "s".to_owned(), target: group.to_owned(), committed, left_out: 0 };
        journal.write_group_committed(group, report(2)).await.unwrap();
        assert_eq!(journal.write_group_committed(group, report(3)).await.unwrap(), report(2), "the first counts");
        assert_eq!(journal.group_committed(group).await.unwrap(), Some(report(2)));
    }
}

#[test]
fn a_restore_of_a_program_that_divides_batches_otherwise_is_told_from_ours() {
    let prepared = |rules: &str| -> Prepared {
        serde_json::from_str(&format!(r#"{{"producerId":1,"producerEpoch":0,{rules}"topics":[]}}"#)).unwrap()
    };
    assert!(!prepared("").has_our_boundaries() && !prepared(r#""boundaryRules":3,"#).has_our_boundaries());
    assert!(prepared(&format!(r#""boundaryRules":{BOUNDARY_RULES},"#)).has_our_boundaries());
}

#[test]
fn topics_that_a_restore_has_created_are_told_from_those_that_it_has_not_replaced_yet() {
    let actions = [("a", Action::Create), ("b", Action::Overwrite), ("c", Action::Overwrite), ("d", Action::Append)];
    let intent = Intent {
        actions: actions.map(|(name, action)| (name.to_owned(), action)).into(),
        overwritten: [("b".to_owned(), Uuid::from_u128(2)), ("c".to_owned(), Uuid::from_u128(3))].into(),
        ..intent(Action::Create)
    };
    let created = |ids: &[(&str, u128)]| {
        let ids = ids.iter().map(|(name, id)| ((*name).to_owned(), Uuid::from_u128(*id))).collect();
        let (there, gone) = intent.created(&ids);
        (there.join(","), gone.join(","))
    };
    assert_eq!(created(&[("b", 2), ("c", 3), ("d", 4)]), (String::new(), String::new()));
    assert_eq!(created(&[("a", 1), ("b", 5), ("c", 3), ("d", 4)]), ("a,b".to_owned(), String::new()));
    assert_eq!(created(&[("a", 1), ("b", 5), ("d", 4)]), ("a,b".to_owned(), "c".to_owned()));
}

#[tokio::test]
async fn the_newest_of_what_became_of_settings_counts() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    assert_eq!(journal.settings().await.unwrap(), Settings::default());
    let mut settings = Settings::default();
    settings.reversed.entry(text("orders")).or_default().insert(text("retention.ms"), Some(text("5")));
    journal.write_settings(&settings).await.unwrap();
    settings.put_back.insert(text("orders"));
    journal.write_settings(&settings).await.unwrap();
    assert_eq!(journal.settings().await.unwrap(), settings);
}

#[tokio::test]
async fn the_ids_of_created_topics_are_remembered_and_the_newest_count() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    assert_eq!(journal.created().await.unwrap(), CreatedTopics::default());
    let mut created = CreatedTopics::default();
    for id in [1, 2] {
        created.ids.insert(text("orders"), Uuid::from_u128(id));
        journal.write_created(&created).await.unwrap();
        assert_eq!(journal.created().await.unwrap(), created);
    }
    let json = r#"{"ids":{"orders":"00000000-0000-0000-0000-000000000002"}}"#;
    assert_eq!(serde_json::to_string(&created).unwrap(), json);
    assert_eq!(serde_json::from_str::<CreatedTopics>(json).unwrap(), created);
}

#[test]
fn the_id_of_a_topic_that_is_to_be_created_is_forgotten_and_no_other_is() {
    let ids = [(text("orders"), Uuid::from_u128(1)), (text("audit"), Uuid::from_u128(2))].into();
    let mut created = CreatedTopics { ids };
    assert!(!created.forget(["payments"].into_iter()), "nothing has to be written");
    assert!(created.forget(["payments", "orders"].into_iter()));
    assert_eq!(created.ids, [(text("audit"), Uuid::from_u128(2))].into());
}

#[tokio::test]
async fn damaged_ids_of_created_topics_are_not_known_and_are_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    journal.store.put(&format!("{}created", journal.folder), Bytes::from_static(b"damaged")).await.unwrap();
    assert_eq!(journal.created().await.unwrap(), CreatedTopics::default());
    let created = CreatedTopics { ids: [(text("orders"), Uuid::from_u128(1))].into() };
    journal.write_created(&created).await.unwrap();
    assert_eq!(journal.created().await.unwrap(), created);
}

#[tokio::test]
async fn settings_of_version_1_are_read_and_still_written_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let files: [(&str, &'static [u8]); 2] = [
        ("intent", include_bytes!("../../../tests/golden/v1/restore/intent-with-settings")),
        ("settings", include_bytes!("../../../tests/golden/v1/restore/settings")),
    ];
    for (name, bytes) in files {
        let key = format!("{}{name}", journal.folder);
        journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
    }
    let intent = journal.begun().await.unwrap().unwrap();
    let settings = journal.settings().await.unwrap();
    assert_eq!(intent.settings["orders-2"].after["retention.ms"], Some(text("86400000")));
    assert_eq!(settings.reversed["orders-2"]["retention.bytes"], None);
    let sealed = [
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &settings),
    ];
    for ((name, golden), sealed) in files.iter().zip(sealed) {
        assert_eq!(String::from_utf8_lossy(golden), String::from_utf8_lossy(&sealed), "{name}");
    }
}

#[tokio::test]
async fn what_a_journal_of_version_1_says_of_topics_and_of_its_end_is_read_and_still_written_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let files: [(&str, &'static [u8]); 4] = [
        ("intent", include_bytes!("../../../tests/golden/v1/restore/intent-with-cut")),
        ("created", include_bytes!("../../../tests/golden/v1/restore/created")),
        ("prepared", include_bytes!("../../../tests/golden/v1/restore/prepared-with-boundaries")),
        ("abandoned", include_bytes!("../../../tests/golden/v1/restore/abandoned")),
    ];
    for (name, bytes) in files {
        let key = format!("{}{name}", journal.folder);
        journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
    }
    let intent = journal.begun().await.unwrap().unwrap();
    assert_eq!(intent.backup_cut_at_ms, Some(1_770_906_600_123));
    let created = journal.created().await.unwrap();
    let ids = [(text("audit"), Uuid::from_u128(7)), (text("orders-2"), Uuid::from_u128(6))].into();
    assert_eq!(created, CreatedTopics { ids });
    let prepared = journal.prepared().await.unwrap().unwrap();
    assert_eq!((prepared.joined_records_bytes, prepared.boundary_rules), (Some(65_536), 2));
    assert!(journal.is_abandoned().await.unwrap());
    let abandoned = Abandoned { at_ms: 1_770_906_700_000 };
    let sealed = [
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &created),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &prepared),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &abandoned),
    ];
    for ((name, golden), sealed) in files.iter().zip(sealed) {
        assert_eq!(String::from_utf8_lossy(golden), String::from_utf8_lossy(&sealed), "{name}");
    }
}

#[test]
fn base_offsets_stand_in_the_order_of_partitions_and_none_may_lack() {
    let ends: BTreeMap<_, _> = [(("t".to_owned(), 1), 7), (("t".to_owned(), 0), 5)].into();
    assert_eq!(base_offsets(&ends, "t", 2), Some(vec![5, 7]));
    assert_eq!(base_offsets(&ends, "t", 3), None);
}

/// A journal that holds what version 1 of this program wrote into it. These files are never written again.
async fn golden(folder: &tempfile::TempDir) -> Journal {
    let journal = journal(folder).await;
    let files: [(&str, &'static [u8]); 4] = [
        ("intent", include_bytes!("../../../tests/golden/v1/restore/intent")),
        ("prepared", include_bytes!("../../../tests/golden/v1/restore/prepared")),
        ("maps/00001/000007", include_bytes!("../../../tests/golden/v1/restore/map")),
        ("done", include_bytes!("../../../tests/golden/v1/restore/done")),
    ];
    for (name, bytes) in files {
        let key = format!("{}{name}", journal.folder);
        journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
    }
    journal
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_journal_of_version_1_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let journal = golden(&folder).await;
    let request = Request {
        backup_id: "shop-20260212-143000".parse().unwrap(),
        target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
        topics: [(text("orders"), text("orders-2")), (text("audit"), text("audit"))].into(),
        point_in_time_ms: Some(1_770_906_600_123),
        start_ms: Some(1_700_000_000_000),
        original_offset_header: Some(text("source-offset")),
        partition_mapping: BTreeMap::new(),
    };
    // A restore that was begun by an older program goes on only if its request still has the same name.
    assert_eq!(request.default_id().as_str(), "r-0eb92eb6092c0a73");
    let intent = journal.intent(&request).await.unwrap().unwrap();
    assert_eq!(intent.actions, [(text("orders-2"), Action::Overwrite), (text("audit"), Action::Append)].into());
    assert_eq!(intent.overwritten, [(text("orders-2"), Uuid::from_u128(5))].into());
    assert_eq!(intent.existing_topics, None);

    let prepared = journal.prepared().await.unwrap().unwrap();
    assert_eq!(prepared.producer(), Producer { id: 4_000_000_007, epoch: 3 });
    let [orders, audit] = prepared.topics.as_slice() else { panic!("{} topics", prepared.topics.len()) };
    assert_eq!((orders.target.as_str(), orders.topic_id), ("orders-2", Uuid::from_u128(6)));
    assert_eq!((orders.max_batch_bytes, orders.base_offsets.as_slice()), (1_048_588, &[0, 0][..]));
    assert_eq!(orders.configs_meanwhile, [(text("retention.ms"), text("-1"))].into());
    assert_eq!(orders.configs_after, [(text("retention.ms"), None)].into());
    assert_eq!((audit.topic_id, audit.base_offsets.as_slice()), (Uuid::nil(), &[17][..]));
    assert_eq!(audit.configs_after, [(text("cleanup.policy"), Some(text("compact")))].into());

    let map = journal.map(1, 7).await.unwrap().unwrap();
    assert_eq!((map.records(), map.translate(107)), (2_000_005, 21));
}

#[tokio::test]
async fn what_a_journal_of_version_1_says_of_policy_and_groups_is_read_and_still_written_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let files: [(&str, &'static [u8]); 3] = [
        ("intent", include_bytes!("../../../tests/golden/v1/restore/intent-with-policy")),
        (
            "groups/834d97761b49d6a3d612ae68c181329d/before",
            include_bytes!("../../../tests/golden/v1/restore/group-before"),
        ),
        (
            "groups/834d97761b49d6a3d612ae68c181329d/committed",
            include_bytes!("../../../tests/golden/v1/restore/group-committed"),
        ),
    ];
    for (name, bytes) in files {
        let key = format!("{}{name}", journal.folder);
        journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
    }
    let request = Request {
        backup_id: "shop-20260212-143000".parse().unwrap(),
        target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
        ..request()
    };
    let intent = journal.intent(&request).await.unwrap().unwrap();
    assert_eq!(intent.existing_topics, Some(ExistingTopics::Overwrite));
    let before = journal.group_before("billing-2").await.unwrap().unwrap();
    assert_eq!(before.offsets, [(text("orders-2"), 0, 7), (text("orders-2"), 2, 0)]);
    let report = journal.group_committed("billing-2").await.unwrap().unwrap();
    assert_eq!((report.source.as_str(), report.committed, report.left_out), ("billing", 2, 1));
    // What this program writes is what it reads: the same bytes.
    let sealed = [
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &before),
        document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &report),
    ];
    for ((name, golden), sealed) in files.iter().zip(sealed) {
        assert_eq!(String::from_utf8_lossy(golden), String::from_utf8_lossy(&sealed), "{name}");
    }
}

#[tokio::test]
async fn an_intent_with_other_numbers_for_partitions_is_read_and_still_written_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let bytes: &[u8] = include_bytes!("../../../tests/golden/v1/restore/intent-with-partitions");
    journal.store.create(&format!("{}intent", journal.folder), bytes::Bytes::from_static(bytes)).await.unwrap();
    let request = Request {
        backup_id: "shop-20260212-143000".parse().unwrap(),
        target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
        partition_mapping: [(text("orders"), [(0, 2), (2, 0)].into())].into(),
        ..request()
    };
    let intent = journal.intent(&request).await.unwrap().unwrap();
    let sealed = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent);
    assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&sealed));
}

#[tokio::test]
async fn a_report_of_version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let done = golden(&folder).await.done().await.unwrap().unwrap();
    assert_eq!((done.outcome, done.records, done.duration_ms), (Outcome::Partial, 2_000_005, 1_234));
    assert_eq!((done.restore_id.as_str(), done.archive.as_str()), ("r-0123456789abcdef", "shop"));
    let counts =
        Counts { records: 2_000_005, passed: 40, rewritten: 3, skipped: 2, joined: 0, records_outside_time: 9 };
    assert_eq!(done.topics, [TopicReport { source: text("orders"), target: text("orders-2"), counts }]);
    let group = GroupReport { source: text("billing"), target: text("billing-2"), committed: 2, left_out: 1 };
    assert_eq!(done.groups, [group]);
    assert_eq!((done.problems, done.warnings), (vec![text("a problem")], vec![text("a warning")]));
    assert!(!done.already_restored && done.plan.is_none());
}
