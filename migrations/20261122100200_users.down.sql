-- Removes the policies "Users can view self", "Users can insert self" and "Users can update self", the guard and
-- the grants, and restores what a table of yours had before. A table or column that we made stays, closed to
-- the data API, unless velro.drop_data is 'on'.

drop trigger if exists velro_auth_guard_user on public.users;
drop function if exists velro_auth.guard_user();
drop trigger if exists velro_auth_guard_truncate on public.users;
drop function if exists velro_auth.guard_truncate();

do $$
begin
    if exists (select from velro_auth.undo where migration = '20261122100200' and subject = 'table public.users') then
        revoke all on public.users from public, anon, authenticated, service_role;
    end if;
end;
$$;

select velro_auth.undo_migration('20261122100200');
