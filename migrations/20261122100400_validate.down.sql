-- Removes the function. A validated constraint stays validated until its own migration drops it.

drop function if exists velro_auth.validate_users();
