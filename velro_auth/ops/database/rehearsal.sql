-- Rehearses the life of a user: sign-up, change of mail, profile update, soft deletion, deletion. Every step is rolled
-- back. The two functions are in pg_temp; the transaction of the caller creates them and rolls them back.
--
-- One call runs all steps, because sign-ups wait while a rehearsal holds locks: no step costs a round trip.

-- Run one step as the role that runs it in production: the auth server, or a user of the data API.
create function pg_temp.velro_auth_step(step text, kind text, person uuid) returns void language plpgsql as $step$
declare
    word constant text := 'rehearsal-' || left(person::text, 8);
    meta constant jsonb := jsonb_build_object(
        'name', word, 'full_name', word, 'display_name', word, 'first_name', word, 'last_name', word,
        'username', word, 'user_name', word, 'nickname', word,
        'avatar_url', 'https://velro-auth.invalid/a', 'picture', 'https://velro-auth.invalid/a');
    fields jsonb := jsonb_build_object(
        'instance_id', '00000000-0000-0000-0000-000000000000', 'id', person, 'aud', 'authenticated', 'role', '',
        'raw_app_meta_data', '{"provider": "email", "providers": ["email"]}'::jsonb,
        'raw_user_meta_data', case kind when 'anonymous' then '{}'::jsonb else meta end,
        'created_at', now(), 'updated_at', now(), 'confirmation_token', '', 'recovery_token', '', 'email_change', '',
        'email_change_token_new', '', 'is_sso_user', kind = 'sso', 'is_anonymous', kind = 'anonymous');
    names text;
    changed bigint;
begin
    if kind in ('mail', 'sso') then
        fields := fields || jsonb_build_object('email', word || '@velro-auth.invalid');
    elsif kind = 'phone' then
        fields := fields || jsonb_build_object('phone', '999' || (random() * 1e12)::bigint);
    end if;
    begin
        if step like 'profile update of %' then
            perform set_config('request.jwt.claims',
                               jsonb_build_object('sub', person, 'role', 'authenticated')::text, true);
            perform set_config('role', 'authenticated', true);
        else
            perform set_config('role', 'supabase_auth_admin', true);
        end if;
    exception when insufficient_privilege or invalid_parameter_value then
        -- This role may not act as that role. A security definer function acts the same for both.
        if step like 'profile update of %' then
            return;
        end if;
    end;
    -- The search_path of the auth server.
    perform set_config('search_path', 'auth', true);

    case split_part(step, ' of ', 1)
    when 'sign-up' then
        select string_agg(quote_ident(a.attname), ', ') into names from pg_attribute a
        where a.attrelid = 'auth.users'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
          and fields ? a.attname;
        execute format('insert into auth.users (%1$s) select %1$s from jsonb_populate_record(null::auth.users, $1)', names)
        using fields;
        if kind <> 'anonymous' and has_table_privilege(to_regclass('auth.identities'), 'insert') then
            insert into auth.identities (provider_id, user_id, identity_data, provider, created_at, updated_at)
            values (person::text, person, meta || jsonb_build_object('sub', person), kind, now(), now());
        end if;
        update auth.users
        set role = 'authenticated', raw_user_meta_data = raw_user_meta_data || jsonb_build_object('sub', person),
            email_confirmed_at = case when email is not null then now() end, last_sign_in_at = now(), updated_at = now()
        where id = person;
    when 'change' then
        update auth.users set email = 'new-' || word || '@velro-auth.invalid', updated_at = now() where id = person;
    when 'soft deletion' then
        update auth.users set deleted_at = now(), email = md5(word), phone = null, updated_at = now() where id = person;
    when 'deletion' then
        delete from auth.users where id = person;
    when 'profile update' then
        execute format('update public.users set %1$I = %1$I where id = $1', substr(step, length('profile update of ') + 1))
        using person;
        get diagnostics changed = row_count;
        if changed <> 1 then
            raise exception 'row level security hides the own row from the user';
        end if;
    end case;

    begin
        set constraints all immediate;  -- what the end of the transaction checks
        raise exception using errcode = 'VA002';
    exception when sqlstate 'VA002' then null;
    end;
end;
$step$;

-- Rehearse, and return {"steps": {"<kind>: <step>": null or the error}, "rows": {"<kind>": columns with a value}}.
create function pg_temp.velro_auth_rehearse() returns jsonb language plpgsql as $rehearse$
declare
    ours constant name[] := '{id,email,display_name,avatar_url,role,credits_balance,is_active,created_at,updated_at}';
    profiles constant regclass := to_regclass('public.users');
    steps jsonb := '{}';
    held_rows jsonb := '{}';
    kind text;
    step text;
    person uuid;
    profile jsonb;
    own text[];
    message text;
    code text;
    table_schema text;
    error_table text;
    context text;
begin
    select array_agg('profile update of ' || a.attname order by a.attnum) into own
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.oid = profiles and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      and a.attidentity <> 'a' and a.attname <> all (ours)
      -- Without an id of this type there is no own row.
      and exists (select from pg_attribute i where i.attrelid = c.oid and i.attname = 'id' and i.atttypid = 'uuid'::regtype);

    foreach kind in array '{mail,phone,anonymous,sso}'::text[] loop
        person := gen_random_uuid();
        begin
            perform pg_temp.velro_auth_step('sign-up', kind, person);
            perform set_config('role', 'none', true), set_config('search_path', '', true);
            steps := steps || jsonb_build_object(kind || ': sign-up', null);
            profile := null;
            if profiles is not null then
                begin
                    execute format('select to_jsonb(u) from %s u where u.id::text = $1', profiles)
                    into profile using person::text;
                exception when undefined_column or insufficient_privilege then null;
                end;
            end if;
            held_rows := held_rows || jsonb_build_object(kind, (
                select jsonb_agg(held.key order by held.key) from jsonb_each(profile) held where held.value <> 'null'));

            foreach step in array '{change of mail,soft deletion,deletion}'::text[]
                || case when kind = 'mail' and profile is not null then own end
            loop
                begin
                    perform pg_temp.velro_auth_step(step, kind, person);
                    raise exception using errcode = 'VA002';
                exception
                    when sqlstate 'VA002' then
                        steps := steps || jsonb_build_object(kind || ': ' || step, null);
                    when lock_not_available or deadlock_detected or serialization_failure then
                        raise;  -- transient: the whole rehearsal is repeated
                    when others or assert_failure then
                        get stacked diagnostics message = message_text, code = returned_sqlstate, table_schema = schema_name,
                            error_table = table_name, context = pg_exception_context;
                        steps := steps || jsonb_build_object(kind || ': ' || step, jsonb_build_object(
                            'message', message, 'sqlstate', code, 'context', context,
                            'table', concat_ws('.', nullif(table_schema, ''), nullif(error_table, ''))));
                end;
            end loop;
            raise exception using errcode = 'VA002';
        exception
            when sqlstate 'VA002' then null;
            when lock_not_available or deadlock_detected or serialization_failure then
                raise;
            when others or assert_failure then
                get stacked diagnostics message = message_text, code = returned_sqlstate, table_schema = schema_name,
                    error_table = table_name, context = pg_exception_context;
                steps := steps || jsonb_build_object(kind || ': sign-up', jsonb_build_object(
                    'message', message, 'sqlstate', code, 'context', context,
                    'table', concat_ws('.', nullif(table_schema, ''), nullif(error_table, ''))));
        end;
    end loop;
    return jsonb_build_object('steps', steps, 'rows', held_rows);
end;
$rehearse$;
