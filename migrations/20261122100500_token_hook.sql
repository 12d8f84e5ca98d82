-- The access token hook: writes public.users.role into the claim user_role of every token.
--
-- Switch it on in the project: Authentication, Hooks, Customize Access Token, with the address
-- pg-functions://postgres/velro_auth/custom_access_token_hook. Switch it off there before rolling this back:
-- with the function gone no token can be issued.

-- Never raises: an error here would lock everybody out. No row, a locked table or no rights mean no claim, and
-- no claim means the lowest role. Security invoker: nobody can ask through it for what they may not read.
create or replace function velro_auth.custom_access_token_hook(event jsonb)
returns jsonb language plpgsql security invoker set search_path = '' set lock_timeout = '1s' as $$
declare
    found_role text;
begin
    if jsonb_typeof(event -> 'claims') is distinct from 'object' then
        return event;
    end if;
    begin
        select u.role::text into found_role from public.users u where u.id = (event ->> 'user_id')::uuid;
    exception when others then
        raise warning 'velro-auth: the token hook could not read the role (%)', sqlstate;
    end;
    -- A claim of this name that came from elsewhere is not believed.
    event := jsonb_set(event, '{claims}', (event -> 'claims') - 'user_role');
    if found_role is not null then
        event := jsonb_set(event, '{claims,user_role}', to_jsonb(found_role));
    end if;
    return event;
end;
$$;
revoke all on function velro_auth.custom_access_token_hook(jsonb) from public, anon, authenticated, service_role;
grant execute on function velro_auth.custom_access_token_hook(jsonb) to supabase_auth_admin;
grant usage on schema velro_auth to supabase_auth_admin;

do $$
declare
    migration constant text := '20261122100500';
begin
    perform velro_auth.remember(
        migration, 'rights of supabase_auth_admin on public.users',
        'revoke all on public.users from supabase_auth_admin; '
            || velro_auth.grants('public.users', '{supabase_auth_admin}'));
    if not has_schema_privilege('supabase_auth_admin', 'public', 'usage') then
        grant usage on schema public to supabase_auth_admin;
        perform velro_auth.remember(migration, 'right of supabase_auth_admin on schema public',
                                    'revoke usage on schema public from supabase_auth_admin');
    end if;
    -- Without a policy row level security shows the hook an empty table, and the claim is silently missing.
    perform velro_auth.put_policy(migration, 'Auth server can read roles', 'select', 'supabase_auth_admin',
                                  'true', null);
end;
$$;
grant select (id, role) on public.users to supabase_auth_admin;
