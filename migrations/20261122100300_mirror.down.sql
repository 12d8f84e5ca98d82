-- Removes the triggers on_auth_user_created and on_auth_user_changed with their functions, the back-fill, and
-- the foreign key to auth.users. The rows of public.users stay. A function public.handle_new_auth_user() of
-- yours comes back with its triggers.
--
-- "cascade" takes the triggers along: it needs the owner of the function, not of auth.users.

drop function if exists velro_auth.handle_changed_auth_user() cascade;
select velro_auth.undo_migration('20261122100300');
drop function if exists velro_auth.backfill_users(integer);
drop function if exists velro_auth.mirror_users(uuid[]);
drop table if exists velro_auth.backfill_state;
