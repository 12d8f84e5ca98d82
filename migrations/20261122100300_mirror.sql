-- Every user of auth.users gets a row in public.users, and the row follows the mail and the deletion.
--
-- Nothing here may keep anybody from signing up: what fails is a warning in the log of the database, and
-- `velro-auth db backfill` mends it. The triggers and the foreign key come last, because they hold back
-- sign-ups until the transaction ends.

-- Bring the rows of these users up to date; the one place that knows how. Display data only comes from
-- raw_user_meta_data, which users write themselves: never a role, never credits.
--
-- The two planner settings make every batch look its rows up by the primary key. Left alone, the planner reads the
-- whole of public.users for each batch: the back-fill of a million users then takes five times as long.
create or replace function velro_auth.mirror_users(ids uuid[])
returns bigint language plpgsql
set search_path = '' set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    inserted bigint;
    mailed bigint;
    blanked bigint;
begin
    insert into public.users (id, email, display_name, avatar_url, created_at)
    select a.id, shown.email, shown.display_name, shown.avatar_url, coalesce(a.created_at, now())
    from auth.users a
    left join lateral (
        select a.email,
               nullif(left(btrim(coalesce(meta ->> 'display_name', meta ->> 'full_name', meta ->> 'name')), 100), ''),
               case when picture like 'https://%' and length(picture) <= 2000 then picture end
        from (select a.raw_user_meta_data) m (meta),
             coalesce(meta ->> 'avatar_url', meta ->> 'picture') picture
    ) shown (email, display_name, avatar_url) on a.deleted_at is null
    where a.id = any (ids) and not exists (select from public.users u where u.id = a.id)
    on conflict (id) do nothing;
    get diagnostics inserted = row_count;

    update public.users u set email = a.email
    from auth.users a
    where a.id = any (ids) and a.deleted_at is null and u.id = a.id and u.email::text is distinct from a.email::text;
    get diagnostics mailed = row_count;

    -- A soft deletion keeps the row of auth.users without its data.
    update public.users u set email = null, display_name = null, avatar_url = null, is_active = false
    from auth.users a
    where a.id = any (ids) and a.deleted_at is not null and u.id = a.id
      and (u.is_active is distinct from false or num_nonnulls(u.email, u.display_name, u.avatar_url) > 0);
    get diagnostics blanked = row_count;

    return inserted + mailed + blanked;
end;
$$;

create table if not exists velro_auth.backfill_state (
    only_row boolean primary key default true check (only_row),
    last_id uuid not null,
    scanned bigint not null,
    written bigint not null,
    failed bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz
);
revoke all on velro_auth.backfill_state from public, anon, authenticated, service_role;
comment on table velro_auth.backfill_state is 'How far velro_auth.backfill_users() has come.';

-- Mirror the next users, in the order of their ids; starts over when the last run was finished.
-- In the SQL editor: repeat `select * from velro_auth.backfill_users(2000)` until finished_at is set.
create or replace function velro_auth.backfill_users(batch_size integer)
returns velro_auth.backfill_state language plpgsql set search_path = '' as $$
declare
    state velro_auth.backfill_state;
    ids uuid[];
    id uuid;
    problem text;
begin
    insert into velro_auth.backfill_state values (
        true, '00000000-0000-0000-0000-000000000000', 0, 0, 0, clock_timestamp(), null)
    on conflict (only_row) do update
        set last_id = excluded.last_id, scanned = 0, written = 0, failed = 0,
            started_at = excluded.started_at, finished_at = null
        where backfill_state.finished_at is not null;
    -- Two at once take turns.
    select * into state from velro_auth.backfill_state for update;

    select array_agg(batch.id order by batch.id) into ids
    from (select a.id from auth.users a where a.id > state.last_id order by a.id limit batch_size) batch;
    begin
        state.written := state.written + velro_auth.mirror_users(ids);
    exception when others then
        -- One bad row must not keep the others out.
        foreach id in array ids loop
            begin
                state.written := state.written + velro_auth.mirror_users(array[id]);
            exception
                when lock_not_available or deadlock_detected or serialization_failure then
                    raise;  -- not the row's fault, and it passes: the whole batch is tried again
                when others then
                    state.failed := state.failed + 1;
                    problem := sqlerrm;
            end;
        end loop;
        raise warning 'velro-auth: % rows of public.users could not be written so far: %', state.failed, problem;
    end;

    state.scanned := state.scanned + coalesce(cardinality(ids), 0);
    state.last_id := coalesce(ids[cardinality(ids)], state.last_id);
    state.finished_at := case when coalesce(cardinality(ids), 0) < batch_size then clock_timestamp() end;
    update velro_auth.backfill_state s
    set last_id = state.last_id, scanned = state.scanned, written = state.written, failed = state.failed,
        finished_at = state.finished_at;
    return state;
end;
$$;

-- A function of this name that was there before is noted, with its rights and triggers.
select velro_auth.remember(
    '20261122100300', 'function public.handle_new_auth_user()',
    'drop function if exists public.handle_new_auth_user() cascade; '
        || velro_auth.definition(to_regprocedure('public.handle_new_auth_user()')));

-- Security definer: the auth server, which inserts, has no rights on public.users. An empty search_path: its own
-- is "auth", where "users" would mean auth.users. The lock timeout bounds what a lock on public.users costs a sign-up.
create or replace function public.handle_new_auth_user() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
begin
    perform velro_auth.mirror_users(array[new.id]);
    return null;
exception when others then
    -- The message could quote a value: personal data does not belong into a log.
    raise warning 'velro-auth: public.users did not follow auth.users (%): run velro-auth db backfill', sqlstate;
    return null;
end;
$$;

-- A function of its own, so that dropping the one above with its trigger is a complete rollback of sign-ups.
create or replace function velro_auth.handle_changed_auth_user() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
begin
    perform velro_auth.mirror_users(array[new.id]);
    return null;
exception when others then
    raise warning 'velro-auth: public.users did not follow auth.users (%): run velro-auth db backfill', sqlstate;
    return null;
end;
$$;

-- The inserting role needs no EXECUTE on a trigger's function.
revoke all on function public.handle_new_auth_user() from public, anon, authenticated, service_role, supabase_auth_admin;
revoke all on all functions in schema velro_auth from public, anon, authenticated, service_role;

-- Created if missing and never dropped: dropping a trigger takes the owner of auth.users, creating one does not.
do $$
declare
    wanted record;
    held regprocedure;
begin
    for wanted in select * from (values
        ('on_auth_user_created', 'public.handle_new_auth_user()',
         'after insert on auth.users for each row'),
        ('on_auth_user_changed', 'velro_auth.handle_changed_auth_user()',
         -- Every login updates auth.users; only these two columns concern us.
         'after update of email, deleted_at on auth.users for each row
          when (old.email is distinct from new.email or old.deleted_at is distinct from new.deleted_at)')
    ) as v (name, function, event) loop
        select t.tgfoid into held from pg_trigger t
        where t.tgrelid = 'auth.users'::regclass and t.tgname = wanted.name;
        if held is null then
            execute format('create trigger %I %s execute function %s', wanted.name, wanted.event, wanted.function);
        elsif held <> wanted.function::regprocedure then
            raise exception using errcode = 'VA001',
                message = format('auth.users has a trigger %s of yours, which calls %s', wanted.name, held),
                hint = format('Drop it first: drop trigger %s on auth.users, or drop the function with cascade.', wanted.name);
        end if;
    end loop;

    if not exists (
        select from pg_constraint c
        where c.conrelid = 'public.users'::regclass and c.confrelid = 'auth.users'::regclass and c.contype = 'f'
          and c.conkey = array[(select a.attnum from pg_attribute a where a.attrelid = c.conrelid and a.attname = 'id')]
    ) then
        -- Not validated: looking at every row would hold back sign-ups. The next migration does that.
        alter table public.users add constraint users_id_auth_users_fkey
            foreign key (id) references auth.users (id) on delete cascade not valid;
        perform velro_auth.remember(
            '20261122100300', 'constraint users_id_auth_users_fkey',
            'alter table public.users drop constraint if exists users_id_auth_users_fkey');
    end if;
end;
$$;
