-- What this database or this role lacks for the migrations: a sentence, and what it prevents ('all', 'changes',
-- 'rehearsals'); the most important problem first. Only reads.

with users as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'auth' and c.relname = 'users' and c.relkind in ('r', 'p')
), owned as (
    select 'the schema velro_auth' as thing, nspowner as owner
    from pg_namespace where nspname = 'velro_auth'
    union all
    select 'the table public.users', relowner
    from pg_class where relname = 'users' and relnamespace = to_regnamespace('public')
    union all
    select 'the type public.user_role', typowner
    from pg_type where typname = 'user_role' and typnamespace = to_regnamespace('public')
    union all
    select 'the function public.handle_new_auth_user()', proowner
    from pg_proc where proname = 'handle_new_auth_user' and pronamespace = to_regnamespace('public')
)
select sentence, case when rank = 75 then 'rehearsals' when rank between 50 and 80 then 'changes' else 'all' end
from (
    select 10, format('PostgreSQL %s is too old: 15 or newer is needed', current_setting('server_version'))
    where current_setting('server_version_num')::int < 150000
    union all
    select 20, 'This is a read-only copy of the database; use the address of the primary'
    where pg_is_in_recovery()
    union all
    select 30, format(
        'The database %s has no table auth.users, so it is not the database of a Supabase project',
        current_database())
    where not exists (select from users)
    union all
    select 40, format('The role %s is missing: a Supabase project has it', name)
    from unnest('{anon,authenticated,service_role,supabase_auth_admin}'::name[]) name
    where not exists (select from pg_roles where rolname = name)
    union all
    select 50, format('The role %s may not change %s, which belongs to %s; connect as %s',
                      current_user, thing, owner::regrole, owner::regrole)
    from owned where not pg_has_role(owner, 'usage')
    union all
    select 60, format('The role %s may not create a schema in the database %s',
                      current_user, current_database())
    where not has_database_privilege(current_database(), 'create')
    union all
    select 70, format('The role %s may not create anything in the schema public', current_user)
    where not coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'create'), false)
    union all
    select 80, format('The role %s lacks %s on auth.users; connect as postgres', current_user, upper(needed))
    from users, unnest('{trigger,references,select}'::text[]) needed
    where not has_table_privilege(users.oid, needed)
    union all
    select 75, format('The role %s may not create temporary objects in the database %s',
                      current_user, current_database())
    where not has_database_privilege(current_database(), 'temporary')
    union all
    select 82, format('The role %s may not read auth.users; connect as postgres', current_user)
    from users where not has_table_privilege(users.oid, 'select')
    union all
    select 84, format('The role %s may not read %s; connect as %s', current_user, c.oid::regclass,
                      c.relowner::regrole)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'velro_auth' and c.relname = 'schema_migrations'
      and not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))
    union all
    select 85, format('The role %s lacks USAGE on the schema auth; connect as postgres', current_user)
    from users where not has_schema_privilege(to_regnamespace('auth')::oid, 'usage')
    union all
    select 90, format(
        'Row level security hides auth.users from the role %s; connect as postgres', current_user)
    from users where row_security_active(users.oid)
) problems (rank, sentence)
order by rank, sentence
