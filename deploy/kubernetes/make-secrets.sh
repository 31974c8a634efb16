#!/bin/sh
# Prints the Secrets that the manifests refer to, with new random values. Make them once, before the first apply:
#   deploy/kubernetes/make-secrets.sh | kubectl create -f -
# `create` refuses what is there already: new values would end every session and change every user's SSH key.
# Alertmanager's come from two files, where there are any: SMTP_PASSWORD_FILE=… SLACK_URL_FILE=… make-secrets.sh
# Keep no copy of the output; the cluster has it.
set -eu
command -v openssl > /dev/null || { echo "make-secrets.sh: openssl is missing" >&2; exit 1; }

random() { openssl rand -hex 32; }
redis=$(random)
replication=$(random)
sentinel=$(random)
indented() { sed 's/^/    /' "$1"; }

cat << EOF
apiVersion: v1
kind: Secret
metadata:
  name: tunnel
  namespace: tunnel
stringData:
  jwt: $(random)
  master: $(random)
  cluster: $(random)
  metrics-token: $(random)
  redis-url: redis://tunnel:$redis@redis:6379/0
---
apiVersion: v1
kind: Secret
metadata:
  name: tunnel-redis
  namespace: tunnel
stringData:
  # Who has no password may ask whether Redis is there. The proxy's rights: docs/CONFIGURATION.md.
  users.acl: |
    user default on nopass -@all +ping
    user tunnel on >$redis ~ssh-websocket-tunnel:* &ssh-websocket-tunnel:* -@all +@read +@write +@scripting +@pubsub +@connection +time +info
    user replica on >$replication -@all +psync +replconf +ping
    user sentinel on >$sentinel &* -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
  # For the overlay ha.
  replication.conf: |
    masteruser replica
    masterauth $replication
  sentinel.conf: |
    sentinel auth-user mymaster sentinel
    sentinel auth-pass mymaster $sentinel
EOF

if [ -n "${SMTP_PASSWORD_FILE:-}" ] && [ -n "${SLACK_URL_FILE:-}" ]; then
  cat << EOF
---
apiVersion: v1
kind: Secret
metadata:
  name: tunnel-alerting
  namespace: tunnel
stringData:
  smtp-password: |-
$(indented "$SMTP_PASSWORD_FILE")
  slack-url: |-
$(indented "$SLACK_URL_FILE")
EOF
else
  echo "make-secrets.sh: no Secret tunnel-alerting, which Alertmanager waits for: give SMTP_PASSWORD_FILE and SLACK_URL_FILE" >&2
fi
