-- The type of public.users.role. A project that has a type of this name keeps it and all its labels.
--
-- A migration of its own: a label that was added cannot be used in the same transaction.

do $$
declare
    migration constant text := '20261122100100';
    kind "char" := (select t.typtype from pg_type t where t.oid = to_regtype('public.user_role'));
begin
    if kind is null then
        create type public.user_role as enum ('viewer', 'editor', 'admin');
        perform velro_auth.remember(migration, 'type public.user_role', 'drop type public.user_role', true);
    elsif kind <> 'e' then
        raise exception using errcode = 'VA001',
            message = 'public.user_role exists and is not an enum',
            hint = 'Rename it: alter type public.user_role rename to old_user_role.';
    elsif not exists (
        select from pg_enum where enumtypid = 'public.user_role'::regtype and enumlabel = 'viewer'
    ) then
        alter type public.user_role add value 'viewer';
        raise warning 'public.user_role has a new label, viewer; PostgreSQL cannot remove a label again';
    end if;
end;
$$;
