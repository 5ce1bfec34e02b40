use super::expect;

#[test]
fn a_registry_behind_http_with_tls_ended() {
    let text = r#"http {
    upstream docker-registry { server registry1:5000; server registry2:5000; keepalive 32; }
    map $upstream_http_docker_distribution_api_version $docker_distribution_api_version {
        '' 'registry/2.0';
    }
    server {
        listen 443 ssl http2;
        server_name registry.example.com;
        ssl_certificate /etc/nginx/conf.d/domain.crt;
        ssl_certificate_key /etc/nginx/conf.d/domain.key;
        client_max_body_size 0;
        chunked_transfer_encoding on;
        location /v2/ {
            if ($http_user_agent ~ "^(docker\/1\.(3|4|5(?!\.[0-9]-dev))|Go ).*$" ) { return 404; }
            auth_basic "Registry realm";
            add_header 'Docker-Distribution-Api-Version' $docker_distribution_api_version always;
            proxy_pass http://docker-registry;
            proxy_set_header Host $http_host; # required for docker client's sake
            proxy_read_timeout 900;
        }
    }
    server {
        listen 80;
        return 301 https://$host$request_uri;
    }
}
"#;
    expect(
        text,
        &[
            "config|name = \"docker-registry\"\nport = 443",
            "config|replica_port = 5000",
            "differs 2|goes through to the replica",
            "left 3|no proxy_pass",
            "fault 6|connections: all requests of one",
            "left 7!|TLS ends here",
            "differs 8|names are not looked at",
            "left 9|replicas",
            "differs 11|no limit",
            "left 13!|speak none now",
            "left 22!|no service is made",
            "left 24!|port = 80",
        ],
    );
}

#[test]
fn a_plain_proxy_is_a_service_without_rules() {
    let text = r#"upstream app { ip_hash; server 10.0.0.1:8080 max_fails=2; server 10.0.0.2:8080 max_fails=2; }
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    allow 10.0.0.0/8;
    deny all;
    location / {
        proxy_pass http://app/;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_read_timeout 20m;
        health_check uri=/ready match=fine interval=2s;
    }
    location = /nginx_status { stub_status; }
}
match fine { status 200-299 404; header Content-Type ~ json; body !~ "maintenance"; }
"#;
    expect(
        text,
        &[
            "config|idle_timeout = \"20m\"  # nginx.conf:10",
            "config|affinity = \"source-ip\"",
            "config|deny = [\"0.0.0.0/0\", \"::/0\"]",
            "config|path = \"/ready\"\nstatus = [\"200-299\", \"404\"]\nreject_body = \"maintenance\"\nexpect_headers = [\"Content-Type: json\"]\ninterval = \"2s\"",
            "differs 4|of the other family",
            "differs 9|no header is set",
            "differs 13|/metrics",
        ],
    );
}

#[test]
fn rules_of_requests_decide() {
    let text = r#"worker_processes auto;
include /etc/nginx/modules-enabled/*.conf;
http {
    include mime.types;
    include /etc/nginx/conf.d/*.conf;
    limit_req_zone $binary_remote_addr zone=one:10m rate=1r/s;
    upstream a { server 10.0.0.1:80; sticky cookie srv_id expires=1h; server 10.0.0.2:80; }
    server {
        listen 8080;
        server_name a.example.com b.example.com;
        if ($http_x) { return 403; }
        rewrite ^/old /new;
        location / { proxy_pass https://a; limit_req zone=one; proxy_cache off; }
        location ~ \.php$ { fastcgi_pass unix:/run/php.sock; include fastcgi_params; }
        location /api/ { proxy_pass http://10.0.0.7:80/; }
        error_page 502 /50x.html;
    }
    server { listen 8081; root /srv/www; }
}
mail { server { listen 25; protocol smtp; } }
"#;
    expect(
        text,
        &[
            "config|name = \"a\"",
            "left 2|by its name",
            "left 4|by its name",
            "left 5!|nginx -T",
            "differs 7|no cookie",
            "left 11!|depends on it",
            "left 12!|another path",
            "left 13!|begins TLS",
            "left 13!|who is let in",
            "left 14!|in their own way",
            "left 15!|in their own way",
            "left 18!|no service is made",
            "left 20!|a mail proxy",
        ],
    );
}

#[test]
fn what_harbor_and_ingress_nginx_write_for_themselves_is_named() {
    let harbor = "worker_processes auto;
events { worker_connections 3096; use epoll; multi_accept on; }
http {
  tcp_nodelay on;
  upstream core { server core:8080; }
  upstream portal { server portal:8080; }
  log_format timed_combined '$remote_addr - \"$request\" $status';
  server {
    listen 8443 ssl;
    server_tokens off;
    location / { proxy_pass http://portal/; proxy_buffering off; }
    location /c/ { proxy_pass http://core/c/; }
    location /v1/ { return 404; }
    location /v2/ { proxy_pass http://core/v2/; proxy_request_buffering off; }
  }
  server { listen 8080; return 308 https://$host:443$request_uri; }
}
";
    expect(
        harbor,
        &[
            "left 5!|preset = \"harbor\"",
            "left 9!|TLS ends",
            "left 12!|own way",
            "left 13!|",
            "left 14!|",
            "left 16!|",
            "left 11!|speak none now",
        ],
    );
    let ingress = "http {
  upstream upstream_balancer {
    server 0.0.0.1; # placeholder
    balancer_by_lua_block { balancer.balance() }
    keepalive 320;
  }
  server { listen 80; location / { proxy_pass http://10.0.0.1; } }
}
";
    expect(
        ingress,
        &["left 2!|ingress controllers", "config|replica_port = 80"]
            .map(|line| line.replace("replica_port = 80", "port = 80"))
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
}
