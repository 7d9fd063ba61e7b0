//! Redis in the cluster: a StatefulSet with a generated password and, where data should stay, its own volume claim.

use serde_json::{Value, json};
use windlass_sdk::{
    names::{of_resource, resource_labels, resource_selector},
    prelude::*,
};

const PORT: u16 = 6379;

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The image with its tag: `docker.io/library/redis:8` if nothing is said.
    #[serde(default)]
    pub image: Option<String>,
    /// The size of the volume; without one the data goes with the pod: a cache.
    #[serde(default)]
    pub storage: Option<String>,
    /// The storage class; the cluster's own default if nothing is said.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// Memory, requested and limited: `128Mi` if nothing is said.
    #[serde(default)]
    pub memory: Option<String>,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The host inside the cluster.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user: Redis' own default one.
    pub username: String,
    /// The password.
    pub password: Sealable,
}

/// The driver.
#[derive(Debug)]
pub struct Redis;

impl ResourceDefinition for Redis {
    const SUMMARY: &'static str = "Redis in the cluster: a StatefulSet with a generated password";
    type Params = NoParams;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<NoParams, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, inputs, .. } = request;
        let namespace = context.namespace()?;
        let name = of_resource(&key);
        let labels = resource_labels(&context, &key);
        let selector = resource_selector(&context, &key);
        let mut pod_labels = labels.clone();
        if let (Some(all), Some(selector)) = (pod_labels.as_object_mut(), selector.as_object()) {
            all.extend(selector.clone());
        }
        let password = Generated::new("password");
        let metadata = |name: &str| json!({ "name": name, "namespace": namespace, "labels": labels });
        Object::new(
            "credentials",
            &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name), "type": "Opaque", "stringData": { "password": password.value() } }),
        );
        let data: Value = match &inputs.storage {
            Some(storage) => {
                let claim_name = format!("{name}-data");
                let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": storage } } });
                if let (Some(class), Some(spec)) = (&inputs.storage_class, spec.as_object_mut()) {
                    spec.insert("storageClassName".into(), json!(class));
                }
                Object::new(
                    "data",
                    &json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(&claim_name), "spec": spec }),
                );
                json!({ "name": "data", "persistentVolumeClaim": { "claimName": claim_name } })
            }
            None => json!({ "name": "data", "emptyDir": {} }),
        };
        Object::new(
            "service",
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(&name),
                "spec": { "selector": selector, "ports": [{ "name": "redis", "port": PORT, "targetPort": "redis", "protocol": "TCP" }] },
            }),
        );
        let memory = inputs.memory.as_deref().unwrap_or("128Mi");
        let probe = |period: u8| json!({ "exec": { "command": ["sh", "-c", "REDISCLI_AUTH=\"$REDIS_PASSWORD\" redis-cli ping | grep -q PONG"] }, "periodSeconds": period });
        Object::new(
            "server",
            &json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(&name),
                "spec": {
                    "serviceName": name, "replicas": 1, "selector": { "matchLabels": selector },
                    "template": {
                        "metadata": { "labels": pod_labels },
                        "spec": {
                            "automountServiceAccountToken": false, "enableServiceLinks": false,
                            "securityContext": { "runAsNonRoot": true, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999, "seccompProfile": { "type": "RuntimeDefault" } },
                            "containers": [{
                                "name": "redis", "image": inputs.image.as_deref().unwrap_or("docker.io/library/redis:8"),
                                "args": ["--requirepass", "$(REDIS_PASSWORD)"],
                                "env": [{ "name": "REDIS_PASSWORD", "valueFrom": { "secretKeyRef": { "name": name, "key": "password" } } }],
                                "ports": [{ "name": "redis", "containerPort": PORT, "protocol": "TCP" }],
                                "readinessProbe": probe(5), "livenessProbe": probe(20),
                                "resources": { "requests": { "memory": memory, "cpu": "50m" }, "limits": { "memory": memory } },
                                "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } },
                                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                            }],
                            "volumes": [data],
                        },
                    },
                },
            }),
        );
        Ok(Answer::new(Outputs {
            host: format!("{name}.{namespace}.svc.cluster.local"),
            port: PORT,
            username: "default".into(),
            password: password.value(),
        }))
    }
}

windlass_sdk::export_resource!(Redis);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn a_cache_and_a_store() {
        insta::assert_json_snapshot!([
            define::<Redis>(json!({ "key": { "type": "redis", "id": "web.cache" } })),
            define::<Redis>(json!({ "key": { "type": "redis", "id": "queue" }, "inputs": { "storage": "1Gi", "storage_class": "fast" } })),
        ]);
    }
}
