#!/bin/sh
# What the services of compose.yaml need to know, made on the first start. Every later start adds what is missing and
# renews certificates that end soon; what is there stays.
#
#   /authority  the authority's key and all certificates; mounted here only
#   /secrets    what liteio's services read
#   /bus        the bus's password, for nats
set -eu
umask 077

random() { python3 -c 'import secrets, sys; print(secrets.token_urlsafe(int(sys.argv[1])))' "$1"; }

# keep FILE COMMAND…: what the command prints, whole or not at all, where there is no such file yet.
keep() {
    file=$1; shift
    [ -s "$file" ] || { "$@" >"$file.new" && sync "$file.new" && mv "$file.new" "$file"; }
}

authorization() { printf 'authorization { user: liteio, password: "%s" }\n' "$(cat /secrets/nats-password)"; }
nats_url() { printf 'nats://liteio:%s@nats:4222\n' "$(cat /secrets/nats-password)"; }
access_key() { python3 -c 'import base64, secrets; print(base64.b32encode(secrets.token_bytes(13)).decode()[:20])'; }

keep /secrets/cluster-secret random 32
keep /secrets/root-access-key access_key
keep /secrets/root-secret-key random 30
keep /secrets/nats-password random 24
keep /secrets/nats-url nats_url
keep /bus/authorization.conf authorization

liteio certs --folder /authority --nodes "$NODES"
mkdir -p /secrets/certs
for file in /authority/*; do
    name=${file##*/}
    [ "$name" = ca.key ] || cmp -s "$file" "/secrets/certs/$name" || {
        cp "$file" "/secrets/certs/$name.new" && sync "/secrets/certs/$name.new"
        mv "/secrets/certs/$name.new" "/secrets/certs/$name"
    }
done
sync
