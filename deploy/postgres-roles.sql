-- Who may what in the database; run as the superuser after postgres-init.sql, and again after an upgrade, which is
-- harmless. What each group is granted, the migrations say (db/migrations/versions/0010_roles.py).
--
--   consilium         owns the tables: migrates, and is the command line's
--   consilium_api     finds out who asks; takes on `accept` or `read` for one source, one transaction long
--   consilium_worker  works for all sources; cannot change tables, keys, or which models a source allows
\set ON_ERROR_STOP on
SET client_min_messages = warning; -- not that a grant is there already
\set api `cat /run/secrets/postgres_api`
\set worker `cat /run/secrets/postgres_worker`
SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['enter', 'accept', 'read', 'work', 'api', 'worker']) word, concat('consilium_', word) name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE consilium_api LOGIN PASSWORD :'api';
ALTER ROLE consilium_worker LOGIN PASSWORD :'worker';
GRANT consilium_enter, consilium_accept, consilium_read, consilium_work TO consilium;
GRANT consilium_enter TO consilium_api;
GRANT consilium_accept, consilium_read TO consilium_api WITH INHERIT FALSE;
GRANT consilium_work TO consilium_worker;
GRANT CONNECT ON DATABASE consilium TO consilium_api, consilium_worker;
GRANT TEMPORARY ON DATABASE consilium TO consilium_worker;
