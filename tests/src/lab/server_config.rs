//! The configurations of the two servers a replica is made of: nginx in front, docker-registry behind it.
//!
//! Both are pure text made from paths and ports. The registry listens on the namespace's loopback only.

use std::path::Path;

use super::{access_log, certificate::CertificateFiles};

/// Where a replica's docker-registry listens, in the replica's own namespace.
pub(super) const REGISTRY_ADDRESS: &str = "127.0.0.1:5000";

/// What nginx needs to know of its replica.
pub(super) struct NginxConfig<'a> {
    pub(super) name: &'a str,
    /// The replica's own directory: temporary files, the access log.
    pub(super) directory: &'a Path,
    /// The directory with `big`.
    pub(super) content: &'a Path,
    pub(super) certificate: &'a CertificateFiles,
    pub(super) http_port: u16,
    pub(super) https_port: u16,
    pub(super) registry: bool,
    /// Whether it also listens on IPv6.
    pub(super) listen_v6: bool,
    /// The replica is sick while this file exists.
    pub(super) sick: &'a Path,
    pub(super) access_log: &'a Path,
}

impl NginxConfig<'_> {
    pub(super) fn render(&self) -> String {
        let Self {
            name,
            directory,
            content,
            certificate: CertificateFiles { certificate, key },
            http_port,
            https_port,
            registry,
            listen_v6,
            sick,
            access_log,
        } = self;
        let (directory, content) = (directory.display(), content.display());
        let (certificate, key) = (certificate.display(), key.display());
        let (sick, access_log) = (sick.display(), access_log.display());
        let format = access_log::FORMAT;
        let more = if *listen_v6 {
            format!(
                "        listen [::]:{http_port} backlog=4096;\n        listen [::]:{https_port} ssl backlog=4096;\n"
            )
        } else {
            String::new()
        };
        let rest = if *registry { PROXY } else { NO_REGISTRY };
        format!(
            r#"user root;
worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    log_format lab '{format}';
    access_log {access_log} lab;
    client_body_temp_path {directory}/tmp/body;
    proxy_temp_path {directory}/tmp/proxy;
    fastcgi_temp_path {directory}/tmp/fastcgi;
    uwsgi_temp_path {directory}/tmp/uwsgi;
    scgi_temp_path {directory}/tmp/scgi;
    sendfile on;
    client_max_body_size 0;
    map $arg_rate $slow_rate {{ "" 2m; default $arg_rate; }}
    server {{
        listen {http_port} backlog=4096;
        listen {https_port} ssl backlog=4096;
{more}        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        default_type application/octet-stream;
        location = /health {{
            default_type application/json;
            if (-f {sick}) {{ return 503 '{{"Error":"sick","Healthy":false}}'; }}
            return 200 '{{"Error":"","Healthy":true}}';
        }}
        location = /whoami {{ default_type text/plain; return 200 "{name}\n"; }}
        location = /big {{ alias {content}/big; }}
        location /upload/ {{ alias {directory}/upload/; dav_methods PUT; }}
        location /slow/ {{ alias {content}/; limit_rate $slow_rate; }}
{rest}    }}
}}
"#
        )
    }
}

/// No buffering on disk: a push and a pull have to stream through, as they do in DTR.
const PROXY: &str = "        location / {
            proxy_pass http://127.0.0.1:5000;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 900s;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Real-IP $remote_addr;
        }
";

const NO_REGISTRY: &str = r#"        location / { default_type text/plain; return 404 "no registry in this lab\n"; }
"#;

/// The configuration of a replica's docker-registry. All replicas of a lab share the storage and the secret, so
/// that an upload begun at one goes on at another: as in DTR.
///
/// No blob-descriptor cache: a replica must see at once what was pushed through another.
pub(super) fn registry(storage: &Path) -> String {
    format!(
        "version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {}
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: {REGISTRY_ADDRESS}
  secret: the-same-at-all-replicas-of-a-lab
  relativeurls: true
",
        storage.display()
    )
}
