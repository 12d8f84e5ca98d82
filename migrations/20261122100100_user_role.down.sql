-- Drops the type public.user_role where we made it and velro.drop_data is 'on'.
-- A label added to a type of yours stays: PostgreSQL cannot remove one.

select velro_auth.undo_migration('20261122100100');
