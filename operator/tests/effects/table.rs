//! The tables of the fields, one for each API group.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use strimzi_backup_operator::api::{OSO_GROUP, STRIMZI_GROUP, definitions, oso, strimzi};
use strimzi_backup_operator::owner::Kind;

use crate::made::{Around, Planned, document, planned};

pub const KINDS: [Kind; 2] = [Kind::Backup, Kind::Restore];

/// The installation beside which fields are shown: they go before what it says, or are added to it.
const INSTALLATION: [&str; 2] =
    ["--image-pull-secrets=of-the-installation", "--job-service-account=of-the-installation"];

/// Where a schema refers to a type of Kubernetes' own: what is below is passed on as it is, and is one field here.
const OF_KUBERNETES: [&str; 17] = [
    "podTemplate.tolerations",
    "resources",
    "template.container.env",
    "template.container.securityContext",
    "template.container.volumeMounts",
    "template.pod.affinity",
    "template.pod.dnsConfig",
    "template.pod.hostAliases",
    "template.pod.imagePullSecrets",
    "template.pod.securityContext",
    "template.pod.tolerations",
    "template.pod.topologySpreadConstraints",
    "template.pod.volumes[].configMap",
    "template.pod.volumes[].csi",
    "template.pod.volumes[].emptyDir",
    "template.pod.volumes[].persistentVolumeClaim",
    "template.pod.volumes[].secret",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    around: Around,
    /// The specs, by kind, that every row lays its lines over.
    minimal: BTreeMap<String, Value>,
    effects: Vec<Effect>,
    refused: Vec<Refused>,
}

/// With `set` laid over `with` there is that at these places, and without it there is not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    pub field: String,
    #[serde(default)]
    pub with: Map<String, Value>,
    pub set: Value,
    pub gives: BTreeMap<String, Value>,
}

/// With `set` laid over `with` nothing is run, and a condition says so; without it, something is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    pub fields: Vec<String>,
    #[serde(default)]
    pub with: Map<String, Value>,
    pub set: Value,
    pub says: String,
}

/// An API group: its table, and its way from a spec to a plan.
pub struct Group {
    pub name: &'static str,
    table: Table,
    plan: fn(&Around, Kind, Value) -> Planned,
}

pub fn groups() -> [Group; 2] {
    let read = |text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    let (of_strimzi, of_oso) = (read(include_str!("strimzi.yaml")), read(include_str!("oso.yaml")));
    [
        Group { name: STRIMZI_GROUP, table: of_strimzi, plan: planned::<strimzi::KafkaRestore> },
        Group { name: OSO_GROUP, table: of_oso, plan: planned::<oso::KafkaRestore> },
    ]
}

impl Group {
    /// All rows, whatever kind they are about.
    pub fn rows(&self) -> (&[Effect], &[Refused]) {
        (&self.table.effects, &self.table.refused)
    }

    /// The rows about fields of this kind.
    pub fn effects(&self, kind: Kind) -> impl Iterator<Item = &Effect> {
        let fields = self.fields(kind);
        self.table.effects.iter().filter(move |row| fields.contains(&row.field))
    }

    /// Likewise.
    pub fn refused(&self, kind: Kind) -> impl Iterator<Item = &Refused> {
        let fields = self.fields(kind);
        self.table.refused.iter().filter(move |row| row.fields.iter().any(|field| fields.contains(field)))
    }

    /// The specs with and without the lines of a row.
    pub fn specs(&self, kind: Kind, with: &Map<String, Value>, set: &Value) -> [Value; 2] {
        let without = merged(self.table.minimal[kind.as_str()].clone(), Value::Object(with.clone()));
        [merged(without.clone(), set.clone()), without]
    }

    /// What a spec becomes.
    pub fn plan(&self, kind: Kind, spec: Value) -> Planned {
        (self.plan)(&self.table.around, kind, spec)
    }

    /// Everything that is made of a spec.
    pub fn document(&self, kind: Kind, spec: Value) -> Value {
        let text = spec.to_string();
        let planned = self.plan(kind, spec).unwrap_or_else(|refusal| panic!("{} {kind}: {refusal}: {text}", self.name));
        document(&planned.0, &planned.1, &INSTALLATION)
    }

    /// The fields that have no fields of our own below them: `a.b`, `list[].c`, `map{}`.
    pub fn fields(&self, kind: Kind) -> BTreeSet<String> {
        let specs = definitions().map(|definition| definition.0.spec);
        let found = specs.iter().find(|spec| spec.group == self.name && spec.names.kind == kind.as_str());
        let schema = json!(found.expect("each group has each kind").versions[0].schema);
        let mut fields = BTreeSet::new();
        collect(String::new(), &schema["openAPIV3Schema"]["properties"]["spec"], &mut fields);
        fields
    }
}

fn collect(path: String, schema: &Value, fields: &mut BTreeSet<String>) {
    if OF_KUBERNETES.contains(&path.as_str()) {
        fields.insert(path);
    } else if let Some(below) = schema["properties"].as_object() {
        let dot = if path.is_empty() { "" } else { "." };
        below.iter().for_each(|(name, schema)| collect(format!("{path}{dot}{name}"), schema, fields));
    } else if schema["items"].is_object() {
        collect(format!("{path}[]"), &schema["items"], fields);
    } else if schema["additionalProperties"].is_object() {
        collect(format!("{path}{{}}"), &schema["additionalProperties"], fields);
    } else {
        fields.insert(path);
    }
}

/// `over` laid over `under`: maps are merged, anything else is replaced.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (name, value) in over {
                let beneath = under.remove(&name).unwrap_or_default();
                under.insert(name, merged(beneath, value));
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}
