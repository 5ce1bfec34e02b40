use super::expect;

#[test]
fn the_sample_of_dtrs_documentation_has_its_ports_swapped() {
    let text = "user  nginx;
worker_processes  1;

error_log  /var/log/nginx/error.log warn;
pid        /var/run/nginx.pid;

events {
    worker_connections  1024;
}

stream {
    upstream dtr_443 {
        server 10.0.0.11:80  max_fails=2 fail_timeout=30s;
        server 10.0.0.12:80  max_fails=2 fail_timeout=30s;
        server 10.0.0.13:80   max_fails=2 fail_timeout=30s;
    }
    upstream dtr_80 {
        server 10.0.0.11:443 max_fails=2 fail_timeout=30s;
        server 10.0.0.12:443 max_fails=2 fail_timeout=30s;
        server 10.0.0.13:443  max_fails=2 fail_timeout=30s;
    }
    server {
        listen 443;
        proxy_pass dtr_443;
    }

    server {
        listen 80;
        proxy_pass dtr_80;
    }
}
";
    expect(
        text,
        &[
            "config|name = \"dtr_443\"\nport = 443\nvip = \"10.0.0.100\"\nreplica_port = 80\n",
            "config|replicas = [\"10.0.0.11\", \"10.0.0.12\", \"10.0.0.13\"]\nmax_fails = 2  # nginx.conf:13\nfail_timeout = \"30s\"",
            "config|name = \"dtr_80\"\nport = 80\n",
            "config|scheme = \"https\"\npath = \"/health\"",
            "differs 2|no worker processes",
            "differs 8|datapath.max_flows",
            "taken 12|replicas",
            "fault 13|the two are swapped",
            "fault 18|the two are swapped",
            "fault 22|nobody asks the servers",
            "fault 22|10m of silence",
            "fault 23|the two are swapped",
            "taken 24|",
        ],
    );
}

#[test]
fn a_kubernetes_api_balancer_as_kubespray_writes_it() {
    let text = "error_log stderr notice;
worker_processes 2;
events { multi_accept on; use epoll; worker_connections 16384; }
stream {
  upstream kube_apiserver {
    least_conn;
    server 192.168.1.11:6443;
    server 192.168.1.12:6443;
    server 192.168.1.13:6443;
  }
  server {
    listen        6443;
    proxy_pass    kube_apiserver;
    proxy_timeout 10m;
    proxy_connect_timeout 1s;
  }
}
http {
  aio threads;
  aio_write on;
  keepalive_timeout 5m;
  server {
    listen 8081;
    location /healthz { access_log off; return 200; }
    location /stub_status { stub_status on; access_log off; }
  }
}
";
    expect(
        text,
        &[
            "config|[datapath]\nidle_timeout = \"10m\"  # nginx.conf:14",
            "config|max_fails = 1  # nginx.conf:7\nfail_timeout = \"10s\"",
            "config|scheme = \"tcp\"",
            "differs 6|equal shares of connections",
            "taken 14|idle_timeout",
            "differs 15|SYN",
            "left 22|of itself",
            "differs 24|/healthz",
            "differs 25|/metrics",
        ],
    );
}

#[test]
fn sni_routing_is_left_out_and_decides() {
    let text = "stream {
    map $ssl_preread_server_name $name {
        hostnames;
        registry.example.com  registry;
        *.example.org         web;
        default               registry;
    }
    upstream registry {
        hash $remote_addr consistent;
        server 10.0.0.11:443 max_fails=3 fail_timeout=10s;
        server 10.0.0.12:443;
        server 10.0.0.13:443 max_fails=3 fail_timeout=10s;
    }
    upstream web { server web1.example.com:443 resolve; }
    server {
        listen 443 reuseport backlog=4096;
        ssl_preread on;
        proxy_pass $name;
        proxy_timeout 50s;
    }
}
";
    expect(
        text,
        &[
            "config|name = \"registry\"",
            "config|affinity = \"source-ip\"  # nginx.conf:9",
            "config|max_fails = 3",
            "left 2!|(SNI)",
            "left 18!|Give each of the others (web) a VIP of its own",
            "differs 11|one max_fails",
            "left 14|passes connections to it",
            "differs 16|reuseport",
            "differs 17|does not look into TLS",
            "fault 19|silent",
        ],
    );
    // The same place whatever the name is.
    let text = "stream {
    map $ssl_preread_server_name $name {
        a.example.com  registry;
        default        registry;
    }
    upstream registry { server 10.0.0.11:443; }
    server { listen 443; listen 80; ssl_preread on; proxy_pass $name; }
}
";
    expect(text, &["config|name = \"registry-443\"", "differs 2|whatever it is"]);
}

#[test]
fn who_is_let_in_is_taken_and_the_servers_own_rules_hold() {
    let text = "stream {
    deny 10.66.0.0/16;
    upstream pg { server db1:5432 weight=5; server db2:5432 backup; server 10.0.0.3:5432 down; }
    server {
        listen 10.0.0.5:5432;
        allow 10.1.0.0/16;
        allow 2001:db8::/32;
        deny all;
        proxy_pass pg;
        proxy_timeout 1h;
        proxy_bind $remote_addr transparent;
    }
    server {
        listen 5433;
        allow <ADMIN_NET>;
        proxy_pass pg;
        proxy_timeout 1h;
    }
    server { listen 5434; proxy_pass 10.0.0.3:$server_port; proxy_timeout 1h; proxy_bind off; }
}
";
    expect(
        text,
        &[
            "config|vip = \"10.0.0.5\"\nreplica_port",
            "config|mode = \"dnat\"  # nginx.conf:11",
            "config|allow = [\"10.1.0.0/16\", \"2001:db8::/32\"]\ndeny = [\"0.0.0.0/0\", \"::/0\"]\ndenied = \"reset\"",
            "config|deny = [\"10.66.0.0/16\"]",
            "config|backup = [\"db2\"]",
            "config|address = \"db1\"\nweight = 5",
            "config|address = \"10.0.0.3\"\nweight = 0",
            "taken 6|allow",
            "taken 11|dnat",
            "fault 15!|is no address and no network",
        ]
        .map(|line| line.replace("vip = \"10.0.0.5\"\nreplica_port", "vip = \"10.0.0.5\"\nmode"))
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>(),
    );
}

#[test]
fn udp_tls_and_proxy_headers_decide() {
    let text = "stream {
    upstream dns { zone dns 64k; random two least_conn; server 10.0.0.53:53; server 10.0.0.54:53; }
    server { listen 53 udp; listen 53; proxy_pass dns; proxy_responses 1; }
    server {
        listen 636 ssl;
        ssl_certificate /etc/ssl/ldap.crt;
        ssl_verify_client on;
        proxy_ssl on;
        proxy_ssl_verify off;
        proxy_pass 10.0.0.61:636;
    }
    server {
        listen 443 proxy_protocol;
        proxy_protocol on;
        proxy_ssl on;
        proxy_pass 10.0.0.61:443;
    }
    server { listen 3306; proxy_ssl on; proxy_pass 10.0.0.61:3306; limit_conn addr 10; }
    server { listen unix:/run/x.sock; proxy_pass unix:/run/y.sock; }
}
";
    expect(
        text,
        &[
            "differs 2|by hash",
            "left 3!|over UDP",
            "left 3|for UDP",
            "left 5!|TLS ends here",
            "left 6|replicas",
            "left 7!|clients' certificates",
            "differs 8|clients' own TLS",
            "left 9|begins no TLS",
            "left 13!|PROXY header first",
            "left 14!|must not expect one",
            "fault 15|TLS within TLS",
            "left 18!|begins TLS to the servers",
            "left 18!|max_new_flows_per_source",
            "left 19!|a program of this host",
        ],
    );
}

#[test]
fn checks_of_nginx_plus_and_of_the_module() {
    let text = r#"stream {
    match pg_ready {
        send "\x00\x00\x00\x08\x04\xd2\x16\x2f";
        expect ~ "^[SN]";
    }
    match redis { expect "+PONG"; send "PING\r\n"; }
    upstream pg { zone pg 64k; server 10.0.0.11:5432 slow_start=30s max_conns=100; server 10.0.0.12:5432 max_conns=100; }
    upstream redis { server 10.0.0.21:6379; server 10.0.0.22:6379; }
    upstream web {
        server 10.0.0.31:8080; server 10.0.0.32:8080;
        check interval=3000 rise=2 fall=5 timeout=1000 type=http;
        check_http_send "HEAD /ping HTTP/1.0\r\nHost: web.example.com\r\nX-A: b\r\n\r\n";
        check_http_expect_alive http_2xx http_3xx;
    }
    server { listen 5432; proxy_pass pg; health_check interval=10 passes=2 fails=3 match=pg_ready port=8008 jitter=1; health_check_timeout 2s; }
    server { listen 6379; proxy_pass redis; health_check match=redis; }
    server { listen 8080; proxy_pass web; }
}
"#;
    expect(
        text,
        &[
            "config|steps = [{ send_hex = \"0000000804d2162f\" }, { expect = \"^[SN]\" }]",
            "config|port = 8008",
            "config|interval = \"10s\"\ntimeout = \"2s\"\nrise = 2\nfall = 3",
            "config|{ expect = ",
            "config|interval = \"5s\"\ntimeout = \"5s\"\nrise = 1\nfall = 1",
            "config|method = \"HEAD\"\npath = \"/ping\"\nhost = \"web.example.com\"\nheaders = [\"X-A: b\"]\nstatus = [\"200-399\"]",
            "config|interval = \"3s\"\ntimeout = \"1s\"\nrise = 2\nfall = 5",
            "config|max_flows_per_replica = 100",
            "config|slow_start = \"30s\"",
            "config|all_down = \"refuse\"",
            "differs 15|spread over the interval",
        ],
    );
}

#[test]
fn what_keeps_nginx_from_starting_is_named() {
    let text = "stream {
    upstream a { ip_hash; keepalive 16; server 10.0.0.1; server http://10.0.0.2:80/x; server 10.0.0.1:80 weight=heavy; }
    upstream a { server 10.0.0.9:80; }
    server {
        listen 80
        proxy_pass http://a;
        location / { proxy_pass http://a; proxy_set_header Host $host; }
        gzip on;
        proxy_timeout soon;
    };
    server { listen 81; proxy_pass nowhere; }
    server { listen 82; }
    server { proxy_pass a; }
    server { listen 83; proxy_pass a:8080 }
}
}
";
    expect(
        text,
        &[
            "config|affinity = \"source-ip\"",
            "fault 2|http {} only",
            "fault 2|no port",
            "fault 2|no scheme",
            "fault 2|weight=heavy",
            "fault 3!|of this name already (nginx.conf:2)",
            "fault 5|no `;` ends line 5",
            "fault 6|in stream {}",
            "fault 7|locations in http {} only",
            "fault 7|a proxy_pass already",
            "differs 7|",
            "fault 8|belongs into http {}",
            "fault 9|no time",
            "fault 10|no directive before it",
            "fault 11!|no upstream nowhere",
            "fault 12!|no proxy_pass",
            "fault 13!|no listen",
            "fault 14|has the ports of its servers",
            "fault 14|no `;` ends it",
            "fault 16|closes no block",
        ]
        // The two servers of which nothing is made decide as well.
        .iter()
        .copied()
        .filter(|line| !line.starts_with("differs 7") && !line.starts_with("fault 2|no port"))
        .collect::<Vec<_>>(),
    );
}

#[test]
fn included_parts_alone_carriage_returns_tabs_and_quotes() {
    let text = "# /etc/nginx/stream.d/dtr.conf\r\nupstream \"dtr\"\r\n{\r\n\tserver\t10.0.0.11:443\r\n\t\tweight=2\r\n\t\tmax_fails=0;\r\n\tserver 'dtr2.example.com:443' max_fails=0;\r\n}\r\nserver\r\n{\r\n\tlisten [::]:443 ipv6only=off; # both\r\n\tproxy_pass dtr;\r\n\tproxy_timeout \"1h 30m\";\r\n\tinclude snippets/tuning.conf;\r\n}\r\n";
    expect(
        text,
        &[
            "config|name = \"dtr\"",
            "config|idle_timeout = \"1h 30m\"",
            "config|max_fails = 0",
            "config|address = \"10.0.0.11\"\nweight = 2",
            "config|address = \"dtr2.example.com\"\nweight = 1",
            "left 14!|nginx -T",
        ],
    );
}

#[test]
fn what_has_to_be_filled_in_stands_in() {
    let text = "stream {
    upstream dtr { server <DTR_REPLICA_1_IP>:443; server ${DTR_2}:443; server $DTR_3:443; server [2001:db8::4]:443; ... }
    server { listen <PORT>; proxy_pass dtr; proxy_timeout 15m; }
    server { listen 8000-8002; proxy_pass 10.0.0.1:<PORT>; proxy_timeout 15m; }
}
";
    expect(
        text,
        &[
            "config|stands in for <DTR_REPLICA_1_IP>",
            "config|stands in for <DTR_2>",
            "config|stands in for $DTR_3",
            "config|address = \"2001:db8::4\"",
            "config|name = \"tcp-8002\"\nport = 8002",
            "config|port = 443",
            "fault 2!|no address",
            "fault 3!|that of the servers stands in for it",
            "fault 4!|<PORT> is no port",
        ],
    );
}

#[test]
fn other_variables_set_split_clients_geo_and_code() {
    let text = "stream {
    js_import main.js;
    js_set $target main.target;
    geo $zone { default inside; 10.0.0.0/8 inside; 192.0.2.0/24 outside; }
    split_clients $remote_addr $half { 50% inside; * outside; }
    map $remote_addr $other { default x; }
    upstream inside { server 10.0.0.1:80; }
    upstream outside { server 10.0.0.2:80; }
    server { listen 80; proxy_pass $zone; proxy_timeout 1h; }
    server { listen 81; proxy_pass $half; proxy_timeout 1h; }
    server { listen 82; set $where real.example.com:82; proxy_pass $where; resolver 10.0.0.53 valid=5s; proxy_timeout 1h; }
    server { listen 83; proxy_pass $ssl_preread_server_name:443; js_access main.access; proxy_timeout 1h; }
    server { listen 84; return $remote_addr; }
}
";
    expect(
        text,
        &[
            "config|address = \"real.example.com\"",
            "left 2|no code of others",
            "left 4!|the client's address chooses",
            "left 5!|shares of the clients",
            "left 6|no proxy_pass goes by this variable",
            "left 9!|Give each of the others (outside)",
            "left 10!|Give each of the others (inside)",
            "differs 11|host's own resolver",
            "left 12!|a variable that each connection sets",
            "left 12!|code",
            "left 13!|nginx itself answers",
        ],
    );
}

#[test]
fn what_nginx_prints_of_itself_has_the_included_files() {
    let text = "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
nginx: configuration file /etc/nginx/nginx.conf test is successful
# configuration file /etc/nginx/nginx.conf:
user nginx;
http {
    include /etc/nginx/mime.types;
}
stream {
    include stream.d/*.conf;
    include /etc/nginx/missing.d/*.conf;
}

# configuration file /etc/nginx/mime.types:

types {
    text/html html;
}
# configuration file /etc/nginx/stream.d/dtr.conf:
upstream dtr { server 10.0.0.11:443; server 10.0.0.12:443; }
server { listen 443; proxy_pass dtr; proxy_timeout 1h; include tuning.conf; }
# configuration file /etc/nginx/tuning.conf:
proxy_connect_timeout 5s
;
# configuration file /etc/nginx/other.conf:
worker_processes 1;
";
    expect(
        text,
        &[
            "config|name = \"dtr\"",
            "left 1|not a part",
            "taken 6|from line 13 on",
            "taken 9|from line 18 on",
            "left 10!|nginx -T",
            "left 15|answers",
            "differs 22|SYN",
            "differs 25|no worker processes",
        ],
    );
}
