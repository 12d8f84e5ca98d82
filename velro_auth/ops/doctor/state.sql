-- What --fix may change, each thing with the statements that bring it back and that take it away: kind, name,
-- restore, remove, and for triggers the function they call. Run with an empty search_path: names come out in full.

with ours (oid) as (
    select p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'velro_auth'
       or (n.nspname = 'public' and p.proname in ('handle_new_auth_user', 'velro_auth_sessions',
                                                  'velro_auth_end_session', 'velro_auth_check_session'))
), profiles as (
    select to_regclass('public.users')::oid as oid
), grantees (oid, name) as (
    select 0::oid, 'public' union all
    select r.oid, r.rolname from pg_roles r
    where r.rolname in ('anon', 'authenticated', 'service_role', 'supabase_auth_admin')
), relations (oid) as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'velro_auth' and c.relkind = 'r'
    union all
    select u.oid from profiles u where u.oid is not null
), held (oid, statement) as (
    select r.oid, format('grant %s%s on %s to %s%s', x.privilege_type, ' (' || quote_ident(x.attname) || ')',
                         r.oid::regclass, g.name, case when x.is_grantable then ' with grant option' end)
    from relations r
    cross join lateral (
        select null::name as attname, a.* from pg_class c, aclexplode(c.relacl) a where c.oid = r.oid
        union all
        select t.attname, a.* from pg_attribute t, aclexplode(t.attacl) a
        where t.attrelid = r.oid and not t.attisdropped
    ) x
    join grantees g on g.oid = x.grantee
)
select kind, name, restore, remove, function from (
    select 'function', o.oid::regprocedure::text,
           pg_get_functiondef(o.oid)
               || format('; alter function %s owner to %I', o.oid::regprocedure, pg_get_userbyid(p.proowner)),
           format('drop function if exists %s cascade', o.oid::regprocedure), null
    from ours o join pg_proc p on p.oid = o.oid
    union all
    select 'rights on function', o.oid::regprocedure::text,
           format('revoke all on function %s from public, anon, authenticated, service_role, supabase_auth_admin',
                  o.oid::regprocedure)
               || coalesce(string_agg(format('; grant execute on function %s to %s', o.oid::regprocedure, g.name), ''
                                      order by g.name) filter (where g.name is not null), ''),
           null, o.oid::regprocedure::text
    from ours o
    join pg_proc p on p.oid = o.oid
    left join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x on x.grantee <> p.proowner
    left join grantees g on g.oid = x.grantee
    group by o.oid
    union all
    -- Who does not own auth.users can neither drop its triggers nor switch them off: they go with their function,
    -- and one that is switched off is left out, which comes to the same.
    select 'trigger', format('%I on %s', t.tgname, t.tgrelid::regclass),
           case t.tgenabled when 'O' then pg_get_triggerdef(t.oid) else format(
               'do $doctor$ begin %s; alter table %s disable trigger %I; exception when insufficient_privilege then'
               ' raise warning %L; end $doctor$',
               pg_get_triggerdef(t.oid), t.tgrelid::regclass, t.tgname,
               format('%s was switched off before, which only the owner of its table may do: it is left out', t.tgname)
           ) end,
           case when t.tgrelid = to_regclass('public.users')
                then format('drop trigger if exists %I on %s', t.tgname, t.tgrelid::regclass) end,
           t.tgfoid::regprocedure::text
    from pg_trigger t join ours o on o.oid = t.tgfoid
    where not t.tgisinternal
    union all
    select 'policy', format('%I on public.users', p.policyname),
           format('drop policy if exists %I on public.users; create policy %I on public.users as %s for %s to %s',
                  p.policyname, p.policyname, p.permissive, p.cmd,
                  (select string_agg(case r when 'public' then r else quote_ident(r) end, ', ') from unnest(p.roles) r))
               || coalesce(' using (' || p.qual || ')', '') || coalesce(' with check (' || p.with_check || ')', ''),
           format('drop policy if exists %I on public.users', p.policyname), null
    from pg_policies p
    where p.schemaname = 'public' and p.tablename = 'users'
    union all
    select 'row level security', 'public.users',
           format('alter table public.users %s row level security', case when c.relrowsecurity then 'enable' else 'disable' end),
           null, null
    from profiles u join pg_class c on c.oid = u.oid
    union all
    select 'table', r.oid::regclass::text, null, format('drop table if exists %s', r.oid::regclass), null
    from relations r
    union all
    select 'rights on table', r.oid::regclass::text,
           format('revoke all on %s from public, anon, authenticated, service_role, supabase_auth_admin', r.oid::regclass)
               || coalesce((select string_agg('; ' || h.statement, '' order by h.statement) from held h where h.oid = r.oid), ''),
           null, null
    from relations r
    union all
    select 'rights on schema', 'velro_auth',
           'revoke all on schema velro_auth from public, anon, authenticated, service_role, supabase_auth_admin'
               || coalesce(string_agg(format('; grant %s on schema velro_auth to %s', x.privilege_type, g.name), ''
                                      order by g.name, x.privilege_type) filter (where g.name is not null), ''),
           null, null
    from pg_namespace n left join aclexplode(n.nspacl) x on x.grantee <> n.nspowner left join grantees g on g.oid = x.grantee
    where n.nspname = 'velro_auth'
    group by n.oid
    union all
    select 'column', format('public.users.%I', a.attname),
           format('alter table public.users alter column %I %s', a.attname,
                  coalesce('set default ' || pg_get_expr(d.adbin, d.adrelid), 'drop default')),
           format('alter table public.users drop column if exists %I', a.attname), null
    from profiles u join pg_attribute a on a.attrelid = u.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attgenerated = '' and a.attidentity = ''
    union all
    select 'constraint', format('%I on public.users', c.conname),
           format('alter table public.users drop constraint if exists %I; alter table public.users add constraint %I %s',
                  c.conname, c.conname, pg_get_constraintdef(c.oid)),
           format('alter table public.users drop constraint if exists %I', c.conname), null
    from profiles u join pg_constraint c on c.conrelid = u.oid
    where c.contype in ('c', 'f')
    union all
    -- The session check: what the data API calls before each request.
    select 'setting', 'pgrst.db_pre_request of authenticator',
           format('alter role authenticator in database %I set pgrst.db_pre_request = %L; notify pgrst, ''reload config''',
                  d.datname, split_part(one, '=', 2)),
           format('alter role authenticator in database %I reset pgrst.db_pre_request; notify pgrst, ''reload config''',
                  d.datname), null
    from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase and d.datname = current_database(),
         unnest(s.setconfig) one
    where s.setrole = to_regrole('authenticator') and one like 'pgrst.db\_pre\_request=%'
) items (kind, name, restore, remove, function)
order by kind, name
