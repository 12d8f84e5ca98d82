-- The history of the migrations: what was applied, and the SQL that rolls it back.

create schema if not exists velro_auth;
create table if not exists velro_auth.schema_migrations (
    version text primary key,
    name text not null,
    checksum text not null,
    down_sql text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by text not null
);
revoke all on velro_auth.schema_migrations from public, anon, authenticated, service_role;
