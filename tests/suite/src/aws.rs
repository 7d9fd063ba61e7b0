//! AWS as moto plays it: looked at by the SDK, reached through a proxy that counts, loses, rewrites, and refuses what AWS refuses.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::aws_rules;

/// The region of all tests.
pub const REGION: &str = "eu-central-1";

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Pass,
    /// It has its effect, and the answer never comes.
    Lose,
    /// It is refused without an effect: status, code, message.
    Refuse(u16, &'static str, &'static str),
    /// It has no effect, and is answered with this XML.
    Answer(&'static str),
    /// Its answer says something else: what, and what instead.
    Rewrite(&'static str, String),
}

/// Decides about a call, by its name and how often that name was called before.
type Rule = dyn Fn(&str, usize) -> Verdict + Send + Sync;

/// A call's name, and what was sent.
type Call = (String, Bytes);

/// A proxy before an endpoint of AWS; it stops with it.
pub struct AwsProxy {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for AwsProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsProxy").field("port", &self.port).finish_non_exhaustive()
    }
}

struct Proxy {
    upstream: String,
    config: SdkConfig,
    rule: Box<Rule>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl AwsProxy {
    /// Starts a proxy before an endpoint.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[must_use]
    pub fn start(endpoint: &str, rule: impl Fn(&str, usize) -> Verdict + Send + Sync + 'static) -> Self {
        let fail = |error: &dyn std::fmt::Display| -> ! { unreachable!("the proxy can't be started: {error}") };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| fail(&error));
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap_or_else(|error| fail(&error));
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let config = runtime.block_on(config(endpoint));
        let proxy = Arc::new(Proxy { upstream, config, rule: Box::new(rule), calls: Arc::clone(&calls) });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = Arc::clone(&proxy);
                tokio::spawn(async move {
                    let serve = hyper::service::service_fn(move |request| {
                        let proxy = Arc::clone(&proxy);
                        async move { proxy.answer(request).await }
                    });
                    // A dropped answer ends the connection: that is the point.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { port, calls, runtime: Some(runtime) }
    }

    /// Returns where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the names of all calls, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns what was sent with the calls of a name, in order.
    #[must_use]
    pub fn sent(&self, name: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|(called, _)| called == name).map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// Returns the names of calls that change something.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| !["Describe", "List", "Get", "Assume"].iter().any(|read| call.starts_with(read))).collect()
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Names a call: by its target, its form, or by method and path where the service has neither.
fn name(target: Option<&str>, method: &str, path: &str, body: &[u8]) -> String {
    if let Some((_, action)) = target.and_then(|target| target.split_once('.')) {
        return action.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    if let Some(action) = text.split('&').find_map(|field| field.strip_prefix("Action=")) {
        return action.to_owned();
    }
    match (method, path) {
        ("POST", path) if path.contains("/rrset") => "ChangeResourceRecordSets".to_owned(),
        ("GET", path) if path.contains("/rrset") => "ListResourceRecordSets".to_owned(),
        ("GET", path) if path.contains("/change/") => "GetChange".to_owned(),
        ("GET", path) if path.contains("/hostedzone/") => "GetHostedZone".to_owned(),
        ("GET", path) if path.contains("/hostedzone") => "ListHostedZones".to_owned(),
        (method, path) => format!("{method} {path}"),
    }
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let name = name(target, parts.method.as_str(), parts.uri.path(), &body);
        let before = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let before = calls.iter().filter(|(call, _)| *call == name).count();
            calls.push((name.clone(), body.clone()));
            before
        };
        let verdict = (self.rule)(&name, before);
        let refused = match &verdict {
            Verdict::Refuse(status, code, message) => Some((*status, (*code, (*message).to_owned()))),
            Verdict::Answer(_) => None,
            Verdict::Pass | Verdict::Lose | Verdict::Rewrite(..) => {
                let text = String::from_utf8_lossy(&body);
                aws_rules::refusal(&self.config, &name, parts.uri.path(), &text).await.map(|refusal| (400, refusal))
            }
        };
        if let Some((status, (code, message))) = refused {
            let text = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
            );
            let answer = Response::builder().status(status).header("content-type", "text/xml").body(Full::new(Bytes::from(text)));
            return answer.map_err(std::io::Error::other);
        }
        if let Verdict::Answer(text) = verdict {
            let answer = Response::builder().header("content-type", "text/xml").body(Full::new(Bytes::from(text)));
            return answer.map_err(std::io::Error::other);
        }
        let stream = TcpStream::connect(&self.upstream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await.map_err(std::io::Error::other)?;
        let (mut parts, body) = answer.into_parts();
        let mut body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        match verdict {
            Verdict::Lose => return Err(std::io::Error::other("the answer is lost")),
            Verdict::Rewrite(what, instead) => {
                body = Bytes::from(String::from_utf8_lossy(&body).replace(what, &instead));
                parts.headers.remove("content-length");
            }
            Verdict::Pass | Verdict::Refuse(..) | Verdict::Answer(_) => {}
        }
        parts.status = if parts.status == StatusCode::CONTINUE { StatusCode::OK } else { parts.status };
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

/// Returns how an endpoint is reached by the SDK itself.
async fn config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .load()
        .await
}

/// Looks at what an account holds, without windlass.
#[derive(Debug)]
pub struct Account {
    runtime: Runtime,
    config: SdkConfig,
}

impl Account {
    /// Opens the account behind an endpoint.
    ///
    /// # Panics
    ///
    /// If the machine has no thread for it.
    #[must_use]
    pub fn open(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| unreachable!("{error}"));
        let config = runtime.block_on(config(endpoint));
        Self { runtime, config }
    }

    /// Makes a hosted zone, or finds it, and returns its id.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    #[must_use]
    pub fn zone(&self, name: &str) -> String {
        // Moto makes a second zone of the same name without a word.
        static ONE_BY_ONE: Mutex<()> = Mutex::new(());
        let _held = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let client = aws_sdk_route53::Client::new(&self.config);
        let known = self.runtime.block_on(client.list_hosted_zones().send()).unwrap_or_else(|error| unreachable!("{error:?}"));
        if let Some(zone) = known.hosted_zones().iter().find(|zone| zone.name().trim_end_matches('.') == name) {
            return zone.id().trim_start_matches("/hostedzone/").to_owned();
        }
        let made = self.runtime.block_on(client.create_hosted_zone().name(name).caller_reference(name).send());
        let made = made.unwrap_or_else(|error| unreachable!("{error:?}"));
        made.hosted_zone().map(|zone| zone.id().trim_start_matches("/hostedzone/").to_owned()).unwrap_or_default()
    }

    /// Lists records of a zone, `NAME TYPE VALUES`, without the zone's own.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    #[must_use]
    pub fn records(&self, zone: &str) -> Vec<String> {
        let client = aws_sdk_route53::Client::new(&self.config);
        let listed = self.runtime.block_on(client.list_resource_record_sets().hosted_zone_id(zone).send());
        let listed = listed.unwrap_or_else(|error| unreachable!("{error:?}"));
        listed
            .resource_record_sets()
            .iter()
            .filter(|set| !matches!(set.r#type().as_str(), "NS" | "SOA"))
            .map(|set| {
                let values: Vec<&str> = set.resource_records().iter().map(|record| record.value()).collect();
                format!("{} {} {}", set.name().trim_end_matches('.'), set.r#type().as_str(), values.join(","))
            })
            .collect()
    }

    /// Writes a record by hand.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    pub fn write_record(&self, zone: &str, name: &str, kind: &str, value: &str) {
        use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
        let client = aws_sdk_route53::Client::new(&self.config);
        let batch = || -> Result<ChangeBatch, aws_sdk_route53::error::BuildError> {
            let record = ResourceRecord::builder().value(value).build()?;
            let set = ResourceRecordSet::builder().name(name).r#type(RrType::from(kind)).ttl(300).resource_records(record).build()?;
            ChangeBatch::builder().changes(Change::builder().action(ChangeAction::Upsert).resource_record_set(set).build()?).build()
        };
        let batch = batch().unwrap_or_else(|error| unreachable!("{error}"));
        let sent = self.runtime.block_on(client.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send());
        sent.unwrap_or_else(|error| unreachable!("{error:?}"));
    }

    /// Makes a cluster of EKS.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    pub fn cluster(&self, name: &str) {
        use aws_sdk_eks::types::VpcConfigRequest;
        let client = aws_sdk_eks::Client::new(&self.config);
        let network = VpcConfigRequest::builder().subnet_ids("subnet-1").subnet_ids("subnet-2").build();
        let role = "arn:aws:iam::123456789012:role/eks";
        let made = self.runtime.block_on(client.create_cluster().name(name).role_arn(role).resources_vpc_config(network).send());
        made.unwrap_or_else(|error| unreachable!("{error:?}"));
    }

    /// Writes a secret by hand, as somebody who makes it if it is not there.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    pub fn write_secret(&self, name: &str, text: &str) {
        let client = aws_sdk_secretsmanager::Client::new(&self.config);
        let put = self.runtime.block_on(client.put_secret_value().secret_id(name).secret_string(text).send());
        if put.is_err() {
            let made = self.runtime.block_on(client.create_secret().name(name).secret_string(text).send());
            made.unwrap_or_else(|error| unreachable!("{error:?}"));
        }
    }

    /// Reads a secret; nothing if it is not there, or on its way out.
    #[must_use]
    pub fn read_secret(&self, name: &str) -> Option<String> {
        let client = aws_sdk_secretsmanager::Client::new(&self.config);
        let read = self.runtime.block_on(client.get_secret_value().secret_id(name).send()).ok()?;
        read.secret_string().map(str::to_owned)
    }

    /// Changes an instance as RDS itself, or a person, does.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    pub fn change_instance(
        &self,
        identifier: &str,
        change: impl FnOnce(
            aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder,
        ) -> aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder,
    ) {
        let (client, runtime) = self.rds();
        let sent = runtime.block_on(change(client.modify_db_instance().db_instance_identifier(identifier)).send());
        sent.unwrap_or_else(|error| unreachable!("{error:?}"));
    }

    /// Returns the client of RDS, with what runs it.
    #[must_use]
    pub fn rds(&self) -> (aws_sdk_rds::Client, &Runtime) {
        (aws_sdk_rds::Client::new(&self.config), &self.runtime)
    }

    /// Returns an instance, if it is there.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    #[must_use]
    pub fn instance(&self, identifier: &str) -> Option<aws_sdk_rds::types::DbInstance> {
        let (client, runtime) = self.rds();
        match runtime.block_on(client.describe_db_instances().db_instance_identifier(identifier).send()) {
            Ok(found) => found.db_instances().first().cloned(),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_db_instance_not_found_fault()) => None,
            Err(error) => unreachable!("{error:?}"),
        }
    }

    /// Lists the names of snapshots of an instance.
    ///
    /// # Panics
    ///
    /// If moto refuses.
    #[must_use]
    pub fn snapshots(&self, identifier: &str) -> Vec<String> {
        let (client, runtime) = self.rds();
        let found = runtime.block_on(client.describe_db_snapshots().db_instance_identifier(identifier).send());
        let found = found.unwrap_or_else(|error| unreachable!("{error:?}"));
        found.db_snapshots().iter().filter_map(|snapshot| snapshot.db_snapshot_identifier().map(str::to_owned)).collect()
    }
}

/// The connection to an endpoint.
#[must_use]
pub fn aws_connection(endpoint: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: aws }}\nspec:\n  capability: aws\n  aws: {{ region: {REGION}, endpoint: \"{endpoint}\", insecure: true }}\n"
    )
}
