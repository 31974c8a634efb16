#!/bin/sh
# Starts Redis or its Sentinel (`start.sh redis`, `start.sh sentinel`). Both write into their configuration who the master is,
# so it is a file on the volume, made once, which includes what is the same for all.
set -eu
here="$(hostname).redis"

make_once() {
  if [ ! -f "$1" ]; then
    cat > "$1.new"
    mv "$1.new" "$1"
  fi
}

case "$1" in
  redis)
    {
      echo "include /etc/redis/redis.conf"
      echo "include /run/secrets/redis/replication.conf"
      echo "replica-announce-ip $here"
      # At the very first start; later the Sentinels say.
      case "$(hostname)" in *-0) ;; *) echo "replicaof redis-0.redis 6379" ;; esac
    } | make_once /data/redis.conf
    exec redis-server /data/redis.conf
    ;;
  sentinel)
    {
      cat /etc/redis/sentinel.conf /run/secrets/redis/sentinel.conf
      echo "sentinel announce-ip $here"
    } | make_once /data/sentinel.conf
    exec redis-server /data/sentinel.conf --sentinel
    ;;
esac
