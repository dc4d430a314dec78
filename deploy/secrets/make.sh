#!/bin/bash
# Makes the passwords of Kafka and MongoDB at the first start; existing passwords are kept. Each program has its own
# folder (a volume) below $1, which only the user of its image can read.
set -euo pipefail
shopt -s inherit_errexit
umask 077
brokers=$1/brokers mongodb=$1/mongodb gateway=$1/gateway historian=$1/historian producer=$1/producer alerter=$1/alerter
notifier=$1/notifier
chown 1000:1000 "$brokers"
chown 999:999 "$mongodb"
chown 10001:10001 "$gateway" "$historian" "$producer" "$alerter" "$notifier"
chmod 700 "$brokers" "$mongodb" "$gateway" "$historian" "$producer" "$alerter" "$notifier"

# Writes a file for the owner of its folder, atomically.
write() {
    cat >"$1.new"
    chown --reference="$(dirname "$1")" "$1.new"
    mv "$1.new" "$1"
}

# Prints the password in a file, after making it if it is missing. Hexadecimal digits need no quotes anywhere.
password() {
    [ -s "$1" ] || head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | write "$1"
    cat "$1"
}

broker=$(password "$brokers/broker-password")
client=$(password "$brokers/client-password")
root=$(password "$mongodb/root-password")
store=$(password "$mongodb/gateway-password")

# Brokers sign in to each other as `broker`, and only they may connect to controllers. All other programs are
# `toteboard`.
write "$brokers/jaas.conf" <<END
controller.KafkaServer {
    org.apache.kafka.common.security.plain.PlainLoginModule required
    username="broker" password="$broker" user_broker="$broker";
};
KafkaServer {
    org.apache.kafka.common.security.plain.PlainLoginModule required
    username="broker" password="$broker" user_broker="$broker" user_toteboard="$client";
};
END

# For Kafka's own tools.
write "$brokers/client.properties" <<END
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="toteboard" password="$client";
END

for program in "$gateway" "$historian" "$producer" "$alerter" "$notifier"; do
    write "$program/kafka" <<END
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.username=toteboard
sasl.password=$client
END
done

# The key that signs links in messages.
[ -s "$gateway/signing-key" ] || head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '=' | write "$gateway/signing-key"
write "$notifier/signing-key" <"$gateway/signing-key"

for program in "$gateway" "$alerter" "$notifier"; do
    write "$program/store" <<END
mongodb://gateway:$store@mongodb:27017/toteboard
END
done

# For MongoDB's own tools.
write "$mongodb/url" <<END
mongodb://root:$root@127.0.0.1:27017/
END
