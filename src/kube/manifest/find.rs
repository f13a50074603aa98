//! The pods of a document.
//!
//! In: a document. Out: where its pods and pod templates are, and the namespaces it declares. Kinds of other
//! API groups are none of ours, whatever they are called.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Problem;
use crate::kube::edit::{Edit, Step};
use crate::kube::plan::Namespace;
use crate::kube::text::{Id, Shape, Tree, refusal, value};

/// The kinds with pods: kind, API group, the way to the pod.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("Pod", "", &[]),
    ("Deployment", "apps", &["spec", "template"]),
    ("StatefulSet", "apps", &["spec", "template"]),
    ("DaemonSet", "apps", &["spec", "template"]),
    ("ReplicaSet", "apps", &["spec", "template"]),
    ("Job", "batch", &["spec", "template"]),
    ("CronJob", "batch", &["spec", "jobTemplate", "spec", "template"]),
];

/// What a document has for us.
#[derive(Default)]
pub(super) struct Finds {
    pub(super) pods: Vec<Found>,
    pub(super) namespaces: Vec<Namespace>,
}

/// One pod or pod template.
pub(super) struct Found {
    /// Kind and name of its object.
    pub(super) who: String,
    /// The line on which the object begins.
    pub(super) line: u32,
    /// The namespace that the object names.
    pub(super) namespace: Option<String>,
    /// The way to it from the root of the document.
    pub(super) path: Vec<Step>,
    /// Where it is.
    pub(super) place: Place,
}

/// Where a pod is.
pub(super) enum Place {
    /// There.
    At(Id),
    /// Nowhere that could be changed, and why.
    Nowhere(String),
}

/// An object: a whole document, or an item of a list.
struct Object<'a, 't> {
    tree: &'a Tree<'t>,
    id: Id,
    /// Kind and API group.
    kind: String,
    group: String,
    path: Vec<Step>,
    /// Why nothing can be changed in it.
    refusal: Option<String>,
}

/// All that is found in a document. `Err`: a namespace in it is broken.
pub(super) fn find(tree: &Tree<'_>) -> Result<Finds, Problem> {
    let mut finds = Finds::default();
    Object::new(tree, tree.root, Vec::new(), None, "", "").find(&mut finds)?;
    Ok(finds)
}

// === impl Found ===

impl Found {
    /// An edit of the pod as an edit of the document.
    pub(super) fn in_document(&self, edit: Edit) -> Edit {
        Edit { at: self.path.iter().cloned().chain(edit.at).collect(), value: edit.value }
    }

    /// The way to the pod as a JSON Pointer.
    pub(super) fn pointer(&self) -> String {
        Edit { at: self.path.clone(), value: Value::Null }.pointer()
    }
}

// === impl Object ===

impl<'a, 't> Object<'a, 't> {
    /// `kind` and `group` hold where the object does not say: items of a DeploymentList do not.
    fn new(
        tree: &'a Tree<'t>,
        id: Id,
        path: Vec<Step>,
        above: Option<String>,
        kind: &str,
        group: &str,
    ) -> Self {
        let said = |key: &str| tree.get(id, key).and_then(|value| tree.str(value));
        let group = said("apiVersion")
            .map_or(group, |version| version.split_once('/').map_or("", |(group, _)| group));
        let refusal = above.or_else(|| refusal(tree, id));
        Self {
            tree,
            id,
            kind: said("kind").unwrap_or(kind).to_owned(),
            group: group.to_owned(),
            path,
            refusal,
        }
    }

    fn find(self, finds: &mut Finds) -> Result<(), Problem> {
        if let Some((.., way)) =
            KINDS.iter().find(|(kind, group, _)| *kind == self.kind && *group == self.group)
        {
            let found = self.pod(way);
            finds.pods.push(found);
        } else if self.kind == "Namespace" && self.group.is_empty() {
            finds.namespaces.extend(self.namespace()?);
        } else if let Some(kind) = self.kind.strip_suffix("List") {
            return self.items(kind, finds);
        }
        Ok(())
    }

    fn items(&self, kind: &str, finds: &mut Finds) -> Result<(), Problem> {
        let Some(list) = self.tree.get(self.id, "items") else { return Ok(()) };
        let above = self.refusal.clone().or_else(|| refusal(self.tree, list));
        for (index, item) in self.tree.items(list).iter().enumerate() {
            let path = self.path.iter().cloned().chain(["items".into(), index.into()]).collect();
            Object::new(self.tree, *item, path, above.clone(), kind, &self.group).find(finds)?;
        }
        Ok(())
    }

    fn pod(self, way: &[&'static str]) -> Found {
        let place = self.place(way);
        let path = self.path.iter().cloned().chain(way.iter().map(|key| Step::from(*key))).collect();
        let metadata = |key: &str| {
            let metadata = self.tree.get(self.id, "metadata")?;
            self.tree.str(self.tree.get(metadata, key)?).map(str::to_owned)
        };
        let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or_default();
        Found {
            who: format!("{}/{name}", self.kind),
            line: self.tree.node(self.id).line,
            namespace: metadata("namespace"),
            path,
            place,
        }
    }

    fn place(&self, way: &[&'static str]) -> Place {
        let mut at = self.id;
        let mut refused = self.refusal.clone();
        for (index, key) in way.iter().enumerate() {
            let Some(next) = self.tree.get(at, key) else {
                return Place::Nowhere(format!("it has no {}", way[..=index].join(".")));
            };
            refused = refused.or_else(|| refusal(self.tree, next));
            at = next;
        }
        if let Some(reason) = refused {
            return Place::Nowhere(reason);
        }
        match self.tree.node(at).shape {
            Shape::Map { .. } => Place::At(at),
            Shape::Text(_) | Shape::List { .. } | Shape::Alias(_) => {
                Place::Nowhere(format!("its {} is no map", way.join(".")))
            }
        }
    }

    fn namespace(&self) -> Result<Option<Namespace>, Problem> {
        let value = value(self.tree, self.id)?;
        let metadata = &value["metadata"];
        let Some(name) = metadata["name"].as_str() else { return Ok(None) };
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels: BTreeMap<String, String> =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        Ok(Some(Namespace { name: name.to_owned(), labels }))
    }
}
