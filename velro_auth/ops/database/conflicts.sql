-- Objects of the project that conflict with a migration: its version, and a sentence with the object and the fix. Only
-- reads. A rehearsal finds the other conflicts; these are the ones whose fix takes more than the error says.

with profiles as (
    select c.* from pg_class c where c.oid = to_regclass('public.users')
), keys as (
    select i.indexrelid, c.conname, c.condeferrable
    from profiles u
    join pg_index i on i.indrelid = u.oid and i.indisunique and i.indpred is null and i.indnkeyatts = 1
    join pg_attribute a on a.attrelid = u.oid and a.attnum = i.indkey[0] and a.attname = 'id'
    left join pg_constraint c on c.conindid = i.indexrelid and c.conrelid = u.oid
)
select version, sentence from (

    select 10, '20261122100100',
           'The type public.user_role has no label viewer, and PostgreSQL cannot remove a label again; add it yourself:'
           ' alter type public.user_role add value ''viewer'''
    from pg_type t
    where t.oid = to_regtype('public.user_role') and t.typtype = 'e'
      and not exists (select from pg_enum e where e.enumtypid = t.oid and e.enumlabel = 'viewer')

    union all
    select 20, '20261122100200', format(
        'public.users is not an ordinary table but %s; rename it: alter %s public.users rename to former_users',
        case when u.relkind = 'v' then 'a view' when u.relkind = 'm' then 'a materialized view'
             when u.relkind = 'p' then 'a partitioned table' when u.relkind = 'f' then 'a foreign table'
             when u.relispartition then 'a partition of ' || (
                 select i.inhparent::regclass from pg_inherits i where i.inhrelid = u.oid)
             when u.reloftype <> 0 then 'a table of the type ' || u.reloftype::regtype
             else 'a sequence or an index' end,
        case u.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'table' end)
    from profiles u
    where u.relkind <> 'r' or u.relispartition or u.reloftype <> 0

    union all
    select 30, '20261122100200', coalesce(
        (select format('public.users.id has only the deferrable key %s, which "on conflict" cannot use', k.conname)
         from keys k where k.condeferrable limit 1),
        'public.users.id is neither primary key nor unique')
        || '; add one: alter table public.users add '
        || case when exists (select from pg_constraint c where c.conrelid = u.oid and c.contype = 'p')
                then 'unique (id)' else 'primary key (id)' end
    from profiles u
    where u.relkind = 'r'
      and exists (select from pg_attribute a where a.attrelid = u.oid and a.attname = 'id' and a.atttypid = 'uuid'::regtype)
      and not exists (select from keys k join pg_index i on i.indexrelid = k.indexrelid where i.indimmediate and i.indisvalid)

    union all
    -- The migration refuses these columns too, but without the SQL that helps.
    select 35, '20261122100200', format(
        'public.users has columns of another type: %s; %s',
        string_agg(format('%s is %s, needs %s', c.name, format_type(a.atttypid, null), replace(c.types, ',', ' or ')),
                   ', ' order by c.position),
        case when bool_or(c.name = 'id') then 'rename the table: alter table public.users rename to former_users'
             else 'change or rename them: ' || string_agg('alter table public.users ' || case t.typname
                 when 'timestamp' then format('alter column %1$I type timestamptz using %1$I at time zone ''UTC''', c.name)
                 else format('rename column %I to own_%s', c.name, c.name) end, '; ' order by c.position) end)
    from profiles u, (values
        (1, 'id', 'uuid'), (2, 'email', 'text,varchar,citext'), (3, 'display_name', 'text,varchar,citext'),
        (4, 'avatar_url', 'text,varchar,citext'), (5, 'role', 'user_role'), (6, 'credits_balance', 'int8,int4,numeric'),
        (7, 'is_active', 'bool'), (8, 'created_at', 'timestamptz'), (9, 'updated_at', 'timestamptz')
    ) c (position, name, types), pg_attribute a, pg_type t
    where u.relkind = 'r' and a.attrelid = u.oid and a.attname = c.name and not a.attisdropped and t.oid = a.atttypid
      and (t.typname <> all (string_to_array(c.types, ','))
           or c.name = 'role' and t.oid is distinct from to_regtype('public.user_role'))
    having count(*) > 0

    union all
    select 40, '20261122100200', format(
        'public.users.%I is %s, so it cannot be written; %s', a.attname,
        case when a.attidentity <> '' then 'an identity column' else 'a generated column' end,
        case when a.attidentity <> ''
             then format('make it an ordinary one: alter table public.users alter column %I drop identity', a.attname)
             when a.attgenerated = 's'
             then format('make it an ordinary one, with its values: alter table public.users alter column %I drop'
                         ' expression; or rename it', a.attname)
             else format('rename it: alter table public.users rename column %I to own_%s', a.attname, a.attname) end)
    from profiles u join pg_attribute a on a.attrelid = u.oid
    where a.attname in ('id', 'email', 'display_name', 'avatar_url', 'role', 'credits_balance', 'is_active',
                        'created_at', 'updated_at')
      and not a.attisdropped and (a.attgenerated <> '' or a.attidentity <> '')

    union all
    -- The trigger of the project runs as the auth server, to which row level security and the guard apply.
    select 50, '20261122100200', format(
        'The trigger %s on auth.users calls %s, which writes public.users with the rights of the auth server; row level'
        ' security will refuse that; let it write with the rights of its owner: alter function %s security definer',
        t.tgname, p.oid::regprocedure, p.oid::regprocedure)
    from profiles u, pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = to_regclass('auth.users') and not t.tgisinternal and not p.prosecdef
      and p.oid is distinct from to_regprocedure('public.handle_new_auth_user()')::oid
      and p.prosrc ~* '(insert\s+into|update|delete\s+from|merge\s+into)\s+(only\s+)?"?public"?\."?users"?\M'
      and exists (
          select from unnest('{insert,update,delete}'::text[]) privilege
          where has_table_privilege('supabase_auth_admin', u.oid, privilege))

    union all
    -- The new foreign key deletes the row with the user; rows that refer to it would then forbid the deletion.
    select 60, '20261122100300', format(
        'The table %s refers to public.users with %s, so a user with rows there could not be deleted; decide what becomes'
        ' of them: alter table %s drop constraint %I, add constraint %I %s on delete cascade (or set null)',
        c.conrelid::regclass, c.conname, c.conrelid::regclass, c.conname, c.conname,
        regexp_replace(pg_get_constraintdef(c.oid), '( ON DELETE \w+( \w+)?| NOT VALID)', '', 'g'))
    from profiles u join pg_constraint c on c.confrelid = u.oid and c.contype = 'f' and c.conparentid = 0
    where not exists (
        select from pg_constraint own
        where own.conrelid = u.oid and own.confrelid = to_regclass('auth.users') and own.contype = 'f'
          and own.conkey = array[(select a.attnum from pg_attribute a where a.attrelid = u.oid and a.attname = 'id')])
      and (c.confdeltype in ('a', 'r') or (c.confdeltype in ('n', 'd') and exists (
          select from pg_attribute a
          where a.attrelid = c.conrelid and a.attnum = any (c.conkey) and a.attnotnull
            and (c.confdeltype = 'n' or not a.atthasdef))))

) conflicts (rank, version, sentence)
order by rank, sentence
