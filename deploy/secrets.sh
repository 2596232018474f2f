#!/bin/sh
# Makes every secret of docker-compose.yml, each in a file of its own: sh deploy/secrets.sh [FOLDER]
#
# The folder is closed (0700). The files in it can be read by everyone, because Docker shows each of them to a
# container as it is, whose user has another number; nobody else on the machine gets through the folder.
# What is there already is kept: after an upgrade run it again, and only what is new is made.
#
# valkey.acl holds digests of passwords, never the passwords. Copy site_key to where the backups are not.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
umask 022
cd "$folder"
mkdir -p models
echo '*' >.gitignore

made() { # made NAME TEXT: write the file, whole or not at all, unless it is there
  [ -e "$1" ] && return
  printf '%s\n' "$2" >".$1"
  mv ".$1" "$1"
  echo "made $folder/$1" >&2
}
password() { openssl rand -hex 24; } # hexadecimal: needs no escaping in an address

made site_key "$(openssl rand -base64 32)"
made postgres_superuser "$(password)"
# PostgreSQL: the owner of the tables, who migrates; who takes work in; who does it (postgres-roles.sql)
for user in consilium api worker; do
  made "postgres_$user" "$(password)"
done
made database_url "postgresql://consilium:$(cat postgres_consilium)@postgres:5432/consilium"
for user in api worker; do
  made "database_url_$user" "postgresql://consilium_$user:$(cat "postgres_$user")@postgres:5432/consilium"
done
made metrics_token "$(password)"
made flower_auth "operator:$(password)"

# Valkey: a user for each need, each with what it needs; the default user is off.
queues='~remote* ~local* ~conclude* ~periodic* ~quarantine*' # with kombu's names for their priorities
hello='+ping +select +client|setinfo +client|setname +multi +exec'
{
  echo 'user default off'
  for user in worker sender api flower metrics health; do
    made "valkey_$user" "$(password)"
    case $user in
      worker) may='~* &* +@all -@admin -@dangerous +info' ;; # the canvas, the chords, the shared limits
      sender | api) # beat, the command line, delivery and the API put messages into queues
        may="$queues ~_kombu.binding* &/0.celeryev/* $hello +lpush +sadd +smembers +publish +llen +info +time"
        # the API counts requests too
        [ "$user" = sender ] || may="$may (~consilium:api:* +set +incrby +pttl)" ;;
      flower) # hears events, asks workers, takes their replies; of a queue of work it sees the length
        may="~_kombu.binding* ~celeryev.* ~*.reply.celery.pidbox* &/0.celeryev/* &/0.*celery.pidbox $hello"
        may="$may +subscribe +psubscribe +unsubscribe +punsubscribe +publish +sadd +srem +smembers +brpop +llen"
        may="$may +del +exists +pexpire +zadd +zrem +zrangebyscore +time +eval +evalsha +script|load +script|exists"
        may="$may ($queues +llen) (%R~unacked_index +zrange)" # kombu's look for messages to give back
        may="$may (~unacked_mutex +set +get +del +pexpire +eval +evalsha)" ;;
      metrics) may="$queues $hello +llen" ;;
      health) may='+ping' ;; # the server's own health check
    esac
    [ "$user" = health ] || made "broker_url_$user" "redis://$user:$(cat "valkey_$user")@valkey:6379/0"
    echo "user $user on #$(tr -d '\n' <"valkey_$user" | openssl dgst -sha256 -r | cut -d ' ' -f 1) resetchannels $may"
  done
} >.valkey.acl
mv .valkey.acl valkey.acl
