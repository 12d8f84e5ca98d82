-- Removes the token hook with its policy and grants.
--
-- Switch the hook off in the project first (Authentication, Hooks): with it on and the function gone, no token
-- can be issued and nobody can log in.

do $$
begin
    if to_regnamespace('velro_auth') is not null then
        revoke usage on schema velro_auth from supabase_auth_admin;
    end if;
end;
$$;
drop function if exists velro_auth.custom_access_token_hook(jsonb);
select velro_auth.undo_migration('20261122100500');
