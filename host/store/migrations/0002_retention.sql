-- What each deployment refers to: a document goes with the last deployment that needs it.
CREATE TABLE deployment_documents (
    application TEXT NOT NULL,
    environment TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (application, environment, number, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX deployments_of_document ON deployment_documents (digest);
