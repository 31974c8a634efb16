#!/bin/sh
# Makes new random secrets, for one of two:
#   deploy/make-secrets.sh kubernetes | kubectl create -f -     the Secrets that deploy/kubernetes refers to
#   deploy/make-secrets.sh compose                              the folder deploy/secrets, for deploy/compose.yaml
# Once: neither takes the place of what is there, for new values end every session and change every user's SSH key.
# Alertmanager's two come from files, where they are given: SMTP_PASSWORD_FILE=… SLACK_URL_FILE=… deploy/make-secrets.sh …
set -eu
umask 077
here=$(dirname "$0")
what=${1:-}
case "$what" in
  kubernetes) ;;
  compose)
    [ ! -e "$here/secrets" ] || { echo "make-secrets.sh: $here/secrets is there already" >&2; exit 1; }
    ;;
  *) echo "make-secrets.sh: say kubernetes or compose" >&2; exit 2 ;;
esac
command -v openssl > /dev/null || { echo "make-secrets.sh: openssl is missing" >&2; exit 1; }

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# Without an end of line, which some readers take for a part of it.
random() { openssl rand -hex 32 | tr -d '\n'; }
redis=$(random)
replication=$(random)
sentinel=$(random)

mkdir "$made/tunnel" "$made/tunnel-redis" "$made/tunnel-alerting"
for name in jwt master cluster metrics-token; do random > "$made/tunnel/$name"; done
printf %s "redis://tunnel:$redis@redis:6379/0" > "$made/tunnel/redis-url"

# Who has no password may ask whether Redis is there. The proxy's rights: docs/CONFIGURATION.md.
cat > "$made/tunnel-redis/users.acl" << EOF
user default on nopass -@all +ping
user tunnel on >$redis ~ssh-websocket-tunnel:* &ssh-websocket-tunnel:* -@all +@read +@write +@scripting +@pubsub +@connection +time +info
user replica on >$replication -@all +psync +replconf +ping
user sentinel on >$sentinel &* -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
EOF
# Of the overlay ha.
cat > "$made/tunnel-redis/replication.conf" << EOF
masteruser replica
masterauth $replication
EOF
cat > "$made/tunnel-redis/sentinel.conf" << EOF
sentinel auth-user mymaster sentinel
sentinel auth-pass mymaster $sentinel
EOF

if [ -n "${SMTP_PASSWORD_FILE:-}" ] && [ -n "${SLACK_URL_FILE:-}" ]; then
  cp "$SMTP_PASSWORD_FILE" "$made/tunnel-alerting/smtp-password"
  cp "$SLACK_URL_FILE" "$made/tunnel-alerting/slack-url"
else
  echo "make-secrets.sh: Alertmanager gets no secrets, and can tell nobody: give SMTP_PASSWORD_FILE and SLACK_URL_FILE" >&2
fi

if [ "$what" = compose ]; then
  random > "$made/grafana-password"
  mkdir "$made/tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=tunnel.example.com \
    -addext subjectAltName=DNS:tunnel.example.com,DNS:localhost,IP:127.0.0.1 \
    -keyout "$made/tls/privkey.pem" -out "$made/tls/fullchain.pem" 2> /dev/null
  # The containers' users read them; nobody else gets into the folder.
  find "$made" -type f -exec chmod 444 {} + -o -type d -exec chmod 755 {} +
  mkdir "$here/secrets"
  cp -R "$made/." "$here/secrets/"
  chmod 700 "$here/secrets"
  echo "make-secrets.sh: secrets/tls has a certificate to try it with: put yours in its place" >&2
  exit
fi

for secret in tunnel tunnel-redis tunnel-alerting; do
  [ -n "$(ls "$made/$secret")" ] || continue
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: tunnel\ndata:\n' "$secret"
  for file in "$made/$secret"/*; do
    printf '  %s: %s\n' "$(basename "$file")" "$(openssl base64 -A < "$file")"
  done
done
