//! `http`, and what is in it.

use super::{Becomes::*, Rows};

const CACHE: &str = "dtr-lb keeps no copies of answers";
const HEADERS: &str = "dtr-lb does not read requests, so that no header is set or changed: replicas see the balancer's address, or in mode \"dnat\" the client's";
const BODIES: &str = "dtr-lb does not read answers, and changes none";
const LOGS: &str = "no line is logged for a connection: `dtr-lb flows` shows those that there are, and /metrics counts them; requests are in the replicas' logs";
const BUFFERS: &str = "dtr-lb holds no requests or answers back: they go through as they come";
const TLS_THERE: &str = "TLS is ended by the replicas, with their certificates and settings";
const TO_SERVERS: &str = "dtr-lb begins no TLS towards replicas: it passes on what clients send";
const NO_REQUESTS: &str = "of HTTP requests, which dtr-lb does not see: connections are balanced";
const VARIABLES: &str = "dtr-lb has no variables";
const CODE: &str = "dtr-lb runs no code of others";
const SERVES: &str = "nginx itself answers here, or another kind of server does: dtr-lb serves nothing itself, keep nginx for it";
const ADMITS: &str =
    "who is let in depends on the request, which dtr-lb does not see: have the replicas look at it";
const CHANGES: &str =
    "requests are changed or sent elsewhere: dtr-lb does not see them, have the replicas do it";
const FIGURES: &str = "figures are at the agent's /metrics, in `dtr-lb status` and on the dashboard";

/// In `http` alone.
pub(super) const BLOCKS: Rows = &[
    ("upstream server match", Read),
    ("map geo split_clients", Read),
    ("log_format otel_exporter otel_service_name", Differs(LOGS)),
    ("types charset_map", LeftOut(BODIES)),
    (
        "limit_conn_zone limit_req_zone",
        LeftOut("it only counts; what is made of the count stands at limit_conn and limit_req"),
    ),
    ("proxy_cache_path fastcgi_cache_path uwsgi_cache_path scgi_cache_path", Differs(CACHE)),
    (
        "map_hash_bucket_size map_hash_max_size variables_hash_bucket_size variables_hash_max_size server_names_hash_bucket_size \
         server_names_hash_max_size keyval keyval_zone geoip_country geoip_city geoip_org geoip_proxy geoip_proxy_recursive geoip2 \
         geoip2_proxy geoip2_proxy_recursive oidc_provider userid_p3p auth_jwt_claim_set",
        LeftOut(VARIABLES),
    ),
    (
        "js_import js_include js_path js_preload_object js_shared_dict_zone lua_package_path lua_package_cpath lua_shared_dict \
         init_by_lua_block init_worker_by_lua_block exit_worker_by_lua_block init_by_lua_file init_worker_by_lua_file \
         init_by_lua init_worker_by_lua lua_max_pending_timers lua_max_running_timers lua_regex_cache_max_entries lua_sa_restart perl_modules perl_require perl_set \
         passenger_root passenger_ruby lua_load_resty_core lua_capture_error_log lua_thread_cache_max_entries opentracing_load_tracer opentelemetry_config",
        LeftOut(CODE),
    ),
    ("vhost_traffic_status_zone upstream_zone check_shm_size", Differs(FIGURES)),
];

/// In a server alone.
pub(super) const SERVER: Rows = &[("listen server_name location", Read), ("ssl", Read)];

/// What begins or ends a location.
pub(super) const LOCATION: Rows = &[
    ("proxy_pass health_check location", Read),
    (
        "stub_status status status_format api check_status vhost_traffic_status_display vhost_traffic_status_display_format dyups_interface",
        Differs(FIGURES),
    ),
    (
        "alias fastcgi_pass grpc_pass memcached_pass scgi_pass uwsgi_pass redis_pass tunnel_pass empty_gif flv mp4 hls f4f perl js_content content_by_lua_block \
         content_by_lua_file content_by_lua echo upstream_conf internal_redirect rtmp_stat rtmp_control dav_methods echo_exec drizzle_pass passenger_enabled",
        Decides(SERVES),
    ),
    ("limit_except", Decides(ADMITS)),
    ("internal proxy_pass_trailers", LeftOut(NO_REQUESTS)),
];

/// In servers and locations: what is done with requests.
pub(super) const RULES: Rows = &[
    ("return", Read),
    ("if rewrite set try_files", Read),
    ("rewrite_log break set_by_lua_block set_by_lua_file set_by_lua", LeftOut(VARIABLES)),
];

/// TLS ended here.
pub(super) const TLS: Rows = &[
    (
        "ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_certificate_compression ssl_ciphers ssl_conf_command \
         ssl_dhparam ssl_ecdh_curve ssl_early_data ssl_buffer_size ssl_password_file ssl_prefer_server_ciphers ssl_protocols \
         ssl_reject_handshake ssl_session_cache ssl_session_ticket_key ssl_session_tickets ssl_session_timeout ssl_stapling \
         ssl_stapling_file ssl_stapling_responder ssl_stapling_verify ssl_trusted_certificate ssl_verify_depth ssl_ocsp_cache \
         ssl_ocsp_responder ssl_key_log ssl_encrypted_hello_key ssl_dyn_rec_enable ssl_certificate_by_lua_block ssl_certificate_by_lua_file \
         ssl_session_fetch_by_lua_block ssl_session_store_by_lua_block ssl_client_hello_by_lua_block acme_issuer acme_certificate acme_shared_zone",
        LeftOut(TLS_THERE),
    ),
    (
        "ssl_verify_client ssl_client_certificate ssl_crl ssl_ocsp",
        Decides("clients' certificates are looked at by the replicas, if they are set up to"),
    ),
];

/// In `http`, servers and locations.
pub(super) const ANYWHERE: Rows = &[
    ("allow deny include proxy_read_timeout proxy_bind proxy_next_upstream", Read),
    (
        "proxy_connect_timeout",
        Differs(
            "dtr-lb does not connect itself: a SYN that its replica has not answered when the client sends it again goes to another one",
        ),
    ),
    (
        "proxy_send_timeout send_timeout client_body_timeout client_header_timeout keepalive_timeout keepalive_requests keepalive_time \
         keepalive_disable keepalive_min_timeout lingering_close lingering_time lingering_timeout reset_timedout_connection \
         client_header_buffer_size large_client_header_buffers proxy_protocol_timeout",
        Differs(
            "clients and replicas end connections by their own times; dtr-lb ends one that is silent for datapath.idle_timeout",
        ),
    ),
    (
        "proxy_next_upstream_tries proxy_next_upstream_timeout",
        Differs("a connection is tried at five replicas at most"),
    ),
    (
        "proxy_set_header proxy_pass_header proxy_hide_header proxy_pass_request_headers proxy_pass_request_body proxy_http_version \
         proxy_headers_hash_bucket_size proxy_headers_hash_max_size proxy_ignore_headers add_header add_trailer add_header_inherit expires etag \
         proxy_cookie_domain proxy_cookie_path proxy_cookie_flags proxy_redirect proxy_intercept_errors underscores_in_headers \
         ignore_invalid_headers more_set_headers more_clear_headers more_set_input_headers more_clear_input_headers server_tokens \
         real_ip_header real_ip_recursive proxy_allow_upstream chunked_transfer_encoding absolute_redirect port_in_redirect server_name_in_redirect \
         default_type userid userid_domain userid_expires userid_flags userid_mark userid_name userid_p3p userid_path userid_service \
         msie_padding msie_refresh early_hints http2_push_preload header_filter_by_lua_block headers_in_by_lua_block",
        Differs(HEADERS),
    ),
    (
        "set_real_ip_from",
        Decides("clients' addresses are not taken from a header: dtr-lb sees those that packets come from"),
    ),
    (
        "proxy_buffering proxy_request_buffering proxy_buffer_size proxy_buffers proxy_busy_buffers_size proxy_max_temp_file_size \
         proxy_temp_file_write_size proxy_temp_path client_body_buffer_size client_body_temp_path client_body_in_file_only \
         client_body_in_single_buffer output_buffers postpone_output sendfile sendfile_max_chunk tcp_nodelay tcp_nopush aio aio_write \
         directio directio_alignment read_ahead proxy_socket_keepalive proxy_ignore_client_abort proxy_send_lowat send_lowat \
         subrequest_output_buffer_size request_pool_size connection_pool_size client_body_temp max_ranges proxy_force_ranges \
         proxy_limit_rate limit_rate limit_rate_after http2_body_preread_size http2_chunk_size http2_recv_buffer_size",
        Differs(BUFFERS),
    ),
    ("client_max_body_size", Differs("dtr-lb has no limit to what clients upload; the replicas' own holds")),
    (
        "proxy_cache proxy_cache_background_update proxy_cache_bypass proxy_cache_convert_head proxy_cache_key proxy_cache_lock \
         proxy_cache_lock_age proxy_cache_lock_timeout proxy_cache_max_range_offset proxy_cache_methods proxy_cache_min_uses \
         proxy_cache_purge proxy_cache_revalidate proxy_cache_use_stale proxy_cache_valid proxy_no_cache proxy_store proxy_store_access \
         open_file_cache open_file_cache_errors open_file_cache_min_uses open_file_cache_valid slice proxy_cache_purger cache_purge",
        Differs(CACHE),
    ),
    (
        "gzip gzip_buffers gzip_comp_level gzip_disable gzip_http_version gzip_min_length gzip_proxied gzip_types gzip_vary gzip_static gunzip \
         gunzip_buffers brotli brotli_comp_level brotli_types brotli_static brotli_min_length zstd zstd_types sub_filter sub_filter_last_modified sub_filter_once sub_filter_types \
         addition_types add_before_body add_after_body charset charset_types override_charset source_charset ssi ssi_types \
         ssi_silent_errors ssi_value_length ssi_last_modified ssi_min_file_chunk image_filter xslt_stylesheet body_filter_by_lua_block pagespeed if_modified_since",
        Differs(BODIES),
    ),
    (
        "access_log open_log_file_cache log_not_found log_subrequest log_by_lua_block log_by_lua_file uninitialized_variable_warn otel_trace \
         otel_trace_context otel_span_name otel_span_attr opentracing opentracing_propagate_context opentelemetry opentelemetry_propagate error_log_write",
        Differs(LOGS),
    ),
    ("error_log", Differs("the agent logs to the journal: journalctl -u dtr-lb")),
    (
        "resolver resolver_timeout",
        Differs("host names of replicas are asked of the host's own resolver, again and again"),
    ),
    (
        "proxy_ssl_certificate proxy_ssl_certificate_cache proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_conf_command \
         proxy_ssl_crl proxy_ssl_key_log proxy_ssl_name proxy_ssl_password_file proxy_ssl_protocols proxy_ssl_server_name \
         proxy_ssl_session_reuse proxy_ssl_trusted_certificate proxy_ssl_verify proxy_ssl_verify_depth proxy_ssl_alpn",
        LeftOut(TO_SERVERS),
    ),
    (
        "http2 http3 http3_hq http2_idle_timeout http2_max_concurrent_pushes http2_max_concurrent_streams http2_max_field_size \
         http2_max_header_size http2_max_requests http2_push http2_recv_timeout http3_max_concurrent_streams http3_stream_buffer_size quic_active_connection_id_limit \
         quic_gso quic_host_key quic_retry merge_slashes disable_symlinks recursive_error_pages post_action \
         server_names_hash types_hash_bucket_size types_hash_max_size proxy_pass_error_message satisfy_any max_headers \
         status_zone js_set js_var js_periodic lua_code_cache lua_socket_log_errors lua_need_request_body lua_socket_connect_timeout lua_ssl_trusted_certificate lua_ssl_verify_depth lua_check_client_abort vhost_traffic_status \
         vhost_traffic_status_filter vhost_traffic_status_filter_by_host modsecurity_transaction_id mirror_request_body fastcgi_param fastcgi_index \
         fastcgi_buffers fastcgi_buffer_size fastcgi_read_timeout fastcgi_split_path_info fastcgi_intercept_errors fastcgi_hide_header fastcgi_connect_timeout fastcgi_send_timeout \
         fastcgi_temp_path uwsgi_temp_path scgi_temp_path uwsgi_param scgi_param uwsgi_read_timeout grpc_set_header grpc_read_timeout grpc_send_timeout grpc_connect_timeout grpc_buffer_size fastcgi_cache fastcgi_cache_key \
         fastcgi_cache_valid memcached_read_timeout health_check_timeout autoindex_exact_size autoindex_format autoindex_localtime random_index_on",
        LeftOut(NO_REQUESTS),
    ),
    ("mirror", Differs("requests are not copied to a second server: dtr-lb does not see them")),
    (
        "auth_basic auth_basic_user_file auth_request auth_request_set auth_jwt auth_jwt_key_file auth_jwt_key_request auth_jwt_require auth_jwt_leeway \
         auth_jwt_type auth_delay auth_oidc satisfy limit_req limit_req_dry_run limit_req_log_level limit_req_status limit_conn limit_conn_dry_run \
         limit_conn_log_level limit_conn_status valid_referers referer_hash_bucket_size referer_hash_max_size secure_link secure_link_md5 \
         secure_link_secret session_log modsecurity modsecurity_rules modsecurity_rules_file access_by_lua_block access_by_lua_file access_by_lua app_protect_enable \
         app_protect_policy_file js_access ancient_browser modern_browser auth_ldap auth_pam auth_gss auth_spnego access_by_lua_no_postpone",
        Decides(ADMITS),
    ),
    (
        "rewrite_by_lua_block rewrite_by_lua_file rewrite_by_lua balancer_by_lua_block js_body_filter js_header_filter proxy_method proxy_set_body server_rewrite_by_lua_block",
        Decides(CHANGES),
    ),
];

/// In all of them: what nginx serves itself. It matters where nothing is passed on.
pub(super) const CONTENT: Rows = &[(
    "root index error_page autoindex random_index",
    LeftOut("dtr-lb serves no files and no pages of errors"),
)];

pub(super) const UPSTREAM: Rows = &[
    (
        "server hash ip_hash sticky sticky_cookie_insert session_sticky check check_http_send check_http_expect_alive",
        Read,
    ),
    (
        "least_conn",
        Differs(
            "least connections: dtr-lb spreads by hash, so that servers get equal shares of connections, not of load. max_conns bounds what one may get",
        ),
    ),
    (
        "least_time fair",
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
    (
        "keepalive keepalive_requests keepalive_time keepalive_timeout ntlm",
        Differs(
            "nginx's own connections to servers: in dtr-lb the client's connection goes through to the replica",
        ),
    ),
    (
        "queue",
        Differs(
            "no request waits in dtr-lb for a replica with room: where all have as many connections as they may, clients are refused",
        ),
    ),
    ("zone", Differs("workers' shared memory: dtr-lb has one table for all processors")),
    ("state", Decides("servers are in a file that nginx writes itself: write them as [[replica]]")),
    (
        "resolver resolver_timeout",
        Differs("host names of replicas are asked of the host's own resolver, again and again"),
    ),
    (
        "check_shm_size check_keepalive_requests check_fastcgi_param",
        Differs("settings of the module for checks, which dtr-lb does not need"),
    ),
    (
        "upstream_probe probe",
        Decides("how servers are asked stands in [service.probe]: write what this asks there"),
    ),
    (
        "balancer_by_lua_block balancer_by_lua_file balancer_by_lua",
        Decides("code decides which server a request goes to: dtr-lb runs no code of others"),
    ),
    (
        "max_conns jdomain consistent_hash dynamic_resolve backup_switch feedback response_time_factor status_zone",
        Differs("of a module that nginx does not bring: dtr-lb spreads by hash"),
    ),
    ("include", Read),
];

pub(super) const MATCH: Rows = &[("status header body require include", Read)];
