//! A guest of the tests: a role and a login that take the rights of the role that the inputs name.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;
use windlass_sdk::postgres::{Login, LoginSpec, Role, RoleSpec};

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let name = input(&request, "name");
    let member_of = input(&request, "memberOf");
    if !member_of.is_empty() {
        Role::new("role", &RoleSpec { name: name.clone(), member_of: vec![member_of] });
    }
    let acts_as = input(&request, "actsAs");
    if !acts_as.is_empty() {
        let password = Generated::new("password").value();
        Login::new("login", &LoginSpec { name, acts_as, password, connection_limit: None });
    }
    outputs("{}")
}

windlass_guests::guest!(define);
