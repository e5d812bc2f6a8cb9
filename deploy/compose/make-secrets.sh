#!/bin/sh
# Writes what compose.yaml needs to know and nobody else may: once; what is there is kept.
#   ./make-secrets.sh [FOLDER]     by default `secrets` beside this script
# Containers read the files as users of their own, so the folder is what keeps others out.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random() {
    od -An -tx1 -N"$1" /dev/urandom | tr -d ' \n'
}

# keep NAME TEXT
keep() {
    if [ ! -e "$folder/$1" ]; then
        printf '%s\n' "$2" > "$folder/$1.new"
        chmod 444 "$folder/$1.new"
        mv "$folder/$1.new" "$folder/$1"
        echo "made $folder/$1"
    fi
}

# part NAME: what was kept under that name
part() {
    cat "$folder/$1"
}

keep signing-key "$(random 32)"
keep api-token "$(random 32)"
keep broker-password "$(random 24)"
for user in coordinator api runner; do
    keep "broker-password-$user" "$(random 24)"
    keep "broker-url-$user" "amqp://$user:$(part "broker-password-$user")@rabbitmq:5672/penstock"
done
keep database-password "$(random 24)"
keep s3-key "$(random 10)"
keep s3-secret "$(random 24)"

keep broker-url "amqp://penstock:$(part broker-password)@rabbitmq:5672/penstock"
keep broker-management-url "http://penstock:$(part broker-password)@rabbitmq:15672"
keep database-url "postgresql://penstock:$(part database-password)@postgres:5432/penstock"
keep rabbitmq.conf "load_definitions = /etc/rabbitmq/penstock-users.json
loopback_users = none"
# Who there is. What each may do, beside the administrator, is set by the job `topology`.
keep broker-users.json "{
  \"vhosts\": [{\"name\": \"penstock\"}],
  \"users\": [
    {\"name\": \"penstock\", \"password\": \"$(part broker-password)\", \"tags\": \"administrator\"},
    {\"name\": \"coordinator\", \"password\": \"$(part broker-password-coordinator)\", \"tags\": \"\"},
    {\"name\": \"api\", \"password\": \"$(part broker-password-api)\", \"tags\": \"\"},
    {\"name\": \"runner\", \"password\": \"$(part broker-password-runner)\", \"tags\": \"\"}
  ],
  \"permissions\": [{\"user\": \"penstock\", \"vhost\": \"penstock\", \"configure\": \".*\", \"write\": \".*\", \"read\": \".*\"}]
}"
keep s3-credentials "[default]
aws_access_key_id = $(part s3-key)
aws_secret_access_key = $(part s3-secret)"
# As rclone reads a list of pairs.
keep s3-auth-key "\"$(part s3-key),$(part s3-secret)\""
# A file for each `secret` that datastores.toml names; containers have to be able to read it.
mkdir -p "$folder/datastores"
chmod 755 "$folder/datastores"
