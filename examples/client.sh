#!/bin/sh
# Submit a file to Consilium with curl, wait for it, download what came of it.
#
#   CONSILIUM_KEY=cons_… CONSILIUM_URL=https://consilium.example sh client.sh vignettes.ndjson results
#
# Needs curl 7.76 and jq. Run it again after whatever went wrong: the same file is never submitted twice.
set -eu

file=$1
out=${2:-results}
mkdir -p "$out"
# The key stands in a file that only we may read, not among the arguments, which all users of a machine see.
private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
printf 'header = "Authorization: Bearer %s"\nretry = 8\nsilent\nshow-error\nfail-with-body\n' \
    "$CONSILIUM_KEY" > "$private/curl"

case $file in
    *.csv | *.csv.gz) type=text/csv ;;
    *) type=application/octet-stream ;; # the content tells, FHIR or not
esac
key=$(sha256sum "$file" | cut -d ' ' -f 1)

# curl repeats what it sends after a lost connection, 408, 429 and 5xx, and waits as Retry-After says
curl --config "$private/curl" --retry-connrefused --upload-file "$file" --request POST \
    --header "Content-Type: $type" --header "Idempotency-Key: $key" \
    "$CONSILIUM_URL/v1/submissions" > "$private/accepted"
id=$(jq -r .submission "$private/accepted")
echo "submission $id: $(jq -r .accepted "$private/accepted") of $(jq -r .records "$private/accepted") accepted"

while
    status=$(curl --config "$private/curl" --dump-header "$private/headers" --output "$private/status" \
        --write-out '%{http_code}' "$CONSILIUM_URL/v1/submissions/$id")
    [ "$status" = 202 ]
do
    wait=$(tr -d '\r' < "$private/headers" | sed -n 's/^retry-after: //Ip')
    sleep "${wait:-10}"
done

# by the path below our own address: the key goes to no other server than it was given for
jq -r --arg ours "$CONSILIUM_URL" 'def path: sub("^[a-z]+://[^/]*"; "");
    (.output + .error)[] | [.type, (.url | path | ltrimstr($ours | path))] | @tsv' "$private/status" |
    while read -r name path; do
        curl --config "$private/curl" --output "$out/$name.ndjson" "$CONSILIUM_URL$path"
        echo "$out/$name.ndjson"
    done

# What has no recommendation, and why: then the exit code is 6.
jq -r 'select(.state | IN("completed", "needs_review") | not) | "line \(.line): \(.state): \(.reason)"' \
    "$out/Result.ndjson" > "$private/wrong"
if [ -s "$private/wrong" ]; then
    cat "$private/wrong" >&2
    exit 6
fi
