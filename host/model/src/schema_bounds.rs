//! Bounds of schemas: what checking any value by a schema can cost, found before the schema is compiled.
//!
//! A validator evaluates every subschema that applies to a value, as often as it is referred to. Twenty definitions of which each refers
//! twice to the next are a million evaluations of one value; a tree that refers to itself twice doubles with each level of the value.
//! This module walks a schema as a graph and refuses what can grow so, together with the keywords whose targets cannot be seen there.

use std::collections::HashMap;

use crate::limits;
use serde_json::{Map, Value};

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// A reference leads back to itself without a step into the value.
    #[error("`{0}` refers to itself without end")]
    Endless(String),
    /// A recursive part is applied to one value more than once, so that each level of the value doubles the cost.
    #[error("`{place}` refers to itself more than once for one value ({at}): each level of a value would multiply the cost; refer once")]
    Doubling {
        /// The part of the schema that is referred to.
        place: String,
        /// Where in the value: a field, any field, or any element.
        at: String,
    },
    /// A keyword of which the target depends on more than the document.
    #[error("`{keyword}` at `{place}` is not supported: refer to `#/$defs/NAME` instead")]
    Keyword {
        /// The keyword.
        keyword: String,
        /// Where it stands.
        place: String,
    },
    /// A reference that is not a plain pointer into the document.
    #[error("the reference `{0}` is not supported: refer to `#/$defs/NAME`, without percent encoding")]
    Reference(String),
    /// The schema passes a limit.
    #[error("it passes the limit `{limit}` of {value}")]
    Limit {
        /// The name of the limit.
        limit: &'static str,
        /// The limit.
        value: u64,
    },
}

/// The place of a value to which a subschema applies, seen from the value that its parent applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step<'s> {
    Field(&'s str),
    AnyField,
    AnyElement,
}

/// Keywords whose meaning depends on other documents or on the path of evaluation.
const UNSEEN: [&str; 7] = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor", "$id", "$vocabulary"];
/// Keywords with one subschema for the same value.
const IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords with a list of subschemas for the same value.
const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with a map of subschemas for the same value; `dependencies` is the older name.
const IN_PLACE_MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords with one subschema for any field.
const FIELDS: [&str; 3] = ["additionalProperties", "unevaluatedProperties", "propertyNames"];
/// Keywords with a subschema, or a list of them, for elements.
const ELEMENTS: [&str; 5] = ["items", "prefixItems", "contains", "additionalItems", "unevaluatedItems"];
/// Keywords that make the validator evaluate its neighbours once more, to see which fields or elements these cover.
const AGAIN: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Keywords that hold definitions, applied only where they are referred to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Checks that any value of a permitted size is checked by a schema in bounded time.
///
/// # Errors
///
/// The first construct that makes the cost unbounded, or the limit that the schema passes.
pub fn check(root: &Value) -> Result<(), BoundsError> {
    let graph = Graph::of(root)?;
    let in_place = graph.in_place_costs()?;
    if in_place.into_iter().any(|cost| cost > limits::SCHEMA_STEPS_MAX) {
        return Err(BoundsError::Limit { limit: "schema steps for one value", value: limits::SCHEMA_STEPS_MAX });
    }
    graph.check_recursion(&graph.components()?)?;
    graph.check_expanded()
}

/// One subschema.
#[derive(Debug, Default)]
struct Part<'s> {
    place: String,
    /// Work for one value without that of subschemas: keywords, and the choices of `enum`.
    own: u64,
    /// How often the neighbours of `unevaluated…` are evaluated.
    rounds: u64,
    in_place: Vec<usize>,
    children: Vec<(Step<'s>, usize)>,
}

/// The subschemas that can apply to a value, with where each applies.
#[derive(Debug, Default)]
struct Graph<'s> {
    parts: Vec<Part<'s>>,
    patterns: usize,
    /// By address: one subschema is one part, however it is reached.
    known: HashMap<usize, usize>,
}

impl<'s> Graph<'s> {
    fn of(root: &'s Value) -> Result<Self, BoundsError> {
        let mut graph = Self::default();
        let mut open = Vec::new();
        graph.enter(root, "#", &mut open)?;
        while let Some((index, schema)) = open.pop() {
            graph.walk(root, index, schema, &mut open)?;
        }
        Ok(graph)
    }

    /// Returns the part of a subschema; a new one is walked later.
    fn enter(&mut self, schema: &'s Value, place: &str, open: &mut Vec<(usize, &'s Map<String, Value>)>) -> Result<usize, BoundsError> {
        let address = std::ptr::from_ref(schema).addr();
        if let Some(index) = self.known.get(&address) {
            return Ok(*index);
        }
        let index = self.parts.len();
        if index >= limits::SCHEMA_PARTS_MAX {
            return Err(BoundsError::Limit { limit: "schema parts", value: limits::SCHEMA_PARTS_MAX as u64 });
        }
        self.known.insert(address, index);
        self.parts.push(Part { place: place.to_owned(), own: 1, rounds: 1, ..Part::default() });
        if let Value::Object(fields) = schema {
            open.push((index, fields));
        }
        Ok(index)
    }

    fn walk(
        &mut self,
        root: &'s Value,
        index: usize,
        fields: &'s Map<String, Value>,
        open: &mut Vec<(usize, &'s Map<String, Value>)>,
    ) -> Result<(), BoundsError> {
        let place = self.parts.get(index).map(|part| part.place.clone()).unwrap_or_default();
        let mut part = Part { own: 1, rounds: 1, ..Part::default() };
        for (keyword, value) in fields {
            let at = format!("{place}/{keyword}");
            let keyword = keyword.as_str();
            // The name of the whole document does no harm: references to it are refused.
            if UNSEEN.contains(&keyword) && !(keyword == "$id" && place == "#") {
                return Err(BoundsError::Keyword { keyword: keyword.to_owned(), place });
            }
            part.rounds += u64::from(AGAIN.contains(&keyword));
            self.count_patterns(keyword, value)?;
            match (keyword, value) {
                ("$ref", Value::String(target)) => part.in_place.push(self.enter(resolve(root, target)?, target, open)?),
                (_, Value::Object(_) | Value::Bool(_)) if IN_PLACE.contains(&keyword) => part.in_place.push(self.enter(value, &at, open)?),
                (_, Value::Array(list)) if IN_PLACE_LISTS.contains(&keyword) => {
                    for (position, inner) in list.iter().enumerate() {
                        part.in_place.push(self.enter(inner, &format!("{at}/{position}"), open)?);
                    }
                }
                (_, Value::Object(map)) if IN_PLACE_MAPS.contains(&keyword) => {
                    for (name, inner) in map {
                        part.in_place.push(self.enter(inner, &format!("{at}/{name}"), open)?);
                    }
                }
                ("properties", Value::Object(map)) => {
                    for (name, inner) in map {
                        part.children.push((Step::Field(name), self.enter(inner, &format!("{at}/{name}"), open)?));
                    }
                }
                ("patternProperties", Value::Object(map)) => {
                    for (name, inner) in map {
                        part.children.push((Step::AnyField, self.enter(inner, &format!("{at}/{name}"), open)?));
                    }
                }
                (_, Value::Object(_) | Value::Bool(_)) if FIELDS.contains(&keyword) => {
                    part.children.push((Step::AnyField, self.enter(value, &at, open)?));
                }
                (_, Value::Object(_) | Value::Bool(_)) if ELEMENTS.contains(&keyword) => {
                    part.children.push((Step::AnyElement, self.enter(value, &at, open)?));
                }
                (_, Value::Array(list)) if ELEMENTS.contains(&keyword) => {
                    for (position, inner) in list.iter().enumerate() {
                        part.children.push((Step::AnyElement, self.enter(inner, &format!("{at}/{position}"), open)?));
                    }
                }
                (_, Value::Object(map)) if DEFINITIONS.contains(&keyword) => {
                    for (name, inner) in map {
                        self.enter(inner, &format!("{at}/{name}"), open)?;
                    }
                }
                (_, value) => part.own = part.own.saturating_add(size(value)),
            }
        }
        if let Some(known) = self.parts.get_mut(index) {
            *known = Part { place, ..part };
        }
        Ok(())
    }

    fn count_patterns(&mut self, keyword: &str, value: &Value) -> Result<(), BoundsError> {
        self.patterns += match (keyword, value) {
            ("pattern", _) => 1,
            ("patternProperties", Value::Object(map)) => map.len(),
            _ => 0,
        };
        if self.patterns > limits::SCHEMA_PATTERNS_MAX {
            return Err(BoundsError::Limit { limit: "schema patterns", value: limits::SCHEMA_PATTERNS_MAX as u64 });
        }
        Ok(())
    }

    fn part(&self, index: usize) -> Result<&Part<'s>, BoundsError> {
        // Indices come from `enter` alone.
        self.parts.get(index).ok_or(BoundsError::Limit { limit: "schema parts", value: limits::SCHEMA_PARTS_MAX as u64 })
    }

    /// Returns what each part costs for one value, with everything that applies to the same value.
    fn in_place_costs(&self) -> Result<Vec<u64>, BoundsError> {
        let mut costs = vec![None; self.parts.len()];
        for index in 0..self.parts.len() {
            self.in_place_cost(index, &mut costs, &mut Vec::new())?;
        }
        Ok(costs.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn in_place_cost(&self, index: usize, costs: &mut [Option<u64>], path: &mut Vec<usize>) -> Result<u64, BoundsError> {
        if let Some(cost) = costs.get(index).copied().flatten() {
            return Ok(cost);
        }
        let part = self.part(index)?;
        if path.contains(&index) {
            return Err(BoundsError::Endless(part.place.clone()));
        }
        too_deep(path.len())?;
        path.push(index);
        let mut cost = part.own;
        for inner in &part.in_place {
            cost = cost.saturating_add(self.in_place_cost(*inner, costs, path)?);
        }
        path.pop();
        let cost = cost.saturating_mul(part.rounds);
        if let Some(known) = costs.get_mut(index) {
            *known = Some(cost);
        }
        Ok(cost)
    }

    /// Returns the strongly connected component of each part (Tarjan).
    fn components(&self) -> Result<Vec<usize>, BoundsError> {
        let mut search = Search::of(self);
        for index in 0..self.parts.len() {
            if search.order.get(index).is_some_and(Option::is_none) {
                search.visit(index, 0)?;
            }
        }
        Ok(search.component)
    }

    /// Refuses parts that apply their own component to one place of a value more than once.
    fn check_recursion(&self, components: &[usize]) -> Result<(), BoundsError> {
        for index in 0..self.parts.len() {
            let own = components.get(index);
            let mut counts: HashMap<Step<'s>, u64> = HashMap::new();
            let mut work = 0;
            self.recursive_steps(index, own, components, 1, &mut counts, &mut work)?;
            let any_field = counts.get(&Step::AnyField).copied().unwrap_or_default();
            for (step, count) in &counts {
                let (count, at) = match step {
                    Step::Field(name) => (count + any_field, format!("the field `{name}`")),
                    Step::AnyField => (*count, "any field".to_owned()),
                    Step::AnyElement => (*count, "any element".to_owned()),
                };
                if count > 1 {
                    return Err(BoundsError::Doubling { place: self.part(index)?.place.clone(), at });
                }
            }
        }
        Ok(())
    }

    /// Counts, for one value of a part, how often parts of the same component are applied to each place below it.
    fn recursive_steps(
        &self,
        index: usize,
        own: Option<&usize>,
        components: &[usize],
        times: u64,
        counts: &mut HashMap<Step<'s>, u64>,
        work: &mut u64,
    ) -> Result<(), BoundsError> {
        *work += 1;
        if *work > limits::SCHEMA_STEPS_MAX {
            return Err(BoundsError::Limit { limit: "schema steps for one value", value: limits::SCHEMA_STEPS_MAX });
        }
        let part = self.part(index)?;
        let times = times.saturating_mul(part.rounds);
        for (step, child) in &part.children {
            if components.get(*child) == own {
                let count = counts.entry(*step).or_default();
                *count = count.saturating_add(times);
            }
        }
        for inner in &part.in_place {
            self.recursive_steps(*inner, own, components, times, counts, work)?;
        }
        Ok(())
    }

    /// Bounds the size of the schema with all references replaced by their targets, each recursive part counted once.
    fn check_expanded(&self) -> Result<(), BoundsError> {
        let mut sizes = vec![None; self.parts.len()];
        let size = self.expanded(0, &mut sizes, 0)?;
        if size > limits::SCHEMA_EXPANDED_MAX {
            return Err(BoundsError::Limit { limit: "expanded schema size", value: limits::SCHEMA_EXPANDED_MAX });
        }
        Ok(())
    }

    fn expanded(&self, index: usize, sizes: &mut [Option<u64>], depth: usize) -> Result<u64, BoundsError> {
        if let Some(size) = sizes.get(index).copied().flatten() {
            return Ok(size);
        }
        too_deep(depth)?;
        let part = self.part(index)?;
        // A recursive part that is met again below itself is counted where it was entered.
        if let Some(known) = sizes.get_mut(index) {
            *known = Some(part.own);
        }
        let mut size = part.own;
        for inner in part.in_place.iter().chain(part.children.iter().map(|(_, child)| child)) {
            size = size.saturating_add(self.expanded(*inner, sizes, depth + 1)?);
        }
        let size = size.saturating_mul(part.rounds);
        if let Some(known) = sizes.get_mut(index) {
            *known = Some(size);
        }
        Ok(size)
    }
}

/// State of Tarjan's search.
struct Search<'g, 's> {
    graph: &'g Graph<'s>,
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    stack: Vec<usize>,
    is_on_stack: Vec<bool>,
    component: Vec<usize>,
    next: usize,
}

impl<'g, 's> Search<'g, 's> {
    fn of(graph: &'g Graph<'s>) -> Self {
        let count = graph.parts.len();
        Self {
            graph,
            order: vec![None; count],
            low: vec![0; count],
            stack: Vec::new(),
            is_on_stack: vec![false; count],
            component: vec![0; count],
            next: 0,
        }
    }

    fn visit(&mut self, index: usize, depth: usize) -> Result<(), BoundsError> {
        too_deep(depth)?;
        let order = self.next;
        self.next += 1;
        set(&mut self.order, index, Some(order));
        set(&mut self.low, index, order);
        self.stack.push(index);
        set(&mut self.is_on_stack, index, true);
        let part = self.graph.part(index)?;
        for next in part.in_place.iter().chain(part.children.iter().map(|(_, child)| child)) {
            let reached = match self.order.get(*next).copied().flatten() {
                None => {
                    self.visit(*next, depth + 1)?;
                    self.low.get(*next).copied()
                }
                seen => seen.filter(|_| self.is_on_stack.get(*next) == Some(&true)),
            };
            let low = self.low.get(index).copied().unwrap_or(order).min(reached.unwrap_or(usize::MAX));
            set(&mut self.low, index, low);
        }
        if self.low.get(index) == Some(&order) {
            while let Some(member) = self.stack.pop() {
                set(&mut self.is_on_stack, member, false);
                set(&mut self.component, member, order);
                if member == index {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn set<T>(list: &mut [T], index: usize, value: T) {
    if let Some(slot) = list.get_mut(index) {
        *slot = value;
    }
}

fn too_deep(depth: usize) -> Result<(), BoundsError> {
    if depth < limits::SCHEMA_DEPTH_MAX {
        return Ok(());
    }
    Err(BoundsError::Limit { limit: "depth of schema references", value: limits::SCHEMA_DEPTH_MAX as u64 })
}

/// Finds the target of a reference into the document.
fn resolve<'s>(root: &'s Value, target: &str) -> Result<&'s Value, BoundsError> {
    let pointer = target.strip_prefix('#').filter(|pointer| !pointer.contains('%') && (pointer.is_empty() || pointer.starts_with('/')));
    pointer.and_then(|pointer| root.pointer(pointer)).ok_or_else(|| BoundsError::Reference(target.to_owned()))
}

/// Counts the values of a JSON value, itself included.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().fold(1, |sum, item| sum.saturating_add(size(item))),
        Value::Object(fields) => fields.values().fold(1, |sum, item| sum.saturating_add(size(item))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

#[cfg(test)]
mod tests;
