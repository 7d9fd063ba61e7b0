//! The static check of a module's expressions: functions that read files outside of the module, or that cannot be checked before
//! the program runs. It knows nothing of the program's evaluation.

use std::collections::BTreeSet;

use hcl::{
    Body, Identifier, Structure, Template,
    expr::{Expression, FuncCall, ObjectKey, Operation, TemplateExpr, TraversalOperator},
    template::{Directive, Element},
};
use serde_json::Value;
use windlass_model::limits;

use crate::files;

/// Functions that return the content of a file, or a digest of it.
const READ_CONTENT: [&str; 9] =
    ["file", "filebase64", "filebase64sha256", "filebase64sha512", "filemd5", "filesha1", "filesha256", "filesha512", "templatefile"];
/// Functions that take a path and do not return content.
const TAKE_PATH: [&str; 4] = ["fileexists", "fileset", "abspath", "pathexpand"];
/// The namespace of the language's own functions.
const CORE: &str = "core";

/// The object whose fields are the folders of a module.
const PATH: &str = "path";

/// Returns the text of a file of the module by its path relative to the module's top folder.
pub(crate) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// The place that expressions stand in.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    /// The folder of the file, relative to the top: the value of `path.module`.
    pub folder: &'p str,
    /// Whether relative paths and `path.root` lead to the same top: not in a module that `init` brought.
    pub is_own: bool,
    pub lookup: Lookup<'p>,
}

/// Collects what expressions reach outside of their module.
pub(crate) struct Check<'p> {
    place: Place<'p>,
    /// Templates that were read already: a template may name itself.
    templates: BTreeSet<String>,
    /// Whether `path` is the program's: in a template it is what the call passes.
    has_path: bool,
    /// Descriptions of calls that are not confined to the module's files.
    pub reaches: BTreeSet<String>,
}

impl<'p> Check<'p> {
    pub(crate) fn new(place: Place<'p>) -> Self {
        Self { place, templates: BTreeSet::new(), has_path: true, reaches: BTreeSet::new() }
    }

    /// Checks every expression of a file in HCL syntax.
    pub(crate) fn body(&mut self, body: &Body) {
        for structure in body.iter() {
            match structure {
                Structure::Attribute(attribute) => self.expression(&attribute.expr),
                Structure::Block(block) => self.body(&block.body),
            }
        }
    }

    /// Checks every string of a file in JSON syntax: strings and keys are templates there.
    pub(crate) fn json(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.template_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.json(item)),
            Value::Object(fields) => fields.iter().for_each(|(key, inner)| {
                self.template_text(key);
                self.json(inner);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Array(items) => items.iter().for_each(|item| self.expression(item)),
            Expression::Object(fields) => fields.iter().for_each(|(key, inner)| {
                if let ObjectKey::Expression(key) = key {
                    self.expression(key);
                }
                self.expression(inner);
            }),
            Expression::TemplateExpr(template) => self.template_expression(template),
            Expression::Traversal(traversal) => {
                self.expression(&traversal.expr);
                for operator in &traversal.operators {
                    if let TraversalOperator::Index(index) = operator {
                        self.expression(index);
                    }
                }
            }
            Expression::FuncCall(call) => self.call(call),
            Expression::Parenthesis(inner) => self.expression(inner),
            Expression::Conditional(conditional) => {
                let parts = [&conditional.cond_expr, &conditional.true_expr, &conditional.false_expr];
                parts.into_iter().for_each(|part| self.expression(part));
            }
            Expression::Operation(operation) => match operation.as_ref() {
                Operation::Unary(unary) => self.expression(&unary.expr),
                Operation::Binary(binary) => {
                    self.expression(&binary.lhs_expr);
                    self.expression(&binary.rhs_expr);
                }
            },
            Expression::ForExpr(each) => {
                self.loop_variables(each.key_var.iter().chain([&each.value_var]));
                self.expression(&each.collection_expr);
                self.expression(&each.value_expr);
                each.key_expr.iter().chain(&each.cond_expr).for_each(|inner| self.expression(inner));
            }
            Expression::Null | Expression::Bool(_) | Expression::Number(_) | Expression::String(_) | Expression::Variable(_) => {}
            // The type is open: a form that this check does not know cannot be shown to be harmless.
            _ => self.unreadable(),
        }
    }

    fn template_expression(&mut self, template: &TemplateExpr) {
        match Template::from_expr(template) {
            Ok(template) => self.template(&template),
            Err(_) => self.unreadable(),
        }
    }

    fn template_text(&mut self, text: &str) {
        if !text.contains("${") && !text.contains("%{") {
            return;
        }
        match text.parse::<Template>() {
            Ok(template) => self.template(&template),
            Err(_) => self.unreadable(),
        }
    }

    fn template(&mut self, template: &Template) {
        for element in template.elements() {
            match element {
                Element::Literal(_) => {}
                Element::Interpolation(interpolation) => self.expression(&interpolation.expr),
                Element::Directive(directive) => match directive.as_ref() {
                    Directive::If(branch) => {
                        self.expression(&branch.cond_expr);
                        self.template(&branch.true_template);
                        branch.false_template.iter().for_each(|inner| self.template(inner));
                    }
                    Directive::For(each) => {
                        self.loop_variables(each.key_var.iter().chain([&each.value_var]));
                        self.expression(&each.collection_expr);
                        self.template(&each.template);
                    }
                },
            }
        }
    }

    /// Refuses a variable that stands in the place of the program's `path`.
    fn loop_variables<'v>(&mut self, mut variables: impl Iterator<Item = &'v Identifier>) {
        if variables.any(|variable| variable.as_str() == PATH) {
            self.reaches.insert(format!("a loop whose variable is called `{PATH}`, as the program's own"));
        }
    }

    fn call(&mut self, call: &FuncCall) {
        call.args.iter().for_each(|argument| self.expression(argument));
        let name = call.name.name.as_str();
        let namespace: Vec<&str> = call.name.namespace.iter().map(|part| part.as_str()).collect();
        if !(namespace.is_empty() || namespace == [CORE]) {
            self.reaches.insert(format!("the function `{}::{name}` of a provider", namespace.join("::")));
        } else if name == "templatestring" {
            self.reaches.insert("`templatestring`, whose template is known only when it runs".to_owned());
        } else if READ_CONTENT.contains(&name) || TAKE_PATH.contains(&name) {
            self.path_call(name, call);
        }
    }

    /// Checks a function whose first argument is a path.
    fn path_call(&mut self, name: &str, call: &FuncCall) {
        let is_spread = call.expand_final && call.args.len() <= 2;
        let path = call.args.first().filter(|_| !is_spread).and_then(|argument| self.path(argument));
        let Some(path) = path else {
            self.reaches.insert(format!("`{name}` of a path that does not plainly stay in the module"));
            return;
        };
        if name == "fileset" && !call.args.get(1).is_some_and(is_plain_pattern) {
            self.reaches.insert("`fileset` with a pattern that does not plainly stay in the module".to_owned());
        }
        if !READ_CONTENT.contains(&name) {
            return;
        }
        let Some(text) = (self.place.lookup)(&path) else {
            self.reaches.insert(format!("`{name}` of `{path}`, which is not among the files of the module that are written"));
            return;
        };
        if name == "templatefile" && self.templates.insert(path) {
            let outside = std::mem::replace(&mut self.has_path, false);
            self.template_text(&text);
            self.has_path = outside;
        }
    }

    /// Returns the path that an expression names, relative to the module's top folder, where that is plain from the text.
    fn path(&self, expression: &Expression) -> Option<String> {
        let (base, rest) = match expression {
            Expression::String(text) => (self.top()?, text.clone()),
            Expression::Parenthesis(inner) => return self.path(inner),
            Expression::Traversal(_) => (self.path_value(expression)?, String::new()),
            Expression::TemplateExpr(template) => {
                let template = Template::from_expr(template).ok()?;
                match template.elements() {
                    [Element::Literal(text)] => (self.top()?, text.clone()),
                    [Element::Interpolation(of)] => (self.path_value(&of.expr)?, String::new()),
                    [Element::Interpolation(of), Element::Literal(text)] => {
                        // `${path.module}x` would be another folder beside.
                        (self.path_value(&of.expr)?, text.strip_prefix('/')?.to_owned())
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        files::resolve(base, &rest)
    }

    /// Returns the folder that relative paths start from, where that is the module's.
    fn top(&self) -> Option<&'p str> {
        self.place.is_own.then_some("")
    }

    /// Returns the folder that `path.module` or `path.root` names.
    fn path_value(&self, expression: &Expression) -> Option<&'p str> {
        let Expression::Traversal(traversal) = expression else { return None };
        let Expression::Variable(variable) = &traversal.expr else { return None };
        if !self.has_path || variable.as_str() != PATH {
            return None;
        }
        match traversal.operators.as_slice() {
            [TraversalOperator::GetAttr(name)] if name.as_str() == "module" => Some(self.place.folder),
            [TraversalOperator::GetAttr(name)] if name.as_str() == "root" => self.top(),
            _ => None,
        }
    }

    fn unreadable(&mut self) {
        self.reaches.insert("an expression that cannot be read before it runs".to_owned());
    }
}

/// Refuses text whose expressions nest deeper than any parser of them should go. Brackets and operators of strings count too: the
/// text is not parsed yet.
pub(crate) fn check_depth(text: &str) -> Result<(), String> {
    // For each open bracket, what opened it and how many operators its current expression has so far.
    let mut open = vec![(b'{', 0_usize)];
    for byte in text.bytes() {
        let is_inner = open.len() > 1;
        match (byte, open.last_mut()) {
            (b'(' | b'[' | b'{', _) => open.push((byte, 0)),
            (b')' | b']' | b'}', _) if is_inner => drop(open.pop()),
            (b',', Some((_, operators))) | (b'\n', Some((b'{', operators))) => *operators = 0,
            (b'!' | b'-' | b'?' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'&' | b'|' | b'.', Some((_, operators))) => {
                *operators += 1;
                if *operators > limits::MODULE_OPERATORS_MAX {
                    return Err(format!("an expression has more than {} operators", limits::MODULE_OPERATORS_MAX));
                }
            }
            _ => {}
        }
        if open.len() > limits::MODULE_NESTING_MAX + 1 {
            return Err(format!("it nests deeper than {} brackets", limits::MODULE_NESTING_MAX));
        }
    }
    Ok(())
}

/// Returns whether a pattern of `fileset` is written out and stays below its folder.
fn is_plain_pattern(expression: &Expression) -> bool {
    let Expression::String(text) = expression else { return false };
    !text.starts_with('/') && !text.contains('\\') && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let files = [
            ("x.tftpl", "${file(\"/etc/passwd\")}"),
            ("plain.txt", "${file(\"/etc/passwd\")}"),
            ("path.tftpl", "${file(\"${path.module}/plain.txt\")}"),
            ("ok.tftpl", "%{ for x in y }${x}%{ endfor }"),
        ];
        let lookup =
            |path: &str| files.iter().find(|(name, _)| *name == path || format!("m/{name}") == path).map(|(_, text)| (*text).to_owned());
        let place = Place { folder: "m", is_own: true, lookup: &lookup };
        let mut check = Check::new(place);
        check.body(&hcl::parse(text).unwrap());
        check.reaches.into_iter().collect()
    }

    #[test]
    fn paths_of_the_module_are_open() {
        for call in [
            "file(\"plain.txt\")",
            "file(\"./plain.txt\")",
            "file(\"${path.module}/plain.txt\")",
            "file((\"${path.root}/plain.txt\"))",
            "core::file(\"${path.module}/../m/plain.txt\")",
            "templatefile(\"${path.module}/ok.tftpl\", { y = [] })",
            "fileexists(\"${path.module}/none.json\") ? 1 : 2",
            "fileset(path.module, \"*.txt\")",
            "abspath(path.module)",
            "[for x in var.list : upper(x)]",
        ] {
            assert_eq!(found(&format!("locals {{\n  x = {call}\n}}\n")), [""; 0], "{call}");
        }
    }

    #[test]
    fn paths_that_leave_the_module_are_found_wherever_they_stand() {
        for expression in [
            "file(\"../key\")",
            "file(\"/etc/passwd\")",
            "file(\"~/.aws/credentials\")",
            "file(\"none.txt\")",
            "file(\"windlass.auto.tfvars.json\")",
            "file(\".terraform/terraform.tfstate\")",
            "file(\"${path.module}x/plain.txt\")",
            "file(\"${path.module}/../../key\")",
            "file(\"${path.cwd}/plain.txt\")",
            "file(\"${var.path}\")",
            "file(var.path)",
            "file(join(\"/\", [\"..\", \"key\"]))",
            "file([\"../key\"]...)",
            "core::file(\"../key\")",
            "filebase64(\"../key\")",
            "filesha256(\"../key\")",
            "filemd5(\"../key\")",
            "fileexists(\"../key\")",
            "fileset(\"..\", \"*\")",
            "fileset(path.module, \"../*\")",
            "fileset(path.module, var.pattern)",
            "pathexpand(\"~\")",
            "abspath(\"..\")",
            "templatefile(\"../x.tftpl\", {})",
            "templatefile(\"x.tftpl\", {})",
            "templatefile(\"path.tftpl\", { path = { module = \"../..\" } })",
            "[for path in [{ module = \"../..\" }] : file(\"${path.module}/plain.txt\")]",
            "{ for path, x in {} : path => x }",
            "\"%{ for path in [{ module = \"../..\" }] }${file(\"${path.module}/plain.txt\")}%{ endfor }\"",
            "file(\"\\u002e\\u002e/key\")",
            "file(\"\\u002e./plain.txt\")",
            "templatestring(local.x, {})",
            "provider::local::direxists(\"..\")",
            "[for x in [1] : { (file(\"../key\")) = x }]",
            "{ for x in [1] : file(\"../key\") => x }",
            "[for x in [1] : x if fileexists(\"../key\")]",
            "!fileexists(\"../key\")",
            "1 + length(file(\"../key\"))",
            "var.map[file(\"../key\")]",
            "var.x ? file(\"../key\") : 1",
            "\"a ${\"b ${file(\"../key\")}\"}\"",
            "\"%{ if fileexists(\"../key\") }a%{ else }b%{ endif }\"",
            "\"%{ for x in [1] }${file(\"../key\")}%{ endfor }\"",
            "<<-EOT\n    ${file(\"../key\")}\n  EOT",
        ] {
            assert_eq!(found(&format!("locals {{\n  x = {expression}\n}}\n")).len(), 1, "{expression}");
        }
    }

    #[test]
    fn json_says_the_same() {
        let lookup = |_: &str| None;
        for text in [
            r#"{"locals":{"x":"${file(\"../key\")}"}}"#,
            r#"{"locals":{"x":{"${file(\"../key\")}":1}}}"#,
            r#"{"locals":[{"x":["a ${upper(file(\"../key\"))}"]}]}"#,
            r#"{"locals":{"x":"${ unclosed"}}"#,
        ] {
            let mut check = Check::new(Place { folder: "", is_own: true, lookup: &lookup });
            check.json(&serde_json::from_str(text).unwrap());
            assert_eq!(check.reaches.len(), 1, "{text}");
        }
    }

    #[test]
    fn depth_has_an_end_that_parsers_reach() {
        let nested = |count: usize| format!("x = {}1{}", "(".repeat(count), ")".repeat(count));
        assert!(check_depth(&nested(limits::MODULE_NESTING_MAX)).is_ok());
        hcl::parse(&nested(limits::MODULE_NESTING_MAX)).unwrap();
        assert!(check_depth(&nested(limits::MODULE_NESTING_MAX + 1)).is_err());
        for (start, operator) in [("x =", "! "), ("x =", "- "), ("x = 1", " + 1"), ("x = a", ".a"), ("x = a", " ? a : a")] {
            // The `=` of the attribute is one.
            let chain = |count: usize| format!("{start} {} a", operator.repeat(count - 1));
            assert!(check_depth(&chain(limits::MODULE_OPERATORS_MAX)).is_ok(), "{operator}");
            let _ = hcl::parse(&chain(limits::MODULE_OPERATORS_MAX));
            assert!(check_depth(&chain(limits::MODULE_OPERATORS_MAX + 1)).is_err(), "{operator}");
        }
    }
}
