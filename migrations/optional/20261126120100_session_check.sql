-- Optional: the data API refuses a token whose session has ended. Without it such a token is good until it expires.
--
-- A pre-request function of PostgREST: it runs at the start of each request of the data API, in the request's
-- transaction and as the caller's role. Storage, Realtime and Edge Functions do not call it.

do $$
declare
    other regprocedure := (
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proname = 'velro_auth_check_session'
          and coalesce(obj_description(p.oid, 'pg_proc'), '') not like 'velro-auth: %'
        order by p.oid limit 1);
begin
    if other is not null then
        raise exception using errcode = 'VA001',
            message = format('a function %s of yours has the name of one of ours', other),
            hint = format('Rename it: alter function %s rename to own_check_session', other);
    end if;
end;
$$;

-- Tokens without a session (API keys, tokens that a project signs itself) pass. PT401 becomes status 401.
create or replace function public.velro_auth_check_session()
returns void language plpgsql stable security definer set search_path = '' as $$
declare
    claims jsonb := auth.jwt();
begin
    if claims ? 'session_id' and not exists (
        select from auth.sessions s
        where s.id = case when claims ->> 'session_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                          then (claims ->> 'session_id')::uuid end
          and s.user_id = auth.uid() and (s.not_after is null or s.not_after > now())
    ) then
        raise sqlstate 'PT401' using message = 'session_not_found', hint = 'Log in again.';
    end if;
end;
$$;
comment on function public.velro_auth_check_session() is 'velro-auth: refuses tokens whose session has ended.';

-- Every role that the data API may take calls it, roles of the project's own too. It only looks at the caller's token.
revoke all on function public.velro_auth_check_session() from public, anon, authenticated, service_role;
grant execute on function public.velro_auth_check_session() to public;

do $$
declare
    closed text := (select string_agg(quote_ident(r.rolname), ', ' order by r.rolname) from pg_roles r
                    where r.rolname in ('anon', 'authenticated', 'service_role')
                      and not has_schema_privilege(r.oid, 'public', 'usage'));
    -- A setting for this database goes before one for all databases.
    present text := (select split_part(one, '=', 2) from pg_db_role_setting s, unnest(s.setconfig) one
                     where s.setrole = 'authenticator'::regrole and one like 'pgrst.db\_pre\_request=%'
                       and s.setdatabase in (0, (select d.oid from pg_database d where d.datname = current_database()))
                     order by s.setdatabase desc limit 1);
begin
    if closed is not null then
        raise exception using errcode = 'VA001',
            message = format('the schema public is closed to %s, so each of their requests would fail', closed),
            hint = format('grant usage on schema public to %s', closed);
    end if;
    if coalesce(present, '') = '' then
        begin
            execute format('alter role authenticator in database %I set pgrst.db_pre_request = %L',
                           current_database(), 'public.velro_auth_check_session');
        exception when insufficient_privilege then
            raise exception using errcode = 'VA001',
                message = format('the role %I may not set pgrst.db_pre_request of authenticator', current_user),
                hint = 'Run it as the role postgres of a hosted project, or as a superuser.';
        end;
        notify pgrst, 'reload config';
    elsif present <> 'public.velro_auth_check_session' and not exists (
        select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where format('%s.%s', n.nspname, p.proname) = present and p.prosrc like '%velro\_auth\_check\_session%'
    ) then
        raise warning 'sessions are not checked yet: the data API calls your function % before each request; add a line to it: perform public.velro_auth_check_session();', present;
    end if;
end;
$$;
