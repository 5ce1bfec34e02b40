//! The main context, and `events`.

use super::{Becomes::*, Rows};

const PROCESSES: &str = "dtr-lb balances in the kernel, on the processors that the packets come to: there are no worker processes";
const SERVICE: &str = "how the program itself is run: dtr-lb's package brings a systemd unit";

pub(super) const MAIN: Rows = &[
    ("stream http events include", Read),
    (
        "worker_processes worker_cpu_affinity worker_priority worker_rlimit_core worker_shutdown_timeout timer_resolution \
         thread_pool pcre_jit lock_file accept_mutex ssl_engine ssl_object_cache_inheritable quic_bpf",
        Differs(PROCESSES),
    ),
    (
        "worker_rlimit_nofile",
        Differs(
            "a connection takes no file descriptor in dtr-lb: datapath.max_flows says how many there may be",
        ),
    ),
    (
        "user group",
        Differs("dtr-lb needs root's capabilities to load its programs; its unit keeps only those"),
    ),
    (
        "pid daemon master_process working_directory env debug_points google_perftools_profiles mgmt license_token",
        Differs(SERVICE),
    ),
    ("error_log", Differs("the agent logs to the journal: journalctl -u dtr-lb")),
    ("load_module", Differs("dtr-lb has no modules; what this one does is told where its directives are")),
    (
        "perl_modules perl_require perl_set js_load_http_native_module",
        LeftOut("dtr-lb runs no code of others"),
    ),
    ("mail", Decides("a mail proxy: dtr-lb balances connections, and does not speak for servers")),
    ("rtmp", Decides("a streaming server: dtr-lb balances connections, and serves nothing itself")),
    (
        "imap tcp udp",
        Decides("a block of a module that nginx does not bring; dtr-lb reads stream {} and http {}"),
    ),
];

pub(super) const EVENTS: Rows = &[
    (
        "worker_connections",
        Differs(
            "datapath.max_flows says how many connections there may be: about a million if nothing is written",
        ),
    ),
    (
        "use multi_accept accept_mutex accept_mutex_delay worker_aio_requests debug_connection devpoll_changes devpoll_events \
         epoll_events kqueue_changes kqueue_events",
        Differs(PROCESSES),
    ),
    ("include", Read),
];
