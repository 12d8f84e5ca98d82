-- Sign-ups go through beside more constraints of the project, and a back-fill counts each row once.
--
-- A constraint that is checked at the end of the transaction, and an assertion in a trigger of the project, used to
-- fail the sign-up: the first is checked too late for our exception block, the second is no "others".

-- As before, but for the count, which is that of different rows, and the deferred constraints.
create or replace function velro_auth.mirror_users(ids uuid[])
returns bigint language plpgsql
set search_path = '' set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    touched uuid[];
    changed uuid[];
    deferred name;
begin
    with made as (
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
        on conflict (id) do nothing
        returning id
    )
    select array_agg(made.id) into touched from made;

    with mailed as (
        update public.users u set email = a.email
        from auth.users a
        where a.id = any (ids) and a.deleted_at is null and u.id = a.id and u.email::text is distinct from a.email::text
        returning u.id
    )
    select array_agg(mailed.id) into changed from mailed;
    touched := touched || changed;

    -- A soft deletion keeps the row of auth.users without its data.
    with blanked as (
        update public.users u set email = null, display_name = null, avatar_url = null, is_active = false
        from auth.users a
        where a.id = any (ids) and a.deleted_at is not null and u.id = a.id
          and (u.is_active is distinct from false or num_nonnulls(u.email, u.display_name, u.avatar_url) > 0)
        returning u.id
    )
    select array_agg(blanked.id) into changed from blanked;
    touched := touched || changed;

    -- What is checked at the end of the transaction would fail the sign-up there. Checked here it fails only this row.
    if touched is not null then
        for deferred in
            select c.conname from pg_constraint c where c.conrelid = 'public.users'::regclass and c.condeferred
        loop
            execute format('set constraints public.%I immediate', deferred);
            execute format('set constraints public.%I deferred', deferred);
        end loop;
    end if;

    return (select count(distinct one) from unnest(touched) one);
end;
$$;

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
    exception when others or assert_failure then
        -- One bad row must not keep the others out.
        foreach id in array ids loop
            begin
                state.written := state.written + velro_auth.mirror_users(array[id]);
            exception
                when lock_not_available or deadlock_detected or serialization_failure then
                    raise;  -- not the row's fault, and it passes: the whole batch is tried again
                when others or assert_failure then
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

create or replace function public.handle_new_auth_user() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
begin
    perform velro_auth.mirror_users(array[new.id]);
    return null;
exception when others or assert_failure then
    -- The message could quote a value: personal data does not belong into a log.
    raise warning 'velro-auth: public.users did not follow auth.users (%): run velro-auth db backfill', sqlstate;
    return null;
end;
$$;

create or replace function velro_auth.handle_changed_auth_user() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
begin
    perform velro_auth.mirror_users(array[new.id]);
    return null;
exception when others or assert_failure then
    raise warning 'velro-auth: public.users did not follow auth.users (%): run velro-auth db backfill', sqlstate;
    return null;
end;
$$;

revoke all on function public.handle_new_auth_user() from public, anon, authenticated, service_role, supabase_auth_admin;
revoke all on function velro_auth.mirror_users(uuid[]), velro_auth.backfill_users(integer), velro_auth.handle_changed_auth_user()
    from public, anon, authenticated, service_role;
