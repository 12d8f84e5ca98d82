-- Our objects in the live database, as pairs of a readable name and a readable value: what controls access, and what
-- runs on a sign-up. Run it with an empty search_path, so that all names are qualified.

with ours (oid, schema, proname) as (
    select p.oid, n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'velro_auth'
       or (n.nspname = 'public' and p.proname in ('handle_new_auth_user', 'velro_auth_sessions',
                                                  'velro_auth_end_session', 'velro_auth_check_session'))
), profiles as (
    select to_regclass('public.users')::oid as oid
), columns (name) as (
    select unnest('{id,email,display_name,avatar_url,role,credits_balance,is_active,created_at,updated_at}'::name[])
), grantees (oid, name) as (
    select 0::oid, 'public' union all
    select r.oid, r.rolname from pg_roles r
    where r.rolname in ('anon', 'authenticated', 'service_role', 'supabase_auth_admin')
)
select name, value from (

    select format('body of function %s', o.oid::regprocedure),
           left(encode(sha256(convert_to(replace(p.prosrc, E'\r', ''), 'UTF8')), 'hex'), 16)
    from ours o join pg_proc p on p.oid = o.oid
    union all
    select format('settings of function %s', o.oid::regprocedure),
           concat_ws(', ', case when p.prosecdef then 'security definer' else 'security invoker' end,
                     array_to_string(array(select unnest(p.proconfig) order by 1), ', '))
    from ours o join pg_proc p on p.oid = o.oid
    union all
    -- What runs as its owner must run as the owner of the table.
    select format('owner of function %s', o.oid::regprocedure),
           case when p.proowner = c.relowner then 'the owner of public.users'
                -- postgres as a member of an owner of the project's own: the guard trusts it alike.
                when pg_has_role(p.proowner, c.relowner, 'usage') and not r.rolsuper then 'the owner of public.users'
                else p.proowner::regrole::text end
    from ours o join pg_proc p on p.oid = o.oid join pg_roles r on r.oid = p.proowner,
         profiles u join pg_class c on c.oid = u.oid
    where p.prosecdef
    union all
    select format('function %s may be called by', o.oid::regprocedure),
           coalesce(string_agg(g.name, ', ' order by g.name), 'its owner')
    from ours o
    join pg_proc p on p.oid = o.oid
    left join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x on x.grantee <> p.proowner
    left join grantees g on g.oid = x.grantee
    group by o.oid

    union all
    select 'function that the data API calls before each request',
           case when called.name = 'public.velro_auth_check_session' then 'ours'
                when called.name is null then 'none'
                when exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                             where format('%s.%s', n.nspname, p.proname) = called.name
                               and p.prosrc like '%velro\_auth\_check\_session%') then 'ours'
                else called.name || ', which does not call ours' end
    from ours o left join lateral (
        select nullif(split_part(one, '=', 2), '') as name from pg_db_role_setting s, unnest(s.setconfig) one
        where s.setrole = to_regrole('authenticator') and one like 'pgrst.db\_pre\_request=%'
          and s.setdatabase in (0, (select d.oid from pg_database d where d.datname = current_database()))
        order by s.setdatabase desc limit 1) called on true
    where o.proname = 'velro_auth_check_session'

    union all
    select format('trigger %s on %s', t.tgname, t.tgrelid::regclass),
           pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' else ' (switched off)' end
    from pg_trigger t join ours o on o.oid = t.tgfoid

    union all
    select 'row level security of public.users', case when c.relrowsecurity then 'on' else 'off' end
    from profiles u join pg_class c on c.oid = u.oid
    union all
    select format('policy "%s" on public.users', p.policyname),
           concat_ws(' ', lower(p.permissive), lower(p.cmd), 'to', array_to_string(p.roles, ', '),
                     'using ' || p.qual, 'with check ' || p.with_check)
    from pg_policies p
    where p.schemaname = 'public' and p.tablename = 'users'

    union all
    select format('rights of %s on public.users', g.name),
           string_agg(x.privilege_type || case when x.is_grantable then ' with grant option' else '' end,
                      ', ' order by x.privilege_type)
    from profiles u join pg_class c on c.oid = u.oid, aclexplode(c.relacl) x join grantees g on g.oid = x.grantee
    group by g.name
    union all
    select format('rights of %s on public.users (%s)', g.name, a.attname),
           string_agg(x.privilege_type || case when x.is_grantable then ' with grant option' else '' end,
                      ', ' order by x.privilege_type)
    from profiles u
    join pg_attribute a on a.attrelid = u.oid and a.attname in (select c.name from columns c),
    aclexplode(a.attacl) x join grantees g on g.oid = x.grantee
    group by g.name, a.attname
    union all
    select format('rights of %s on schema velro_auth', g.name),
           string_agg(x.privilege_type, ', ' order by x.privilege_type)
    from pg_namespace n, aclexplode(n.nspacl) x join grantees g on g.oid = x.grantee
    where n.nspname = 'velro_auth'
    group by g.name
    union all
    select format('rights of %s on %s', g.name, c.oid::regclass),
           string_agg(x.privilege_type, ', ' order by x.privilege_type)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace,
    aclexplode(c.relacl) x join grantees g on g.oid = x.grantee
    where n.nspname = 'velro_auth'
    group by g.name, c.oid

    union all
    select format('column public.users.%s', c.name),
           case when t.typname in ('text', 'varchar', 'citext') then 'text'
                when t.typname in ('int4', 'int8', 'numeric') then 'number'
                else format_type(a.atttypid, null) end
    from profiles u, columns c
    join pg_attribute a on a.attname = c.name and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where a.attrelid = u.oid
    union all
    select 'label viewer of public.user_role', 'present'
    from pg_enum e where e.enumtypid = to_regtype('public.user_role')::oid and e.enumlabel = 'viewer'
    union all
    select 'check of public.users.credits_balance', case when c.convalidated then 'holds' else 'not validated' end
    from profiles u join pg_constraint c on c.conrelid = u.oid
    where c.conname = 'users_credits_balance_not_negative'
    union all
    select 'foreign key of public.users to auth.users',
           case when bool_or(c.convalidated) then 'holds' else 'not validated' end
    from profiles u join pg_constraint c on c.conrelid = u.oid
    where c.contype = 'f' and c.confrelid = to_regclass('auth.users')
    having count(*) > 0

) items (name, value)
order by name
