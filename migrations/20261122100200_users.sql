-- The table public.users, and who may do what with it.
--
-- An existing table keeps its rows, its other columns, their column grants and its own policies. Created, guarded
-- and granted in one transaction, so that the table is never open.

do $$
begin
    if to_regclass('public.users') is null then
        create table public.users (
            id uuid primary key,
            -- Neither required nor unique: phone and anonymous users have no mail, SSO users may share one.
            email text,
            display_name text,
            avatar_url text,
            role public.user_role not null default 'viewer',
            credits_balance bigint not null default 0
                constraint users_credits_balance_not_negative check (credits_balance >= 0),
            is_active boolean not null default true,
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        perform velro_auth.remember('20261122100200', 'table public.users', 'drop table public.users', true);
    end if;
end;
$$;

do $$
begin
    if (select c.relkind from pg_class c where c.oid = 'public.users'::regclass) <> 'r' then
        raise exception using errcode = 'VA001', message = 'public.users exists and is not an ordinary table';
    end if;

    if not exists (
        select from pg_index i
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'id'
        where i.indrelid = 'public.users'::regclass and i.indisunique and i.indimmediate and i.indisvalid
          and i.indpred is null and i.indnkeyatts = 1
    ) then
        raise exception using errcode = 'VA001', message = 'public.users.id is neither primary key nor unique',
            hint = 'alter table public.users add primary key (id)';
    end if;
end;
$$;

do $$
declare
    migration constant text := '20261122100200';
    -- Name, accepted types, definition and default of each column.
    wanted_columns constant text[] := array[
        ['id',              'uuid',              'uuid',                      null],
        ['email',           'text,varchar,citext', 'text',                    null],
        ['display_name',    'text,varchar,citext', 'text',                    null],
        ['avatar_url',      'text,varchar,citext', 'text',                    null],
        ['role',            'user_role',         'public.user_role not null', '''viewer'''],
        ['credits_balance', 'int8,int4,numeric', 'bigint not null',           '0'],
        ['is_active',       'bool',              'boolean not null',          'true'],
        ['created_at',      'timestamptz',       'timestamptz not null',      'now()'],
        ['updated_at',      'timestamptz',       'timestamptz not null',      'now()']
    ];
    wanted text[];
    held record;
    problem text := '';
begin
    foreach wanted slice 1 in array wanted_columns loop
        select t.oid, t.typname into held
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        where a.attrelid = 'public.users'::regclass and a.attname = wanted[1] and not a.attisdropped;
        if held.typname <> all (string_to_array(wanted[2], ','))
            or (wanted[1] = 'role' and held.oid <> 'public.user_role'::regtype)
        then
            problem := problem || format(E'\n  %s is %s, needs %s', wanted[1], format_type(held.oid, null),
                                         replace(wanted[2], ',', ' or '));
        end if;
    end loop;
    if problem <> '' then
        raise exception using errcode = 'VA001', message = 'public.users has columns of another type:' || problem,
            hint = 'Change or rename these columns, then run the migration again.';
    end if;

    foreach wanted slice 1 in array wanted_columns loop
        select a.attname, a.atthasdef into held
        from pg_attribute a
        where a.attrelid = 'public.users'::regclass and a.attname = wanted[1] and not a.attisdropped;
        if held.attname is null then
            execute format('alter table public.users add column %I %s', wanted[1], wanted[3])
                || coalesce(' default ' || wanted[4], '');
            perform velro_auth.remember(
                migration, 'column public.users.' || wanted[1],
                format('alter table public.users drop column %I', wanted[1]), true);
        elsif wanted[4] is not null and not held.atthasdef then
            execute format('alter table public.users alter column %I set default %s', wanted[1], wanted[4]);
            perform velro_auth.remember(
                migration, 'default of public.users.' || wanted[1],
                format('alter table public.users alter column %I drop default', wanted[1]));
        end if;
    end loop;
end;
$$;

do $$
begin
    if not exists (
        select from pg_constraint
        where conrelid = 'public.users'::regclass and conname = 'users_credits_balance_not_negative'
    ) then
        alter table public.users add constraint users_credits_balance_not_negative
            check (credits_balance >= 0) not valid;
        perform velro_auth.remember(
            '20261122100200', 'constraint users_credits_balance_not_negative',
            'alter table public.users drop constraint if exists users_credits_balance_not_negative');
    end if;
end;
$$;

do $$
declare
    required text;
    others text;
begin
    -- Our own inserts name id, email, display_name, avatar_url and created_at; whatever else must not be null
    -- keeps new users out of this table (never out of the project).
    select string_agg(a.attname, ', ' order by a.attnum) into required
    from pg_attribute a
    where a.attrelid = 'public.users'::regclass and a.attnum > 0 and not a.attisdropped and a.attnotnull
      and not a.atthasdef and a.attidentity = '' and a.attname not in ('id', 'created_at');
    if required is not null then
        raise warning 'public.users requires a value in: %. Users without one get no row here', required;
    end if;
    select string_agg(format('"%s"', p.policyname), ', ' order by p.policyname) into others
    from pg_policies p
    where p.schemaname = 'public' and p.tablename = 'users' and p.permissive = 'PERMISSIVE'
      and p.roles && '{public,anon,authenticated}'
      and p.policyname not in ('Users can view self', 'Users can insert self', 'Users can update self');
    if others is not null then
        raise warning 'public.users has policies of yours, which may show or open more than the own row: %', others;
    end if;
end;
$$;

-- Row level security binds who comes through the data API; this guard binds them again, column by column, so
-- that a later "grant all" or a generous policy gives nobody another role, more credits or another's mail.
create or replace function velro_auth.guard_user() returns trigger
language plpgsql set search_path = '' as $$
declare
    standard record;
    forced jsonb;
begin
    if tg_op = 'UPDATE' and new.updated_at is not distinct from old.updated_at then
        new.updated_at := now();
    end if;
    -- Trusted: the owner (our own triggers run as it), and roles that row level security does not bind.
    if pg_has_role((select c.relowner from pg_class c where c.oid = tg_relid), 'usage')
        or (select r.rolbypassrls or r.rolsuper from pg_roles r where r.rolname = current_user)
    then
        return new;
    end if;
    if tg_op = 'INSERT' then
        new.email := null;  -- mirrored from auth.users, never told by the caller
        for standard in
            select a.attname, pg_get_expr(d.adbin, d.adrelid) as expression
            from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
            where d.adrelid = tg_relid
              and a.attname in ('role', 'credits_balance', 'is_active', 'created_at', 'updated_at')
        loop
            execute format('select jsonb_build_object(%L, %s)', standard.attname, standard.expression) into forced;
            new := jsonb_populate_record(new, forced);
        end loop;
    elsif (new.id, new.email, new.role, new.credits_balance, new.is_active, new.created_at)
        is distinct from (old.id, old.email, old.role, old.credits_balance, old.is_active, old.created_at)
    then
        raise insufficient_privilege using
            message = 'id, email, role, credits_balance, is_active and created_at are not yours to change';
    end if;
    return new;
end;
$$;
create or replace function velro_auth.guard_truncate() returns trigger
language plpgsql set search_path = '' as $$
begin
    -- Row level security does not cover TRUNCATE, and a blanket grant includes it.
    raise insufficient_privilege using message = 'public.users is not yours to empty';
end;
$$;
revoke all on function velro_auth.guard_user(), velro_auth.guard_truncate()
    from public, anon, authenticated, service_role;

do $$
begin
    if not exists (
        select from pg_trigger where tgrelid = 'public.users'::regclass and tgname = 'velro_auth_guard_user'
    ) then
        create trigger velro_auth_guard_user before insert or update on public.users
            for each row execute function velro_auth.guard_user();
    end if;
    if not exists (
        select from pg_trigger where tgrelid = 'public.users'::regclass and tgname = 'velro_auth_guard_truncate'
    ) then
        create trigger velro_auth_guard_truncate before truncate on public.users
            when (current_user in ('anon', 'authenticated')) execute function velro_auth.guard_truncate();
    end if;
end;
$$;

do $$
declare
    migration constant text := '20261122100200';
    ours constant name[] := '{id,email,display_name,avatar_url,role,credits_balance,is_active,created_at,updated_at}';
    is_ours boolean := exists (
        select from velro_auth.undo where undo.migration = '20261122100200' and subject = 'table public.users');
    api constant text[] := '{public,anon,authenticated,service_role}';
    -- Grantee, privilege and column; a grant on a column that is not ours was meant, and stays.
    wanted constant text[] := '{
        authenticated SELECT, authenticated INSERT id, authenticated INSERT display_name,
        authenticated INSERT avatar_url, authenticated UPDATE display_name, authenticated UPDATE avatar_url,
        service_role SELECT, service_role INSERT, service_role UPDATE, service_role DELETE}';
    lost text;
    kept text;
begin
    if not is_ours then
        perform velro_auth.remember(
            migration, 'rights on public.users',
            'revoke all on public.users from public, anon, authenticated, service_role; '
                || velro_auth.grants('public.users'));
    end if;

    if not (select c.relrowsecurity from pg_class c where c.oid = 'public.users'::regclass) then
        alter table public.users enable row level security;
        if not is_ours then
            perform velro_auth.remember(migration, 'row level security of public.users',
                                        'alter table public.users disable row level security');
        end if;
    end if;

    -- (select …): asked once per statement and not once per row.
    perform velro_auth.put_policy(migration, 'Users can view self', 'select', 'authenticated',
                                  '(select auth.uid()) = id', null);
    perform velro_auth.put_policy(migration, 'Users can insert self', 'insert', 'authenticated',
                                  null, '(select auth.uid()) = id');
    perform velro_auth.put_policy(migration, 'Users can update self', 'update', 'authenticated',
                                  '(select auth.uid()) = id', '(select auth.uid()) = id');

    select string_agg(format('grant %s (%I) on public.users to authenticated', r.privilege, r.column_name), '; ')
    into kept
    from velro_auth.rights('public.users') r
    where r.grantee = 'authenticated' and r.column_name <> all (ours);

    if exists (
        select from velro_auth.rights('public.users') r
        where r.grantee = any (api)
          and (r.is_grantable or concat_ws(' ', r.grantee, r.privilege, r.column_name) <> all (wanted))
          and not (r.grantee = 'authenticated' and coalesce(r.column_name <> all (ours), false))
    ) then
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into lost
        from pg_attribute a
        where a.attrelid = 'public.users'::regclass and a.attnum > 0 and not a.attisdropped
          and a.attname <> all (ours) and has_table_privilege('authenticated', 'public.users', 'update');
        if lost is not null then
            raise warning 'authenticated may no longer write public.users (%): grant it by column if it should', lost;
        end if;
        -- On a table this takes the column grants too.
        revoke all on public.users from public, anon, authenticated, service_role;
    end if;
    grant select, insert (id, display_name, avatar_url), update (display_name, avatar_url)
        on public.users to authenticated;
    grant select, insert, update, delete on public.users to service_role;
    if kept is not null then
        execute kept;
    end if;
end;
$$;
