//! `stream`, and what is in it.

use super::{Becomes::*, Rows};

const LOGS: &str =
    "no line is logged for a connection; `dtr-lb flows` shows those that there are, and /metrics counts them";
const SOCKETS: &str =
    "settings of nginx's own sockets: in dtr-lb the client's connection goes through to the replica";
const TLS: &str = "TLS is ended by the replicas, with their certificates and settings";
const TO_SERVERS: &str = "dtr-lb begins no TLS towards replicas: it passes on what clients send";
const VARIABLES: &str = "dtr-lb has no variables";
const CODE: &str = "dtr-lb runs no code of others";
const RATE: &str = "dtr-lb sets no connection's speed; use tc, or the replica's own limits";
const UDP: &str = "for UDP, which dtr-lb does not balance";

/// In `stream` alone.
pub(super) const BLOCKS: Rows = &[
    ("upstream server match", Read),
    ("map geo split_clients geoip_country geoip_city geoip_org", Read),
    ("geoip2 geoip2_proxy geoip2_proxy_recursive auto_reload", LeftOut(VARIABLES)),
    ("log_format json_log_fields otel_exporter otel_service_name", Differs(LOGS)),
    (
        "variables_hash_bucket_size variables_hash_max_size map_hash_bucket_size map_hash_max_size server_names_hash_bucket_size \
         server_names_hash_max_size",
        Differs(VARIABLES),
    ),
    ("limit_conn_zone", LeftOut("it only counts; what is made of the count stands at limit_conn")),
    ("keyval_zone zone_sync_server keyval", LeftOut(VARIABLES)),
    (
        "js_import js_include js_path js_preload_object js_shared_dict_zone js_engine js_context_reuse",
        LeftOut(CODE),
    ),
    (
        "lua_package_path lua_package_cpath lua_shared_dict init_by_lua_block init_worker_by_lua_block init_by_lua_file init_worker_by_lua_file",
        LeftOut(CODE),
    ),
    (
        "upstream_conf status_zone vhost_traffic_status_zone server_traffic_status_zone stream_server_traffic_status_zone",
        Differs("figures are at the agent's /metrics, in `dtr-lb status` and on the dashboard"),
    ),
    ("ssl_session_log", LeftOut(TLS)),
];

/// In `stream` and in its servers.
pub(super) const BOTH: Rows = &[
    (
        "proxy_timeout proxy_bind proxy_protocol proxy_ssl allow deny include ssl_preread proxy_next_upstream set return",
        Read,
    ),
    (
        "proxy_connect_timeout",
        Differs(
            "dtr-lb does not connect itself: a SYN that its replica has not answered when the client sends it again goes to another one",
        ),
    ),
    ("proxy_next_upstream_tries", Differs("a connection is tried at five replicas at most")),
    (
        "proxy_next_upstream_timeout",
        Differs(
            "a connection is tried at another replica with each SYN that the client repeats, until the client gives up",
        ),
    ),
    ("proxy_protocol_timeout", LeftOut("dtr-lb expects no PROXY header")),
    (
        "set_real_ip_from",
        Decides(
            "clients' addresses are not taken from a PROXY header: dtr-lb sees those that packets come from",
        ),
    ),
    ("proxy_upload_rate proxy_download_rate", Differs(RATE)),
    (
        "proxy_buffer_size proxy_socket_keepalive proxy_half_close tcp_nodelay preread_buffer_size preread_timeout proxy_socket_rcvbuf \
         proxy_socket_sndbuf proxy_session_drop",
        Differs(SOCKETS),
    ),
    ("proxy_responses proxy_requests", LeftOut(UDP)),
    (
        "proxy_ssl_certificate proxy_ssl_certificate_cache proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_conf_command \
         proxy_ssl_crl proxy_ssl_key_log proxy_ssl_name proxy_ssl_password_file proxy_ssl_protocols proxy_ssl_server_name \
         proxy_ssl_session_reuse proxy_ssl_trusted_certificate proxy_ssl_verify proxy_ssl_verify_depth proxy_ssl_alpn",
        LeftOut(TO_SERVERS),
    ),
    (
        "ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_certificate_compression ssl_ciphers ssl_conf_command \
         ssl_dhparam ssl_ecdh_curve ssl_handshake_timeout ssl_password_file ssl_prefer_server_ciphers ssl_protocols \
         ssl_session_cache ssl_session_ticket_key ssl_session_tickets ssl_session_timeout ssl_stapling ssl_stapling_file \
         ssl_stapling_responder ssl_stapling_verify ssl_trusted_certificate ssl_verify_depth ssl_key_log ssl_alpn \
         ssl_encrypted_hello_key ssl_early_data ssl_buffer_size ssl_reject_handshake ssl_ocsp_cache ssl_ocsp_responder",
        LeftOut(TLS),
    ),
    (
        "ssl_verify_client ssl_client_certificate ssl_crl ssl_ocsp",
        Decides("clients' certificates are looked at by the replicas, if they are set up to"),
    ),
    ("access_log open_log_file_cache", Differs(LOGS)),
    ("error_log", Differs("the agent logs to the journal: journalctl -u dtr-lb")),
    (
        "resolver resolver_timeout",
        Differs("host names of replicas are asked of the host's own resolver, again and again"),
    ),
    (
        "limit_conn",
        Decides(
            "connections that are open at the same time are not counted by client: max_new_flows_per_source limits the new ones a second",
        ),
    ),
    ("limit_conn_dry_run limit_conn_log_level", LeftOut("it goes with limit_conn")),
    (
        "js_access js_preread js_filter access_by_lua_block preread_by_lua_block preread_by_lua_file content_by_lua_block \
         content_by_lua_file balancer_by_lua_block balancer_by_lua_file ssl_certificate_by_lua_block ssl_client_hello_by_lua_block ssl_certificate_by_lua_file pass",
        Decides(
            "code, or another server, decides what becomes of a connection: dtr-lb runs no code of others",
        ),
    ),
    (
        "js_set js_var js_fetch_buffer_size js_fetch_ciphers js_fetch_keepalive js_fetch_keepalive_requests js_fetch_keepalive_time \
         js_fetch_keepalive_timeout js_fetch_max_response_buffer_size js_fetch_protocols js_fetch_timeout js_fetch_proxy \
         js_fetch_trusted_certificate js_fetch_verify js_fetch_verify_depth js_periodic log_by_lua_block lua_add_variable lua_code_cache \
         lua_resume_timeout lua_socket_connect_timeout lua_socket_log_errors",
        LeftOut(CODE),
    ),
    (
        "zone_sync zone_sync_buffers zone_sync_connect_retry_interval zone_sync_connect_timeout zone_sync_interval \
      zone_sync_recv_buffer_size zone_sync_ssl zone_sync_ssl_certificate zone_sync_ssl_certificate_key zone_sync_ssl_verify \
      zone_sync_timeout zone_sync_ssl_trusted_certificate",
        Differs("peers share their connections by [ha]"),
    ),
    (
        "mqtt mqtt_preread mqtt_set_connect mqtt_buffers mqtt_rewrite_buffer_size",
        LeftOut("dtr-lb does not look into connections"),
    ),
    ("health_check_timeout", Read),
    ("num_map real_ip_header real_ip_recursive otel_trace", LeftOut(VARIABLES)),
    ("proxy_ssl_conf sticky", LeftOut("dtr-lb does not look into connections")),
];

/// In a server alone.
pub(super) const SERVER: Rows = &[
    ("listen proxy_pass health_check server_name location", Read),
    (
        "status_zone api",
        Differs("figures are at the agent's /metrics, in `dtr-lb status` and on the dashboard"),
    ),
];

pub(super) const UPSTREAM: Rows = &[
    ("server hash check check_http_send check_http_expect_alive ip_hash keepalive sticky", Read),
    (
        "least_conn",
        Differs(
            "least connections: dtr-lb spreads by hash, so that servers get equal shares of connections, not of load. max_conns bounds what one may get",
        ),
    ),
    (
        "least_time",
        Differs(
            "least time: dtr-lb spreads by hash, so that a slow server gets its share like the others, until its probe fails",
        ),
    ),
    (
        "random round_robin",
        Differs(
            "dtr-lb spreads by hash: the shares are the same, and which server it is depends on the connection's addresses and ports",
        ),
    ),
    ("zone upstream_zone", Differs("workers' shared memory: dtr-lb has one table for all processors")),
    ("state", Decides("servers are in a file that nginx writes itself: write them as [[replica]]")),
    (
        "resolver resolver_timeout",
        Differs("host names of replicas are asked of the host's own resolver, again and again"),
    ),
    (
        "check_shm_size check_status check_keepalive_requests check_fastcgi_param",
        Differs("settings of the module for checks, which dtr-lb does not need"),
    ),
    (
        "upstream_probe upstream_probe_timeout probe",
        Decides("how servers are asked stands in [service.probe]: write what this asks there"),
    ),
    (
        "balancer_by_lua_block balancer_by_lua_file balancer_by_lua",
        Decides("code decides which server a connection goes to: dtr-lb runs no code of others"),
    ),
    (
        "dynamic_resolve jdomain fair session_sticky consistent_hash dyups_interface",
        Differs("of a module that nginx does not bring: dtr-lb spreads by hash"),
    ),
    ("backup_switch feedback response_time_factor", Differs("dtr-lb spreads by hash")),
    ("include", Read),
];

pub(super) const MATCH: Rows = &[("send expect include", Read)];
