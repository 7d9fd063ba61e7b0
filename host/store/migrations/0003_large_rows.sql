-- Rows of several KiB belong into tables with row ids: in an index each of them would be a chain of overflow pages
-- that every change copies (https://www.sqlite.org/withoutrowid.html, "when to use").
CREATE TABLE documents_with_rows (
    digest TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;
INSERT INTO documents_with_rows SELECT digest, content FROM documents;
DROP TABLE documents;
ALTER TABLE documents_with_rows RENAME TO documents;

CREATE TABLE events_with_rows (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    deployment INTEGER NOT NULL,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (application, environment, sequence)
) STRICT;
INSERT INTO events_with_rows SELECT application, environment, sequence, deployment, at, event FROM events;
DROP TABLE events;
ALTER TABLE events_with_rows RENAME TO events;
CREATE INDEX events_of_deployment ON events (application, environment, deployment, sequence);

CREATE TABLE actions_with_rows (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    id TEXT NOT NULL,
    claim TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (application, environment, id)
) STRICT;
INSERT INTO actions_with_rows SELECT application, environment, id, claim, record FROM actions;
DROP TABLE actions;
ALTER TABLE actions_with_rows RENAME TO actions;
CREATE UNIQUE INDEX claims ON actions (claim);
