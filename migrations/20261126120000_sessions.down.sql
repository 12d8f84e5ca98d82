-- Removes the functions: users can no longer list and end their sessions. No session ends.

drop function if exists public.velro_auth_end_session(uuid);
drop function if exists public.velro_auth_sessions(uuid);
drop function if exists velro_auth.live_session();

notify pgrst, 'reload schema';
