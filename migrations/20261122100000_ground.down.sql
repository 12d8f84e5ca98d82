-- Removes the private schema of velro-auth, unless something in it is still needed: rows of velro_auth.undo
-- that say how to drop kept data, or the runner's history (the runner then removes both itself).

drop function if exists velro_auth.put_policy(text, text, text, name, text, text);
drop function if exists velro_auth.definition(regprocedure);
drop function if exists velro_auth.grants(regclass, text[]);
drop function if exists velro_auth.rights(regclass);
drop function if exists velro_auth.undo_migration(text);
drop function if exists velro_auth.remember(text, text, text, boolean);

do $$
begin
    if to_regclass('velro_auth.undo') is not null then
        if exists (select from velro_auth.undo) then
            raise notice 'kept: the table velro_auth.undo, which remembers what kept data belongs to us';
            return;
        end if;
        drop table velro_auth.undo;
    end if;
    if to_regnamespace('velro_auth') is not null
        and not exists (select from pg_class where relnamespace = 'velro_auth'::regnamespace)
    then
        drop schema velro_auth;
    end if;
end;
$$;
