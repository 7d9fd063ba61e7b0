//! Every limit of the host, with the reason for its number.

use std::time::Duration;

/// One document file. Real Score files are about 1 KiB; a Kubernetes object may be 1.5 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Documents read by one command: a platform of a large company has hundreds, W(10,000) has 10,000 workloads.
pub const DOCUMENTS_MAX: usize = 50_000;
/// Nodes of one YAML stream; the largest public Score file has about 200.
pub const YAML_NODES_MAX: usize = 100_000;
/// Aliases of one YAML stream: people use a handful.
pub const YAML_ALIASES_MAX: usize = 1_000;
/// Nesting of documents and of JSON that crosses a boundary: deeper input is an attack on recursion.
pub const JSON_DEPTH_MAX: usize = 64;
/// Values of one ConfigMap or Secret together: Kubernetes takes no more.
pub const OBJECT_DATA_BYTES_MAX: usize = 1024 * 1024;
/// Annotations of one object together, keys included: Kubernetes takes no more.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Name of a port (RFC 6335).
pub const PORT_NAME_CHARS_MAX: usize = 15;
/// A file that a Score document names by `source`: it ends in a ConfigMap or a Secret.
pub const SOURCE_FILE_BYTES_MAX: usize = OBJECT_DATA_BYTES_MAX;
/// A component. First-party ones are below 1 MiB, a JavaScript driver with its engine is 12 MiB.
pub const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Functions of a component, before compiling: bounds compile time.
pub const COMPONENT_FUNCTIONS_MAX: usize = 50_000;
/// One driver call. Honest drivers need well below a millisecond.
pub const DRIVER_CALL_TIME_MAX: Duration = Duration::from_millis(1_000);
/// Granularity of the time limit: one ticker thread wakes this often while drivers run.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);
/// Linear memories and tables of one call together. A JavaScript engine needs about 20 MiB.
pub const DRIVER_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Core instances of one component: those of Python have up to forty, each shared library is one.
pub const DRIVER_CORE_INSTANCES_MAX: u32 = 64;
/// Memories of one component; most have one, components that are put together have one for each part.
pub const DRIVER_MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub const DRIVER_TABLES_MAX: u32 = 16;
/// Elements of one table; Rust guests have tens, JavaScript engines some thousand.
pub const DRIVER_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Wasm stack of one call: serde on 64 levels of JSON needs about 100 KiB.
pub const DRIVER_STACK_BYTES_MAX: usize = 512 * 1024;
/// Calls that one driver call may make into the host.
pub const HOST_CALLS_MAX: usize = 100_000;
/// Actions that one driver call may stage: a namespace with a thousand objects is already unusual.
pub const ACTIONS_MAX: usize = 10_000;
/// Bytes that one driver call may hand to the host, answer and arguments together.
pub const DRIVER_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a WASI guest may print in one call.
pub const DRIVER_LOG_BYTES_MAX: usize = 64 * 1024;
/// Bytes that the component ABI may copy for one host call; the default of 128 MiB is per call.
pub const HOST_CALL_COPY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Diagnostics kept of one call: more than a person reads.
pub const DIAGNOSTICS_MAX: usize = 100;
/// One line of text that a guest sends to a person.
pub const GUEST_TEXT_CHARS_MAX: usize = 500;
/// Largest integer that every JSON reader represents exactly (RFC 8785, RFC 7493): 2^53 − 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Length of a Kubernetes label value and of most object names (RFC 1123 label).
pub const LABEL_CHARS_MAX: usize = 63;
/// Name of what a controller makes further objects of: it writes the name and up to eleven characters of its own into a label.
pub const CONTROLLED_NAME_CHARS_MAX: usize = 52;
/// Name of any other Kubernetes object (RFC 1123 subdomain).
pub const OBJECT_NAME_CHARS_MAX: usize = 253;
/// Waiting for one deployment, if the user names no other time.
pub const DEPLOYMENT_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Process deaths during one deployment without a new event, before it is held.
pub const DEPLOYMENT_DEATHS_MAX: u32 = 3;
/// Requests in flight to one API server: it serves 200 changes at once to everybody, shared out by priority.
pub const CLUSTER_REQUESTS_MAX: usize = 32;
/// One answer of an API server: a page of 500 objects with their managed fields is about 5 MiB.
pub const CLUSTER_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The last lines of a container's log.
pub const CLUSTER_LOG_BYTES_MAX: usize = 64 * 1024;
/// One object becoming ready; Kubernetes itself gives a Deployment ten minutes.
pub const READY_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Actions of one system that are chosen at once, and sent in one call where it takes batches: bounds memory, and how long Ctrl-C waits.
pub const EFFECT_BATCH_MAX: usize = 1_000;
/// Brackets of a Terraform module inside of each other: published modules stay below 20, and parsers recurse.
pub const MODULE_NESTING_MAX: usize = 64;
/// Operators of one expression of a Terraform module: a parser recurses for each, and long conditions have some dozen.
pub const MODULE_OPERATORS_MAX: usize = 500;
/// The configuration file of Terraform or OpenTofu: mirrors and credentials are some hundred bytes each.
pub const TERRAFORM_CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// Planning of a Terraform module for a look alone; the largest of them read their servers for some minutes.
pub const TERRAFORM_LOOK_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// `terraform version`: it says some hundred bytes at once.
pub const TERRAFORM_VERSION_TIME_MAX: Duration = Duration::from_secs(30);
/// One output of a Terraform module: kubeconfigs and certificates are the longest that modules yield.
pub const TERRAFORM_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// One state of a Terraform module: those of thousands of resources have some MiB.
pub const TERRAFORM_STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// JSON values of one state: each takes up to 100 bytes of memory where it is read, and a resource has some dozen.
pub const TERRAFORM_STATE_VALUES_MAX: usize = 4_000_000;
/// States that one run may hand over: the programs do so every 20 seconds, and a run ends within hours.
pub const TERRAFORM_STATE_WRITES_MAX: usize = 5_000;
/// Connections that the state backend of one run serves at once: a program uses one or two.
pub const TERRAFORM_BACKEND_CONNECTIONS_MAX: usize = 8;
/// What a program says about itself when it locks a state.
pub const TERRAFORM_LOCK_BYTES_MAX: usize = 64 * 1024;
/// One credential that a connection refers to: a kubeconfig with hundreds of clusters is below 1 MiB, a bundle of authorities 250 KiB.
pub const CREDENTIAL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Resources of one environment: 10,000 workloads with ten resources each, and as many that their definitions need.
pub const GRAPH_NODES_MAX: usize = 200_000;
/// Resources that definitions add because of one that the application asks for; the built-in and the example definitions add at most five.
pub const GRAPH_NODES_PER_RESOURCE_MAX: usize = 1_000;
/// Definitions that need each other in a chain; the deepest known platform has four levels.
pub const GRAPH_DEPTH_MAX: usize = 32;
/// Resources that the reverse queries of an environment find together: each workload of 10,000 collects one hundred.
pub const COLLECTED_MAX: usize = 1_000_000;
/// Values that the placeholders of one node bring in: as much as a document may hold.
pub const EXPANDED_NODE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Values that all placeholders of a plan bring in: 10,000 workloads bring in some 10 KiB each.
pub const EXPANDED_PLAN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Text of one JSON Schema: that of a resolved workload, the largest of ours, has 30 KiB.
pub const SCHEMA_BYTES_MAX: usize = 1024 * 1024;
/// Subschemas of one schema, definitions included.
pub const SCHEMA_PARTS_MAX: usize = 20_000;
/// Longest way through subschemas and references, in parts: the checks of a schema recurse so deep.
pub const SCHEMA_DEPTH_MAX: usize = 500;
/// Keywords and choices that a schema applies to one value: times the values of a document, that is the cost of a check.
pub const SCHEMA_STEPS_MAX: u64 = 2_000;
/// Keywords and choices of a schema with every reference replaced by its target.
pub const SCHEMA_EXPANDED_MAX: u64 = 200_000;
/// Patterns of one schema: each may take as much memory as the next limit says. The transformed schemas of ours have dozens.
pub const SCHEMA_PATTERNS_MAX: usize = 500;
/// Compiled form of one pattern of a schema.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Processor time of the process that inspects and compiles one component: a JavaScript driver of 12 MiB takes about ten seconds of it.
pub const ADMISSION_CPU_TIME_MAX: Duration = Duration::from_secs(40);
/// Wall time of that process; the machine may be busy with others.
pub const ADMISSION_TIME_MAX: Duration = Duration::from_secs(120);
/// Memory of that process: compiling a JavaScript driver takes about 700 MiB.
pub const ADMISSION_MEMORY_BYTES_MAX: u64 = 1536 * 1024 * 1024;
/// Machine code and facts of one component: that of a JavaScript driver has about 40 MiB.
pub const ADMISSION_ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Core modules and nested components of one component: toolchains that join several emit two dozen.
pub const COMPONENT_PARTS_MAX: usize = 500;
/// One statement in a PostgreSQL server: a copy of a large template database takes minutes.
pub const POSTGRES_STATEMENT_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// One lock in a PostgreSQL server: a batch of another deployment takes seconds, an application may hold a lock for ever.
pub const POSTGRES_LOCK_TIME_MAX: Duration = Duration::from_secs(10);
/// Connecting to a PostgreSQL server once, TLS and the password included.
pub const POSTGRES_CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// Rows of one answer of a PostgreSQL server: ten for each action of a full batch.
pub const POSTGRES_ROWS_MAX: usize = 10_000;
/// Bytes of one answer of a PostgreSQL server: about 1.6 KiB for each row, with comments of 1,024 characters.
pub const POSTGRES_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pages of one listing of AWS: a hosted zone of 75,000 record sets has 250.
pub const AWS_PAGES_MAX: usize = 256;
/// One plan file. The plan of ten thousand workloads has 30 MiB, two JavaScript drivers in base64 32 MiB more.
pub const PLAN_FILE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// JSON values of a plan file: each takes up to 100 bytes of memory where it is read. The plan of ten thousand workloads has three million.
pub const PLAN_FILE_VALUES_MAX: usize = 4_000_000;
/// Nesting of a plan file: documents and specs have their own limits, and the file around them takes about ten levels.
pub const PLAN_FILE_DEPTH_MAX: usize = 120;
/// Nesting of the spec of an action with its sealed values written out: readers of JSON stop at 128 levels, and the plan around a spec
/// takes about ten.
pub const SPEC_DEPTH_MAX: usize = 110;
/// A module package as it travels in a registry: text that unpacks to a module of at most 1 MiB, with its documentation.
pub const ARCHIVE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A module package unpacked: packages hold examples, tests and several modules.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Entries of a module package; large public modules have some hundred files.
pub const ARCHIVE_ENTRIES_MAX: usize = 2_000;
/// Times that an archive may grow: HCL and Markdown shrink to a fifth, deflate alone can do a thousand.
pub const ARCHIVE_EXPANSION_MAX: u64 = 200;
/// A manifest in a registry: the distribution specification asks registries to take 4 MiB.
pub const REGISTRY_MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// An answer of a token endpoint: tokens with many scopes are about 10 KiB.
pub const REGISTRY_TOKEN_BYTES_MAX: u64 = 256 * 1024;
/// Redirects of one request to a registry: public ones redirect a blob once, to their storage.
pub const REGISTRY_REDIRECTS_MAX: usize = 5;
/// Silence of a registry between two pieces of an answer.
pub const REGISTRY_SILENCE_MAX: Duration = Duration::from_secs(30);
/// One package of a registry, from the first request to the last byte.
pub const REGISTRY_FETCH_TIME_MAX: Duration = Duration::from_secs(2 * 60);
/// What fetching one commit of a repository may bring: a snapshot of the Linux kernel is about 250 MiB.
pub const GIT_FETCH_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Fetching one commit, over a slow line.
pub const GIT_FETCH_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// What Git may say: the list of a tree of 2,000 files is about 200 KiB, and 100,000 files are listed before 2,000 are refused.
pub const GIT_TEXT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What `git cat-file --batch` says around an object: its name, type and size.
pub const GIT_HEADER_BYTES_MAX: u64 = 128;
/// A message of a server or a program that is shown to a person: more is not read, and would fill a log.
pub const SERVER_TEXT_CHARS_MAX: usize = 2_000;
/// Values in one list of an API server: metadata of a page of 5,000 objects with managed fields holds about a million.
pub const CLUSTER_ANSWER_VALUES_MAX: usize = 2_000_000;
/// One object of an API server: it has at most 1.5 MiB in etcd, and its managed fields may double it.
pub const CLUSTER_OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Values in one object: a CustomResourceDefinition of 1 MiB holds about 50,000.
pub const CLUSTER_OBJECT_VALUES_MAX: usize = 200_000;
/// Lists of one API server that are read at once: each may take a few hundred MiB as a tree.
pub const CLUSTER_LISTS_AT_ONCE_MAX: usize = 4;
/// Objects of one kind in one namespace: API servers are tested with 150,000 pods in a whole cluster.
pub const CLUSTER_LIST_OBJECTS_MAX: usize = 100_000;
/// Pages of one list: 20 hold as many objects as a list may have; a server may make them smaller.
pub const CLUSTER_LIST_PAGES_MAX: usize = 1_000;
/// What the lists of one session keep, names and marks: about 300 bytes for each object.
pub const CLUSTER_LISTS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What one watch keeps, as it is in memory: 20,000 pods take about 280 MiB.
pub const CLUSTER_WATCH_BYTES_MAX: usize = 512 * 1024 * 1024;
/// API groups of a cluster; one with many operators has about 150.
pub const CLUSTER_GROUPS_MAX: usize = 1_000;
/// Kinds of one version of a group; Crossplane's provider of AWS, the largest known, has about 1,000 in all its groups.
pub const CLUSTER_GROUP_KINDS_MAX: usize = 2_000;
/// A token by which a server names its next page: those of Kubernetes and AWS are below 4 KiB.
pub const PAGE_TOKEN_BYTES_MAX: usize = 16 * 1024;
/// One answer of Vault: a secret is at most 1 MiB where its storage is Raft or Consul, and metadata of 100 versions is about 20 KiB.
pub const VAULT_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One answer of an AWS service: a page of 100 instances of RDS is about 500 KiB, a secret at most 64 KiB.
pub const AWS_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Derivations of a sealed value inside each other, plus one: drivers need three or four (JSON in base64 in a URL). Each takes five levels
/// of plan JSON, and every reader stops at 128.
pub const SEALED_DEPTH_MAX: usize = 12;
/// Texts and origins of one sealed value, those included that it is derived of: a configuration file with three hundred secrets has 900.
pub const SEALED_PARTS_MAX: usize = 1_024;
/// Text of one sealed value with everything put in: it ends in a Kubernetes object, which takes no more.
pub const SEALED_TEXT_BYTES_MAX: usize = OBJECT_DATA_BYTES_MAX;
/// Levels of one value in plan JSON with its sealed values written out: readers stop at 128, and the plan around a value takes about ten.
pub const PLAN_VALUE_DEPTH_MAX: usize = 100;
/// JSON values that one driver call may hand to the host, answer and arguments together: each takes about 70 bytes of memory while it is
/// checked. The thirty CRDs of a large operator have 300,000.
pub const DRIVER_VALUES_MAX: usize = 500_000;
/// Plan JSON of the sealed values that one driver call may write, each counted where it stands: a thousand take half a MiB.
pub const DRIVER_SEALED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that all driver calls of one plan may hand to the host: the plan of ten thousand workloads has about 30 MiB.
pub const PLAN_OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Plan JSON of all sealed values that the driver calls of one plan may write: eight calls at their own limit.
pub const PLAN_SEALED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lowest cost of bcrypt that the algorithm knows.
pub const BCRYPT_COST_MIN: u8 = 4;
/// Highest cost of bcrypt: 4,096 rounds, a quarter of a second; the default of common servers is 10.
pub const BCRYPT_COST_MAX: u8 = 12;
/// Rounds of bcrypt that the values of one driver call may cost: 128 hashes of cost 10, or 32 of cost 12, which is eight seconds.
pub const DRIVER_HASH_ROUNDS_MAX: usize = 1 << 17;
/// Rounds of bcrypt of one plan, and again of one deployment: a hash of cost 10 for each of 4,000 workloads, four minutes.
pub const DEPLOYMENT_HASH_ROUNDS_MAX: usize = 1 << 22;
/// Bytes that the values of one action may take when they are put in, intermediate texts included: several times what a system takes.
pub const ACTION_EXPANDED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that the values of all actions of one deployment may take when they are put in: they are held until they are sent.
pub const DEPLOYMENT_EXPANDED_BYTES_MAX: usize = 256 * 1024 * 1024;
