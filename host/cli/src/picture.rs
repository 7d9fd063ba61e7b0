//! The resource graph as a picture.

use std::fmt::Write as _;

use layout::{
    backends::svg::SVGWriter,
    gv::{DotParser, GraphBuilder},
};
use serde::Serialize;
use windlass_model::{NodeKey, plan::Plan, visible};

use crate::{exit::Failure, print};

/// From so many nodes on a picture takes more than some seconds: the layout's time grows faster than they do.
const SLOW_NODES: usize = 300;

/// A graph as data.
#[derive(Debug, Serialize)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize)]
struct Node {
    key: NodeKey,
    definition: Option<String>,
    actions: usize,
}

#[derive(Debug, Serialize)]
struct Edge {
    from: NodeKey,
    to: NodeKey,
}

impl Graph {
    /// Takes the nodes of a plan; edges point from a user to what it uses.
    pub(crate) fn of(plan: &Plan) -> Self {
        let nodes = plan
            .nodes()
            .chain(plan.later())
            .map(|node| Node {
                key: node.key.clone(),
                definition: node.definition.as_ref().map(|definition| definition.name.to_string()),
                actions: node.actions.len(),
            })
            .collect();
        let edges = plan
            .nodes()
            .chain(plan.later())
            .flat_map(|node| node.depends_on.iter().map(|to| Edge { from: node.key.clone(), to: to.clone() }))
            .collect();
        Self { nodes, edges }
    }

    fn label(node: &Node) -> String {
        let actions = match node.actions {
            0 => String::new(),
            1 => "\n1 action".to_owned(),
            count => format!("\n{count} actions"),
        };
        format!("{}{actions}", visible::escaped(&node.key.to_string()))
    }

    /// Writes Graphviz's language.
    pub(crate) fn dot(&self) -> String {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
        let mut out = String::from("digraph windlass {\n  rankdir=LR;\n");
        for node in &self.nodes {
            let shape = match node.key {
                NodeKey::Workload(_) => "box",
                NodeKey::Resource(_) => "ellipse",
            };
            let _ = writeln!(
                out,
                "  {} [label={}, shape={shape}];",
                quote(&visible::escaped(&node.key.to_string())),
                quote(&Self::label(node))
            );
        }
        for edge in &self.edges {
            let _ = writeln!(
                out,
                "  {} -> {};",
                quote(&visible::escaped(&edge.from.to_string())),
                quote(&visible::escaped(&edge.to.to_string()))
            );
        }
        out.push_str("}\n");
        out
    }

    /// Writes Mermaid's language, as forges render it.
    pub(crate) fn mermaid(&self) -> String {
        let id = |key: &NodeKey| {
            self.nodes.iter().position(|node| node.key == *key).map_or_else(|| "unknown".to_owned(), |index| format!("n{index}"))
        };
        let mut out = String::from("flowchart LR\n");
        for node in &self.nodes {
            let label = Self::label(node).replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\n', "<br/>");
            let _ = match node.key {
                NodeKey::Workload(_) => writeln!(out, "  {}[\"{label}\"]", id(&node.key)),
                NodeKey::Resource(_) => writeln!(out, "  {}([\"{label}\"])", id(&node.key)),
            };
        }
        for edge in &self.edges {
            let _ = writeln!(out, "  {} --> {}", id(&edge.from), id(&edge.to));
        }
        out
    }

    /// Draws a picture.
    pub(crate) fn svg(&self) -> Result<String, Failure> {
        if self.nodes.len() > SLOW_NODES {
            print::note(&format!(
                "Laying {} nodes out, which may take minutes; `--format dot` is for Graphviz, at once.",
                self.nodes.len()
            ));
        }
        let dot = self.dot();
        let parsed = DotParser::new(&dot).process().map_err(|error| Failure::failed(format!("the graph can't be drawn: {error}")))?;
        let mut builder = GraphBuilder::new();
        builder.visit_graph(&parsed);
        let mut graph = builder.get();
        let mut writer = SVGWriter::new();
        graph.do_it(false, false, false, &mut writer);
        Ok(writer.finalize())
    }
}
