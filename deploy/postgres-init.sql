-- Run once, by the image's first start, as the superuser: Consilium's own role owns its database and is no more.
-- postgres-roles.sql follows.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/postgres_consilium`
CREATE ROLE consilium LOGIN PASSWORD :'password';
CREATE DATABASE consilium OWNER consilium TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE CONNECT, TEMPORARY ON DATABASE consilium FROM PUBLIC;
