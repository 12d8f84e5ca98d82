-- Validates the constraints that the migrations before added unvalidated. Blocks no reader and no writer.
--
-- Rows that break one stay, with a warning: the constraint then holds for new rows only, and
-- velro_auth.validate_users() or `velro-auth db backfill` tries again when they are mended.

create or replace function velro_auth.validate_users()
returns void language plpgsql set search_path = '' as $$
declare
    name name;
begin
    for name in
        select c.conname from pg_constraint c
        where c.conrelid = 'public.users'::regclass and not c.convalidated
          and c.conname in ('users_credits_balance_not_negative', 'users_id_auth_users_fkey')
        order by c.conname
    loop
        begin
            execute format('alter table public.users validate constraint %I', name);
        exception when foreign_key_violation or check_violation then
            raise warning 'velro-auth: % stays not validated: public.users has % that break it', name,
                case name when 'users_id_auth_users_fkey' then 'rows without a user in auth.users'
                          else 'rows with credits below 0' end;
        end;
    end loop;
end;
$$;
revoke all on function velro_auth.validate_users() from public, anon, authenticated, service_role;

select velro_auth.validate_users();
