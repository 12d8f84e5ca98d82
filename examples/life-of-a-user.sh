#!/usr/bin/env bash
# The life of a user, by curl: sign up, confirm, log in, forget the password, a second factor, another address,
# sessions, the end. It needs a running `AUTH_DEV_CONFIRM=mail make run`, bash, curl and python3:
#
#   bash examples/life-of-a-user.sh
#
# AUTH_URL names another gateway, VELRO_AUTH another program, DATA_DIR another folder of the local Supabase.
set -euo pipefail

program="${VELRO_AUTH:-.venv/bin/velro-auth}"
eval "$("$program" dev env ${DATA_DIR:+--data-dir "$DATA_DIR"})"
api="${AUTH_URL:?}/api/v1/auth"
name="ada-$RANDOM$RANDOM"
email="$name@example.com"
new_email="$name@example.org"
password="a first password 1!"
new_password="a second password 2!"

# call STATUS METHOD PATH [curl's options …]: prints the body, and stops the script at another status.
call() {
  local expected="$1" method="$2" path="$3" answer status
  shift 3
  answer="$(curl -sS -X "$method" -H 'Content-Type: application/json' -w '\n%{http_code}' "$@" "$api$path")"
  status="${answer##*$'\n'}"
  if [ "$status" != "$expected" ]; then
    echo "$method $path answered $status, not $expected: ${answer%$'\n'*}" >&2
    exit 1
  fi
  printf '%s' "${answer%$'\n'*}"
}

# get NAME …: prints a member of the JSON on stdin.
get() { python3 -c 'import functools,json,sys
step = lambda value, name: value[int(name) if isinstance(value, list) else name]
print(functools.reduce(step, sys.argv[1:], json.load(sys.stdin)))' "$@"; }

# mail ADDRESS TYPE MEMBER: prints a member of the newest mail of that type, which may take a moment to come.
mail() {
  for _ in {1..120}; do
    curl -sS "$SUPABASE_URL/mailbox.json?to=$1" | python3 -c 'import json,sys
mails = [mail for mail in json.load(sys.stdin) if mail["type"] == sys.argv[1]]
sys.exit(print(mails[0][sys.argv[2]]) if mails else 1)' "$2" "$3" && return
    sleep 0.5
  done
  echo "no mail of type $2 for $1" >&2
  return 1
}

# code SECRET: prints the code of an authenticator app now (RFC 6238).
code() { python3 -c 'import base64,hashlib,hmac,struct,sys,time
mac = hmac.digest(base64.b32decode(sys.argv[1]), struct.pack(">Q", int(time.time()) // 30), hashlib.sha1)
at = mac[-1] & 15
print(f"{(struct.unpack(chr(62) + chr(73), mac[at:at + 4])[0] & 0x7FFFFFFF) % 10**6:06}")' "$1"; }

login() { call "$1" POST /login -d "{\"email\": \"$2\", \"password\": \"$3\"}"; }
bearer() { printf 'Authorization: Bearer %s' "$1"; }

echo "1. Sign up"
confirms="$(curl -sS "$SUPABASE_URL/auth/v1/settings" -H "apikey: $SUPABASE_PUBLISHABLE_KEY" | get mailer_autoconfirm)"
if [ "$confirms" = True ]; then
  echo "This project confirms sign-ups by itself. Start it with: AUTH_DEV_CONFIRM=mail make run" >&2
  exit 1
fi
call 202 POST /signup -d "{\"email\": \"$email\", \"password\": \"$password\", \"full_name\": \"Ada\"}" >/dev/null
mail "$email" signup token_hash >/dev/null
login 401 "$email" "$password" | get code

echo "2. Read the mail, confirm"
call 200 POST /confirm -d "{\"token_hash\": \"$(mail "$email" signup token_hash)\", \"type\": \"signup\", \"password\": \"$password\"}" >/dev/null

echo "3. Log in"
session="$(login 200 "$email" "$password")"
user_id="$(get user id <<<"$session")"
call 200 GET /me -H "$(bearer "$(get access_token <<<"$session")")" | get full_name
login 401 "$email" "wrong" | get code

echo "4. Forget the password, set another one"
call 202 POST /password/forgot -d "{\"email\": \"$email\"}" >/dev/null
call 200 POST /password/reset -d "{\"token_hash\": \"$(mail "$email" recovery token_hash)\", \"password\": \"$new_password\"}" >/dev/null
login 401 "$email" "$password" | get code
call 401 GET /verify -H "$(bearer "$(get access_token <<<"$session")")" | get code
session="$(login 200 "$email" "$new_password")"
token="$(get access_token <<<"$session")"

echo "5. A second factor"
factor="$(call 201 POST /factors -H "$(bearer "$token")" -d '{"type": "totp", "friendly_name": "phone"}')"
factor_id="$(get id <<<"$factor")"
secret="$(get totp secret <<<"$factor")"
call 200 POST "/factors/$factor_id/verify" -H "$(bearer "$token")" -d "{\"code\": \"$(code "$secret")\"}" >/dev/null

echo "6. Log in with it"
session="$(login 200 "$email" "$new_password")"
token="$(get access_token <<<"$session")"
get mfa required <<<"$session"
call 403 GET '/verify?aal=aal2' -H "$(bearer "$token")" | get code
call 401 POST "/factors/$factor_id/verify" -H "$(bearer "$token")" -d '{"code": "000000"}' | get code
session="$(call 200 POST "/factors/$factor_id/verify" -H "$(bearer "$token")" -d "{\"code\": \"$(code "$secret")\"}")"
token="$(get access_token <<<"$session")"
call 200 GET '/verify?aal=aal2' -H "$(bearer "$token")" >/dev/null

echo "7. Another address"
call 200 PATCH /me -H "$(bearer "$token")" -d "{\"email\": \"$new_email\"}" >/dev/null
call 202 POST /confirm -d "{\"token_hash\": \"$(mail "$email" email_change token_hash)\", \"type\": \"email_change\"}" >/dev/null
call 200 POST /confirm -d "{\"token_hash\": \"$(mail "$new_email" email_change token_hash)\", \"type\": \"email_change\"}" >/dev/null
other="$(login 200 "$new_email" "$new_password")"

echo "8. List the sessions, end one"
other_token="$(get access_token <<<"$other")"
call 200 GET /verify -H "$(bearer "$other_token")" >/dev/null
sessions="$(call 200 GET /sessions -H "$(bearer "$token")")"
python3 -c 'import json,sys
for one in json.load(sys.stdin)["sessions"]: print("  ", one["created_at"], one["aal"], "this one" if one["is_current"] else "")' <<<"$sessions"
other_id="$(python3 -c 'import base64,json,sys
part = sys.argv[1].split(".")[1]
print(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["session_id"])' "$other_token")"
call 204 DELETE "/sessions/$other_id" -H "$(bearer "$token")" >/dev/null
call 401 GET /verify -H "$(bearer "$other_token")" | get code

echo "9. The administrator deletes the user"
curl -sS -f -X DELETE "$SUPABASE_URL/auth/v1/admin/users/$user_id" \
  -H "apikey: $SUPABASE_SECRET_KEY" -H "Authorization: Bearer $SUPABASE_SECRET_KEY" >/dev/null
login 401 "$new_email" "$new_password" | get code
echo "Done."
