//! Plays the controller of the Gateway API, which is a program of its own on a real cluster: gives addresses, accepts routes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::Shared;

/// A controller of one namespace; it stops with it.
#[derive(Debug)]
pub struct GatewayController {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const CONDITION: &str = r#""status":"True","reason":"Fine","message":"","lastTransitionTime":"2026-01-01T00:00:00Z""#;

impl GatewayController {
    /// Starts it: every Gateway of the namespace gets this address, every HTTPRoute is accepted.
    #[must_use]
    pub fn start(shared: Shared, namespace: String, address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, address) = (Arc::clone(&stop), address.to_owned());
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                play(&shared, &namespace, &address);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// Writes status where there is none of this generation.
fn play(shared: &Shared, namespace: &str, address: &str) {
    let wanted = "{range .items[*]}{.kind}/{.metadata.name} {.metadata.generation} {.status.conditions[?(@.type=='Programmed')].observedGeneration}{.status.parents[0].conditions[0].observedGeneration}{'\\n'}{end}";
    let listed = shared.kubectl(&["-n", namespace, "get", "gateways,httproutes", "-o", &format!("jsonpath={wanted}")], None);
    for line in listed.unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let (Some(object), Some(generation), seen) = (words.next(), words.next(), words.next().unwrap_or_default()) else { continue };
        if seen == generation {
            continue;
        }
        let condition = |kind: &str| format!(r#"{{"type":"{kind}",{CONDITION},"observedGeneration":{generation}}}"#);
        let status = if object.starts_with("Gateway/") {
            format!(
                r#"{{"status":{{"addresses":[{{"type":"IPAddress","value":"{address}"}}],"conditions":[{},{}]}}}}"#,
                condition("Accepted"),
                condition("Programmed")
            )
        } else {
            format!(
                r#"{{"status":{{"parents":[{{"controllerName":"test.windlass.dev/gateway","parentRef":{{"name":"public"}},"conditions":[{},{}]}}]}}}}"#,
                condition("Accepted"),
                condition("ResolvedRefs")
            )
        };
        // What is gone in the meantime needs no status.
        let _ = shared.kubectl(&["-n", namespace, "patch", object, "--subresource=status", "--type=merge", "-p", &status], None);
    }
}

impl Drop for GatewayController {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
