//! nginx's own variables: what has their names is no template's variable.

/// Names of `stream` and `http`.
const NAMES: &str = "\
    ancient_browser args binary_remote_addr body_bytes_sent bytes_received bytes_sent connection connection_requests \
    connection_time connections_active connections_reading connections_waiting connections_writing content_length content_type \
    date_gmt date_local document_root document_uri fastcgi_script_name host hostname http2 http3 is_args is_request_port limit_conn_status limit_rate \
    limit_req_status memcached_key modern_browser msec msie nginx_version pid pipe protocol proxy_add_x_forwarded_for proxy_host \
    proxy_port query_string realip_remote_addr realip_remote_port realpath_root remote_addr remote_passwd remote_port remote_user request \
    request_body request_body_file request_completion request_filename request_id request_length request_method request_port request_time \
    request_uri scheme secure_link secure_link_expires server_addr server_name server_port server_protocol session_log_id \
    session_time slice_range spdy status tcpinfo_rtt tcpinfo_rttvar tcpinfo_snd_cwnd tcpinfo_rcv_space time_iso8601 time_local \
    uid_got uid_reset uid_set uri connection_upgrade geoip_country_code geoip_city invalid_referer otel_trace_id";
/// Of variables whose names go on in any way.
const PREFIXES: &str = "\
    arg_ cookie_ http_ jwt_claim_ jwt_header_ proxy_protocol_ sent_http_ sent_trailer_ ssl_ upstream_ geoip_ geoip2_ js_ realip_ \
    tcpinfo_ mqtt_preread_ secure_link_ otel_";

/// Whether nginx itself gives a variable of this name (without `$`) a value.
pub(in crate::nginx) fn is_own(name: &str) -> bool {
    NAMES.split_whitespace().any(|own| own == name)
        || PREFIXES.split_whitespace().any(|prefix| name.starts_with(prefix))
        || (name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_digit()))
}
