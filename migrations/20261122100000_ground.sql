-- The private schema of velro-auth, and its memory of what it found.
--
-- Everything of ours that is not the table public.users or its role type lives in the schema velro_auth:
-- a table in public is open to the data API. Every later migration first notes in velro_auth.undo how to
-- restore what it is about to change; the down files read it backwards.

create schema if not exists velro_auth;
revoke all on schema velro_auth from public;

create table if not exists velro_auth.undo (
    position bigint primary key,
    migration text not null,
    subject text not null,
    statement text not null,
    drops_data boolean not null,
    unique (migration, subject)
);
revoke all on velro_auth.undo from public, anon, authenticated, service_role;
comment on table velro_auth.undo is 'How to restore what the migrations of velro-auth found.';

-- Note how to undo one change, unless that is known already: the state before the first run is what counts.
create or replace function velro_auth.remember(
    migration text, subject text, statement text, drops_data boolean default false
) returns void language sql set search_path = '' as $$
    insert into velro_auth.undo (position, migration, subject, statement, drops_data)
    select coalesce(max(u.position), 0) + 1, $1, $2, $3, $4 from velro_auth.undo u
    on conflict do nothing
$$;

-- Undo what a migration noted, newest first.
-- What would drop data stays, and stays noted, unless the setting velro.drop_data is 'on'.
create or replace function velro_auth.undo_migration(migration text)
returns void language plpgsql set search_path = '' as $$
declare
    step record;
    may_drop boolean := coalesce(current_setting('velro.drop_data', true), '') = 'on';
begin
    for step in
        select u.position, u.subject, u.statement, u.drops_data from velro_auth.undo u
        where u.migration = $1 order by u.position desc
    loop
        if step.drops_data and not may_drop then
            raise notice 'kept: % (set velro.drop_data to ''on'' to drop it)', step.subject;
        else
            execute step.statement;
            delete from velro_auth.undo u where u.position = step.position;
        end if;
    end loop;
end;
$$;

-- Who but the owner has which rights on a table and its columns, in the order they are stored.
create or replace function velro_auth.rights(object regclass)
returns table (grantee text, privilege text, column_name name, is_grantable boolean)
language sql stable set search_path = '' as $$
    select coalesce(quote_ident(r.rolname), 'public'), held.privilege_type, held.attname, held.is_grantable
    from (
        select 0 as attnum, null::name as attname, x.*
        from pg_class c, aclexplode(c.relacl) with ordinality x where c.oid = $1
        union all
        select a.attnum, a.attname, x.*
        from pg_attribute a, aclexplode(a.attacl) with ordinality x where a.attrelid = $1 and not a.attisdropped
    ) held
    left join pg_roles r on r.oid = held.grantee
    where held.grantee <> (select c.relowner from pg_class c where c.oid = $1)
    order by held.attnum, held.ordinality
$$;

-- The same as statements, for some grantees or (null) for all.
create or replace function velro_auth.grants(object regclass, grantees text[] default null)
returns text language sql stable set search_path = '' as $$
    select coalesce(string_agg(
        format('grant %s%s on %s to %s%s', r.privilege, ' (' || quote_ident(r.column_name) || ')', $1, r.grantee,
               case when r.is_grantable then ' with grant option' end), '; '), '')
    from velro_auth.rights($1) r
    where $2 is null or r.grantee = any ($2)
$$;

-- The statements that create a function as it is now, with its rights and the triggers that call it; empty for null.
create or replace function velro_auth.definition(function regprocedure)
returns text language sql stable set search_path = '' as $$
    with rights as (
        select string_agg(format('grant execute on function %s to %s', $1, coalesce(quote_ident(r.rolname), 'public')),
                          '; ' order by x.ordinality) as statements
        from pg_proc p
        cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) with ordinality x
        left join pg_roles r on r.oid = x.grantee
        where p.oid = $1 and x.grantee <> p.proowner
    ), triggers as (
        select string_agg(pg_get_triggerdef(t.oid), '; ' order by t.oid) as statements
        from pg_trigger t where t.tgfoid = $1 and not t.tgisinternal
    )
    select case when $1 is null then '' else concat_ws('; ',
        pg_get_functiondef($1),
        format('revoke all on function %s from public, anon, authenticated, service_role', $1),
        rights.statements, triggers.statements) end
    from rights, triggers
$$;

-- Create a policy on public.users, or bring the one of this name to this wording; the former one is noted.
create or replace function velro_auth.put_policy(
    migration text, name text, command text, grantee name, using_ text, check_ text
) returns void language plpgsql set search_path = '' as $$
declare
    clauses text := format(' to %I', grantee) || coalesce(' using (' || using_ || ')', '')
        || coalesce(' with check (' || check_ || ')', '');
    former record;
    restore text := format('drop policy if exists %I on public.users; ', name);
begin
    select p.policyname, p.permissive, p.cmd, p.qual, p.with_check,
           (select string_agg(case r when 'public' then r else quote_ident(r) end, ', ') from unnest(p.roles) r) as roles
    into former from pg_policies p
    where p.schemaname = 'public' and p.tablename = 'users' and p.policyname = name;
    if former.policyname is not null then
        restore := restore || format('create policy %I on public.users as %s for %s to %s', name, former.permissive,
                                     former.cmd, former.roles)
            || coalesce(' using (' || former.qual || ')', '')
            || coalesce(' with check (' || former.with_check || ')', '');
    end if;
    perform velro_auth.remember(migration, format('policy "%s" on public.users', name), restore);
    if former.cmd = upper(command) and former.permissive = 'PERMISSIVE' then
        execute format('alter policy %I on public.users', name) || clauses;
    else
        if former.policyname is not null then
            execute format('drop policy %I on public.users', name);
        end if;
        execute format('create policy %I on public.users for %s', name, command) || clauses;
    end if;
end;
$$;

revoke all on all functions in schema velro_auth from public, anon, authenticated, service_role;
