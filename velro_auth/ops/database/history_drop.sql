-- Drops the empty history, and the schema if nothing else is in it. Kept data keeps velro_auth.undo.

do $$
begin
    if not exists (select from velro_auth.schema_migrations) then
        drop table velro_auth.schema_migrations;
        if not exists (select from pg_class where relnamespace = 'velro_auth'::regnamespace) then
            drop schema velro_auth;
        end if;
    end if;
end;
$$
