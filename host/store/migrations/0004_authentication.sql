-- The code of each row that is acted on, under the key of the installation: HMAC-SHA-256 of the table's name, the row's key and its columns.
-- A row without one is refused.
ALTER TABLE installation ADD COLUMN code BLOB;
ALTER TABLE environments ADD COLUMN code BLOB;
ALTER TABLE deployments ADD COLUMN code BLOB;
ALTER TABLE events ADD COLUMN code BLOB;
ALTER TABLE actions ADD COLUMN code BLOB;
ALTER TABLE platform ADD COLUMN code BLOB;
