-- The installation: its uuid is part of every ownership mark.
CREATE TABLE installation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid TEXT NOT NULL
) STRICT;

CREATE TABLE environments (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    environment_type TEXT NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    sequence INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (application, environment)
) STRICT, WITHOUT ROWID;

-- Everything that has a digest: plans, models, layers, components.
CREATE TABLE documents (
    digest TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    number INTEGER NOT NULL,
    plan TEXT NOT NULL,
    model TEXT NOT NULL,
    layers TEXT NOT NULL,
    provenance TEXT NOT NULL,
    verb TEXT NOT NULL,
    actor TEXT NOT NULL,
    cause TEXT NOT NULL,
    given_platform INTEGER NOT NULL,
    rollback_to INTEGER,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    status TEXT NOT NULL,
    PRIMARY KEY (application, environment, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    deployment INTEGER NOT NULL,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (application, environment, sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_of_deployment ON events (application, environment, deployment, sequence);

-- What exists by our doing, folded from the events in the same commit.
CREATE TABLE actions (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    id TEXT NOT NULL,
    claim TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (application, environment, id)
) STRICT, WITHOUT ROWID;

-- One owner for each thing in the world.
CREATE UNIQUE INDEX claims ON actions (claim);

CREATE TABLE secrets (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    ciphertext TEXT NOT NULL,
    PRIMARY KEY (application, environment, name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE platform (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    document TEXT NOT NULL,
    provenance TEXT NOT NULL
) STRICT;
