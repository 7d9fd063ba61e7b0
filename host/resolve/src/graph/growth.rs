//! How far a graph may grow: definitions need resources whose definitions need others, and one that needs itself twice never ends.

use std::{cell::Cell, rc::Rc};

use windlass_model::{
    Diagnostic, ResourceKey,
    limits::{GRAPH_DEPTH_MAX, GRAPH_NODES_MAX, GRAPH_NODES_PER_RESOURCE_MAX},
};

/// Aliases of a path that an error shows at each end.
const ALIASES_SHOWN: usize = 4;

/// The needs through which definitions came to ask for a resource; empty for what the application itself asks for.
#[derive(Clone, Default)]
pub(super) struct Lineage<'a> {
    root: Option<Rc<Root>>,
    last: Option<Rc<Step<'a>>>,
    depth: usize,
}

/// A resource that the application asks for, with the number of nodes that definitions added because of it.
struct Root {
    key: ResourceKey,
    nodes: Cell<usize>,
}

/// One need of a definition.
struct Step<'a> {
    before: Option<Rc<Step<'a>>>,
    alias: &'a str,
}

impl<'a> Lineage<'a> {
    /// Returns the lineage from which the needs of a node's definition go on.
    pub(super) fn through(&self, node: &ResourceKey) -> Self {
        let root = self.root.clone().unwrap_or_else(|| Rc::new(Root { key: node.clone(), nodes: Cell::new(0) }));
        Self { root: Some(root), ..self.clone() }
    }

    /// Returns the lineage of one need.
    pub(super) fn need(&self, alias: &'a str) -> Self {
        let last = Rc::new(Step { before: self.last.clone(), alias });
        Self { root: self.root.clone(), last: Some(last), depth: self.depth + 1 }
    }

    /// Writes the path from the resource that the application asks for: `postgres.default#web.db -> backup -> bucket`.
    fn path(&self) -> String {
        let mut aliases: Vec<&str> =
            std::iter::successors(self.last.as_ref(), |step| step.before.as_ref()).map(|step| step.alias).collect();
        aliases.reverse();
        if aliases.len() > 2 * ALIASES_SHOWN {
            aliases.splice(ALIASES_SHOWN..aliases.len() - ALIASES_SHOWN, ["…"]);
        }
        let root = self.root.as_ref().map(|root| root.key.to_string()).unwrap_or_default();
        std::iter::once(root.as_str()).chain(aliases).collect::<Vec<_>>().join(" -> ")
    }
}

/// Counts nodes while a graph grows.
#[derive(Default)]
pub(super) struct Growth {
    nodes: usize,
    stopped: bool,
}

impl Growth {
    /// Counts a resource that is about to be added.
    ///
    /// # Errors
    /// The limit that it exceeds, with the path to it; nothing more is to be added then.
    pub(super) fn admit(&mut self, key: &ResourceKey, lineage: &Lineage<'_>) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > GRAPH_NODES_MAX {
            return Err(self.stop(format!("the application needs more than {GRAPH_NODES_MAX} resources; `{key}` is one too many")));
        }
        let Some(root) = &lineage.root else { return Ok(()) };
        let nodes = root.nodes.get() + 1;
        root.nodes.set(nodes);
        if lineage.depth > GRAPH_DEPTH_MAX {
            return Err(self.stop(format!("definitions need each other more than {GRAPH_DEPTH_MAX} levels deep: {}", lineage.path())));
        }
        if nodes > GRAPH_NODES_PER_RESOURCE_MAX {
            let of = &root.key;
            return Err(self.stop(format!(
                "definitions need more than {GRAPH_NODES_PER_RESOURCE_MAX} resources because of `{of}`: {}",
                lineage.path()
            )));
        }
        Ok(())
    }

    /// Returns whether a limit was exceeded.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    fn stop(&mut self, message: String) -> Diagnostic {
        self.stopped = true;
        Diagnostic::error("graph-size", message)
            .hint("a definition that needs its own type never ends: let it need another type or class, or give the need an `id`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> ResourceKey {
        format!("probe#{id}").parse().unwrap()
    }

    fn code(admitted: Result<(), Diagnostic>) -> String {
        admitted.map_or_else(|problem| problem.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn all_nodes_together_have_a_limit() {
        let mut growth = Growth::default();
        let key = key("web.x");
        for _ in 0..GRAPH_NODES_MAX {
            assert!(growth.admit(&key, &Lineage::default()).is_ok());
        }
        assert!(!growth.has_stopped());
        assert!(code(growth.admit(&key, &Lineage::default())).contains("needs more than 200000 resources; `probe.default#web.x`"));
        assert!(growth.has_stopped());
    }

    #[test]
    fn nodes_that_definitions_add_have_a_limit_for_each_resource() {
        let mut growth = Growth::default();
        for root in ["web.x", "web.y"] {
            let lineage = Lineage::default().through(&key(root)).need("a");
            let again = lineage.through(&key("n")).need("b");
            for _ in 0..GRAPH_NODES_PER_RESOURCE_MAX - 1 {
                assert!(growth.admit(&key("n"), &lineage).is_ok());
            }
            assert!(growth.admit(&key("n"), &again).is_ok(), "{root}");
            let refused = code(growth.admit(&key("n"), &again));
            assert!(refused.contains(&format!("because of `probe.default#{root}`: probe.default#{root} -> a -> b")), "{refused}");
        }
    }

    #[test]
    fn chains_of_needs_have_a_limit() {
        let mut lineage = Lineage::default();
        let mut growth = Growth::default();
        for _ in 0..GRAPH_DEPTH_MAX {
            lineage = lineage.through(&key("web.x")).need("a");
            assert!(growth.admit(&key("n"), &lineage).is_ok());
        }
        assert!(
            code(growth.admit(&key("n"), &lineage.through(&key("n")).need("b")))
                .contains("more than 32 levels deep: probe.default#web.x -> a")
        );
    }
}
