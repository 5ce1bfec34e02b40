#!/bin/sh
# The system test, inside of the machine: the package is installed, and a real systemd starts, reloads, kills and restarts
# the agent, on the kernel of Debian 12. Requests go through the balancer all the time, and none may fail.
#
# A line "ok NAME" a step; the first failure ends it, with what is known. The last line is "PASSED" or "FAILED NAME".

cd "$(dirname "$0")" || exit 1
CONFIG=/etc/dtr-lb/dtr-lb.toml
VIP=10.1.0.10
step=begin

seconds() { cut -d. -f1 /proc/uptime; }

done_with() {
    echo "ok $step ($(($(seconds) - began)) s)"
}

begin() {
    step=$1
    began=$(seconds)
}

fail() {
    echo "$*"
    echo "--- journal"
    journalctl --no-pager -o short-monotonic -u dtr-lb | tail -60
    echo "--- links"
    ip -details link show
    echo "--- kernel"
    dmesg | tail -20
    echo "FAILED $step"
    exit 1
}

# Waits until a command succeeds, for so many seconds at most.
within() {
    limit=$(($(seconds) + $1))
    shift
    until "$@"; do
        [ "$(seconds)" -lt "$limit" ] || return 1
        sleep 0.2
    done
}

property() { systemctl show --value --property "$1" dtr-lb; }
is() { [ "$(property "$1")" = "$2" ]; }
request() { ip netns exec client curl --silent --show-error --max-time 20 "http://$VIP/"; }
dropped() { dtr-lb status --json | grep '"dropped_'; }
status_says() { dtr-lb status --json | grep -q "$1"; }

# A client, and three replicas at one cable: each interface of the balancer has native XDP, as veth has.
network() {
    ip netns add client && ip netns add replicas || return 1
    ip link add ext0 type veth peer name eth0 netns client || return 1
    ip link add int0 type veth peer name eth0 netns replicas || return 1
    ip address add 10.1.0.1/24 dev ext0 && ip address add "$VIP/32" dev ext0 || return 1
    ip address add 10.2.0.1/24 dev int0 || return 1
    ip -n client address add 10.1.0.2/24 dev eth0 || return 1
    ip link set ext0 up && ip link set int0 up || return 1
    for end in client replicas; do
        ip -n $end link set lo up && ip -n $end link set eth0 up || return 1
        # XDP sends frames to a veth only if its other end takes them one by one (NAPI), and sums are to be in the packet.
        ip netns exec $end ethtool -K eth0 gro on tx off tso off gso off >/dev/null || return 1
    done
    for host in 11 12 13; do
        ip -n replicas address add 10.2.0.$host/24 dev eth0 || return 1
        mkdir -p /srv/$host
        echo well >/srv/$host/health
        echo "replica $host" >/srv/$host/index.html
        ip netns exec replicas busybox httpd -p 10.2.0.$host:80 -h /srv/$host || return 1
    done
}

# The same cables as trunks: clients in a VLAN, and replicas in another one, which is in a provider's for one of them.
trunks() {
    ip link add link ext0 name ext0.10 type vlan id 10 || return 1
    ip link add link int0 name int0.20 type vlan id 20 || return 1
    ip link add link int0 name int0.30 type vlan protocol 802.1ad id 30 || return 1
    ip link add link int0.30 name int0.30.40 type vlan id 40 || return 1
    ip -n client link add link eth0 name eth0.10 type vlan id 10 || return 1
    ip -n replicas link add link eth0 name eth0.20 type vlan id 20 || return 1
    ip -n replicas link add link eth0 name eth0.30 type vlan protocol 802.1ad id 30 || return 1
    ip -n replicas link add link eth0.30 name eth0.30.40 type vlan id 40 || return 1
    for link in ext0.10 int0.20 int0.30 int0.30.40; do ip link set $link up || return 1; done
    for link in eth0.20 eth0.30 eth0.30.40; do ip -n replicas link set $link up || return 1; done
    ip -n client link set eth0.10 up || return 1
    ip address add 10.3.0.1/24 dev ext0.10 && ip -n client address add 10.3.0.2/24 dev eth0.10 || return 1
    ip address add 10.4.0.1/24 dev int0.20 && ip -n replicas address add 10.4.0.14/24 dev eth0.20 || return 1
    ip address add 10.5.0.1/24 dev int0.30.40 && ip -n replicas address add 10.5.0.15/24 dev eth0.30.40 || return 1
    ip -n client route add "$VIP/32" dev eth0.10 src 10.3.0.2 || return 1
    for end in client replicas; do
        # A veth hands a tag over beside the frame, where XDP does not see it.
        ip netns exec $end ethtool -K eth0 tx-vlan-offload off tx-vlan-stag-hw-insert off >/dev/null || return 1
    done
    for at in 4.0.14 5.0.15; do
        mkdir -p /srv/$at
        echo well >/srv/$at/health
        echo "replica $at" >/srv/$at/index.html
        ip netns exec replicas busybox httpd -p 10.$at:80 -h /srv/$at || return 1
    done
}

# With this hook and these interfaces.
config_of_trunks() {
    cat <<EOF
vip = "$VIP"
interfaces = [$2]

[datapath]
max_flows = 4096
attach = "$1"

[[service]]
name = "http"
port = 80

[[replica]]
address = "10.4.0.14"

[[replica]]
address = "10.5.0.15"
EOF
}

both_answer() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do request || echo failed; done | sort -u >/run/who
    [ "$(cat /run/who)" = "$(printf 'replica 4.0.14\nreplica 5.0.15')" ]
}

config() {
    cat <<EOF
vip = "$VIP"
interfaces = ["ext0", "int0"]

[datapath]
max_flows = 4096

[[service]]
name = "http"
port = 80
EOF
    for host in "$@"; do
        printf '\n[[replica]]\naddress = "10.2.0.%s"\n' "$host"
    done
}

load() {
    while [ ! -e /run/load-ends ]; do
        if answer=$(request 2>&1); then
            echo "$answer" >>/run/answers
        else
            echo "$(seconds): $answer" >>/run/failures
        fi
        sleep 0.1
    done
}

answers_go_on() {
    had=$(wc -l </run/answers)
    within 60 sh -c "[ \$(wc -l </run/answers) -ge $((had + 3)) ]" || fail "no more answers; failures: $(cat /run/failures)"
}

begin "the package installs, and starts nothing"
apt-get -o Acquire::Retries=0 install -qq -y ./dtr-lb.deb >install.log 2>&1 || fail "$(cat install.log)"
grep -q "systemctl enable --now dtr-lb" install.log || fail "the installation does not say what to do next: $(cat install.log)"
is ActiveState inactive || fail "the service is $(property ActiveState)"
is UnitFileState disabled || fail "the service is $(property UnitFileState)"
getent group dtr-lb >/dev/null || fail "there is no group dtr-lb"
for file in /usr/share/man/man8/dtr-lb.8.gz /usr/share/bash-completion/completions/dtr-lb /usr/share/doc/dtr-lb/copyright; do
    [ -e $file ] || fail "$file is not there"
done
dpkg --verify dtr-lb || fail "dpkg --verify finds differences"
done_with

begin "a config that is not written yet is refused, without another try"
systemctl start dtr-lb 2>/dev/null && fail "it started"
is ExecMainStatus 2 || fail "the exit status is $(property ExecMainStatus)"
is ActiveState failed || fail "the service is $(property ActiveState)"
[ ! -e /sys/fs/bpf/dtr-lb ] || fail "something is pinned"
journalctl -u dtr-lb -p err -o cat | grep -q "vip" || fail "the journal has no error about the vip"
done_with

begin "the service starts with what it needs and no more"
network || fail "the network was not made"
config 11 12 13 >$CONFIG
dtr-lb check || fail "check failed"
mkdir -p /etc/systemd/system/dtr-lb.service.d
# Not to wait for as long as in earnest.
printf '[Service]\nWatchdogSec=6s\n' >/etc/systemd/system/dtr-lb.service.d/test.conf
systemctl daemon-reload
systemctl enable --now dtr-lb || fail "it did not start"
within 60 is StatusText "http: 3 of 3 replicas up" || fail "the status is: $(property StatusText)"
main=$(property MainPID)
# CAP_NET_ADMIN (12), CAP_PERFMON (38) and CAP_BPF (39).
grep -q "^CapPrm:.000000c000001000$" "/proc/$main/status" || fail "its capabilities: $(grep Cap "/proc/$main/status")"
[ "$(stat -c '%U:%G %a' /run/dtr-lb/dtr-lb.sock)" = "root:dtr-lb 660" ] || fail "the socket: $(ls -l /run/dtr-lb)"
journalctl -u dtr-lb -p info -o cat | grep -q '^{.*"level":"INFO".*"message":"datapath attached"' || fail "the journal has no JSON"
status_says '"native": true' || fail "it is not native XDP: $(dtr-lb status)"
request || fail "no answer"
done_with

: >/run/answers
: >/run/failures
load &
load=$!

begin "a good config is reloaded"
config 11 12 >$CONFIG
systemctl reload dtr-lb || fail "the reload failed"
within 60 is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
answers_go_on
done_with

begin "a bad config is refused, and the old one goes on"
echo 'vip = "nonsense"' >$CONFIG
systemctl reload dtr-lb 2>/dev/null && fail "systemctl says that the reload succeeded"
is ActiveState active || fail "the service is $(property ActiveState)"
is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
is MainPID "$main" || fail "it is another process"
answers_go_on
config 11 12 >$CONFIG
done_with

begin "killed, it comes back and takes over"
kill -9 "$main"
answers_go_on
within 120 is NRestarts 1 || fail "it was started again $(property NRestarts) times"
within 120 is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
status_says '"adopted": true' || fail "it has not taken over the datapath"
answers_go_on
done_with

begin "stuck, it is ended and started again"
kill -STOP "$(property MainPID)"
answers_go_on
within 120 is NRestarts 2 || fail "it was started again $(property NRestarts) times"
within 120 is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
journalctl --no-pager _PID=1 | grep -q "dtr-lb.service: Watchdog timeout" || fail "it was not the watchdog"
answers_go_on
done_with

begin "stopped, the datapath goes on"
systemctl stop dtr-lb || fail "it did not stop"
is ActiveState inactive || fail "the service is $(property ActiveState)"
is Result success || fail "the result is $(property Result)"
answers_go_on
systemctl start dtr-lb || fail "it did not start again"
status_says '"adopted": true' || fail "it has not taken over the datapath"
done_with

begin "an upgrade replaces the agent while requests go on"
before=$(property MainPID)
dpkg --install ./dtr-lb.deb >upgrade.log 2>&1 || fail "$(cat upgrade.log)"
is ActiveState active || fail "the service is $(property ActiveState)"
is MainPID "$before" && fail "the agent was not replaced"
status_says '"adopted": true' || fail "it has not taken over the datapath"
answers_go_on
done_with

begin "no request failed"
touch /run/load-ends
wait $load
[ ! -s /run/failures ] || fail "$(wc -l </run/failures) failed: $(cat /run/failures)"
echo "$(wc -l </run/answers) requests: $(sort /run/answers | uniq -c | tr '\n' ' ')"
done_with

begin "on trunks, clients and replicas are reached in their VLANs"
trunks || fail "the VLAN interfaces were not made"
before=$(dropped)
config_of_trunks xdp '"ext0", "int0"' >$CONFIG
dtr-lb check >check.log || fail "check failed: $(cat check.log)"
systemctl reload dtr-lb || fail "the reload failed"
within 60 is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
both_answer || fail "answers of $(cat /run/who); $(dtr-lb status)"
[ "$(dropped)" = "$before" ] || fail "packets were dropped: $(dropped)"
grep -q "int0.30.40, which is VLAN 40 on int0.30, which is VLAN 40 within provider VLAN 30 on int0" check.log ||
    fail "check does not say how replicas are reached: $(cat check.log)"
config_of_trunks auto '"ext0", "ext0.10", "int0"' >$CONFIG
dtr-lb check >check.log && fail "check takes an interface and a VLAN on it: $(cat check.log)"
systemctl reload dtr-lb 2>/dev/null && fail "the agent takes an interface and a VLAN on it"
config 11 12 >$CONFIG
systemctl reload dtr-lb || fail "the reload failed"
ip -n client route del "$VIP/32"
within 60 is StatusText "http: 2 of 2 replicas up" || fail "the status is: $(property StatusText)"
request || fail "no answer"
done_with

begin "systemd-analyze finds the sandbox tight"
exposure=$(systemd-analyze security --no-pager dtr-lb | grep -o "Overall.*")
echo "$exposure"
systemd-analyze security --no-pager --threshold=25 dtr-lb >analysis.log || fail "$(grep -v ✓ analysis.log)"
done_with

begin "removed, nothing is left but the config"
apt-get remove -qq -y dtr-lb >remove.log 2>&1 || fail "$(cat remove.log)"
grep -q "removed the datapath" remove.log || fail "the removal does not say that the datapath is gone: $(cat remove.log)"
[ ! -e /sys/fs/bpf/dtr-lb ] || fail "pins are left: $(find /sys/fs/bpf/dtr-lb)"
ip -details link show | grep -q "prog/xdp" && fail "a program is left"
for path in /usr/bin/dtr-lb /run/dtr-lb /lib/systemd/system/dtr-lb.service /etc/systemd/system/multi-user.target.wants/dtr-lb.service; do
    [ ! -e $path ] || fail "$path is left: $(ls -la $path)"
done
[ -e $CONFIG ] || fail "the config is gone"
apt-get purge -qq -y dtr-lb >purge.log 2>&1 || fail "$(cat purge.log)"
[ ! -e /etc/dtr-lb ] || fail "after the purge: $(find /etc/dtr-lb)"
[ ! -e /var/log/dtr-lb ] || fail "after the purge: $(find /var/log/dtr-lb)"
done_with

echo PASSED
