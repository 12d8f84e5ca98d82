-- Lets users list and end their own sessions through the data API, and only these.
--
-- The functions are in public, because the data API calls functions of exposed schemas only. They run as their owner,
-- because users may not read the schema auth. What they believe is the verified token alone: auth.uid(), auth.jwt().

do $$
declare
    other regprocedure := (
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace
          and p.proname in ('velro_auth_sessions', 'velro_auth_end_session')
          and coalesce(obj_description(p.oid, 'pg_proc'), '') not like 'velro-auth: %'
        order by p.oid limit 1);
begin
    if other is not null then
        raise exception using errcode = 'VA001',
            message = format('a function %s of yours has the name of one of ours', other),
            hint = format('Rename it: alter function %s rename to %I', other,
                          'own_' || (select p.proname from pg_proc p where p.oid = other));
    end if;
    if not has_table_privilege('auth.sessions', 'select') or not has_table_privilege('auth.sessions', 'delete')
        or not has_table_privilege('auth.mfa_factors', 'select')
    then
        raise exception using errcode = 'VA001',
            message = format('the role %I may not read and delete auth.sessions and read auth.mfa_factors', current_user),
            hint = 'Run the migrations as the role postgres.';
    end if;
end;
$$;

-- The id of the caller's session. Raises where it has ended (PT401, which the data API answers with 401), and where the
-- token lacks the second factor of a user who has one, or belongs to an application of Supabase's OAuth server (PT403).
create or replace function velro_auth.live_session()
returns uuid language plpgsql stable set search_path = '' as $$
declare
    claims jsonb := coalesce(auth.jwt(), '{}');
    own uuid;
begin
    select s.id into own from auth.sessions s
    where s.id = case when claims ->> 'session_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                      then (claims ->> 'session_id')::uuid end
      and s.user_id = auth.uid() and (s.not_after is null or s.not_after > now());
    if own is null then
        raise sqlstate 'PT401' using message = 'session_not_found', hint = 'Log in again.';
    end if;
    if claims ? 'client_id' then
        raise sqlstate 'PT403' using message = 'oauth_client', hint = 'Use a token of the user''s own login.';
    end if;
    if coalesce(claims ->> 'aal', '') not in ('aal2', 'aal3')
        and exists (select from auth.mfa_factors f where f.user_id = auth.uid() and f.status = 'verified')
    then
        raise sqlstate 'PT403' using message = 'insufficient_aal', hint = 'Log in with the second factor.';
    end if;
    return own;
end;
$$;

-- The caller's sessions: the own one first, then the 100 that were used last; or the one with the id only_id.
create or replace function public.velro_auth_sessions(only_id uuid default null)
returns table (
    id uuid, created_at timestamptz, last_used_at timestamptz, aal text, is_current boolean, ip text, user_agent text
) language plpgsql stable security definer set search_path = '' as $$
declare
    own uuid := velro_auth.live_session();
begin
    return query
        select s.id, s.created_at, greatest(s.created_at, s.refreshed_at at time zone 'UTC'),
               coalesce(s.aal::text, 'aal1'), s.id = own, host(s.ip), left(s.user_agent, 500)
        from auth.sessions s
        where s.user_id = auth.uid() and (s.not_after is null or s.not_after > now())
          and (only_id is null or s.id = only_id)
        order by s.id = own desc, 3 desc
        limit 101;
end;
$$;
comment on function public.velro_auth_sessions(uuid) is 'velro-auth: lists the sessions of the caller.';

-- End one of the caller's sessions; false where the caller has none with this id.
create or replace function public.velro_auth_end_session(session_id uuid)
returns boolean language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
begin
    perform velro_auth.live_session();
    delete from auth.sessions s where s.id = velro_auth_end_session.session_id and s.user_id = auth.uid();
    return found;
end;
$$;
comment on function public.velro_auth_end_session(uuid) is 'velro-auth: ends a session of the caller.';

revoke all on function velro_auth.live_session() from public, anon, authenticated, service_role;
revoke all on function public.velro_auth_sessions(uuid), public.velro_auth_end_session(uuid)
    from public, anon, authenticated, service_role, supabase_auth_admin;
grant execute on function public.velro_auth_sessions(uuid), public.velro_auth_end_session(uuid) to authenticated;

-- The data API reads the list of functions anew.
notify pgrst, 'reload schema';
