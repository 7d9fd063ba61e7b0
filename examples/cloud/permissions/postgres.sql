-- What the `postgres` connection's user needs: to make roles and databases, to end sessions of roles it made; no superuser.
-- Run it once as the master user of the instance, with psql -v password=…
CREATE ROLE windlass LOGIN CREATEROLE CREATEDB PASSWORD :'password';
GRANT pg_signal_backend TO windlass;
