//! What the chart carries is what the types say.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use strimzi_backup_operator::api::definitions;

fn chart() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/crds"))
}

#[test]
fn the_chart_carries_the_definitions_that_the_types_make() {
    let mut made = BTreeSet::new();
    for definition in definitions() {
        let path = chart().join(definition.file_name());
        let carried = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            carried == definition.to_yaml().unwrap(),
            "{} is not what the types make: cargo run -p crdgen -- helm/crds",
            path.display()
        );
        made.insert(definition.file_name());
    }
    let files = std::fs::read_dir(chart()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), made);
}

/// Every property below a path of a schema, with its path.
fn properties<'a>(path: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    if let Some(below) = schema["properties"].as_object() {
        for (name, schema) in below {
            let path = format!("{path}.{name}");
            found.push((path.clone(), schema));
            properties(&path, schema, found);
        }
    }
    if schema["items"].is_object() {
        properties(&format!("{path}[]"), &schema["items"], found);
    }
}

#[test]
fn every_field_is_described_and_every_kind_is_found_by_the_names_of_the_documents() {
    for definition in definitions() {
        let crd = serde_json::to_value(&definition.0).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        properties("spec", &schema["properties"]["spec"], &mut found);
        properties("status", &schema["properties"]["status"], &mut found);
        let bare: Vec<_> =
            found.iter().filter(|(_, schema)| schema["description"].is_null()).map(|(path, _)| path).collect();
        assert!(bare.is_empty(), "{}: {bare:?}", definition.file_name());
        let names = &crd["spec"]["names"];
        assert_eq!(names["categories"], serde_json::json!(["strimzi"]));
        let shorts: &[&str] = match (&definition.0.spec.group[..], &definition.0.spec.names.kind[..]) {
            ("backup.strimzi.io", "KafkaBackup") => &["kbk", "kb"],
            ("backup.strimzi.io", "KafkaRestore") => &["krs", "kr"],
            ("kafka.oso.sh", "KafkaBackup") => &["kb"],
            ("kafka.oso.sh", "KafkaRestore") => &["kr"],
            other => panic!("which short names has {other:?}?"),
        };
        assert_eq!(names["shortNames"], serde_json::json!(shorts));
    }
}

/// The schema at a path of a printer column: `.status.conditions[?(@.type=="Ready")].status`.
fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    let Some((condition, rest)) = path.split_once("[?(@.") else {
        return path.split('.').skip(1).fold(schema, |schema, name| &schema["properties"][name]);
    };
    let (filtered, rest) = rest.split_once("==").expect("a filter compares");
    let (_, rest) = rest.split_once(")]").expect("a filter ends");
    let elements = &at(schema, condition)["items"];
    assert_eq!(elements["properties"][filtered]["type"], "string", "{path}: there is no {filtered}");
    at(elements, rest)
}

#[test]
fn every_column_shows_a_field_that_there_is() {
    for definition in definitions() {
        let crd = serde_json::to_value(&definition.0).unwrap();
        let version = &crd["spec"]["versions"][0];
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        assert!(columns.iter().any(|column| column["name"] == "Age"), "{columns:?}");
        for column in columns {
            // Metadata have no schema of their own in a definition.
            let path = column["jsonPath"].as_str().unwrap();
            if path == ".metadata.creationTimestamp" {
                continue;
            }
            let shown = if column["type"] == "date" { "string" } else { column["type"].as_str().unwrap() };
            let field = at(&version["schema"]["openAPIV3Schema"], path);
            assert_eq!(field["type"], shown, "{}: column {} at {path}", definition.file_name(), column["name"]);
        }
    }
}
