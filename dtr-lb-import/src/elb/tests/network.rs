//! Network and application load balancers.

use super::check;
use crate::{Given, expected};

const BALANCER: &str = r#"{
    "LoadBalancers": [
        {
            "LoadBalancerArn": "arn:lb/registry",
            "DNSName": "registry-0.elb.eu-west-1.amazonaws.com",
            "LoadBalancerName": "registry",
            "Scheme": "internal",
            "State": {
                "Code": "active"
            },
            "Type": "network",
            "AvailabilityZones": [
                {
                    "ZoneName": "eu-west-1a",
                    "SubnetId": "subnet-0123",
                    "LoadBalancerAddresses": [
                        {
                            "PrivateIPv4Address": "10.20.0.10"
                        }
                    ]
                }
            ],
            "IpAddressType": "ipv4"
        }
    ]
}
"#;

const LISTENERS: &str = r#"{
    "Listeners": [
        {
            "ListenerArn": "arn:l/443",
            "LoadBalancerArn": "arn:lb/registry",
            "Port": 443,
            "Protocol": "TCP",
            "DefaultActions": [
                {
                    "Type": "forward",
                    "TargetGroupArn": "arn:tg/https",
                    "Order": 1,
                    "ForwardConfig": {
                        "TargetGroups": [ { "TargetGroupArn": "arn:tg/https" } ],
                        "TargetGroupStickinessConfig": { "Enabled": false }
                    }
                }
            ]
        },
        {
            "ListenerArn": "arn:l/80",
            "LoadBalancerArn": "arn:lb/registry",
            "Port": 80,
            "Protocol": "TCP",
            "DefaultActions": [
                {
                    "Type": "forward",
                    "TargetGroupArn": "arn:tg/http"
                }
            ]
        },
        {
            "ListenerArn": "arn:l/53",
            "LoadBalancerArn": "arn:lb/registry",
            "Port": 53,
            "Protocol": "UDP",
            "DefaultActions": [ { "Type": "forward", "TargetGroupArn": "arn:tg/http" } ]
        }
    ]
}
"#;

const GROUPS: &str = r#"{
    "TargetGroups": [
        {
            "TargetGroupArn": "arn:tg/https",
            "TargetGroupName": "https",
            "Protocol": "TCP",
            "Port": 443,
            "VpcId": "vpc-0",
            "HealthCheckProtocol": "HTTPS",
            "HealthCheckPort": "traffic-port",
            "HealthCheckEnabled": true,
            "HealthCheckIntervalSeconds": 10,
            "HealthCheckTimeoutSeconds": 6,
            "HealthyThresholdCount": 3,
            "UnhealthyThresholdCount": 4,
            "HealthCheckPath": "/health",
            "Matcher": {
                "HttpCode": "200,401"
            },
            "LoadBalancerArns": [
                "arn:lb/registry"
            ],
            "TargetType": "ip"
        },
        {
            "TargetGroupArn": "arn:tg/http",
            "TargetGroupName": "http",
            "Protocol": "TCP",
            "Port": 80,
            "HealthCheckProtocol": "TCP",
            "HealthCheckPort": "8081",
            "TargetType": "instance"
        }
    ]
}
"#;

const HEALTH: &str = r#"{
    "TargetHealthDescriptions": [
        {
            "Target": {
                "Id": "10.20.1.11",
                "Port": 80
            },
            "HealthCheckPort": "8081",
            "TargetHealth": {
                "State": "unhealthy",
                "Reason": "Target.Timeout"
            }
        },
        {
            "Target": {
                "Id": "10.20.1.12",
                "Port": 80
            },
            "TargetHealth": {
                "State": "draining"
            }
        }
    ]
}
{
    "TargetHealthDescriptions": [
        { "Target": { "Id": "10.20.1.11", "Port": 443 } },
        { "Target": { "Id": "10.20.1.12", "Port": 443 } }
    ]
}
"#;

#[test]
fn the_files_of_a_network_load_balancer_in_any_order() {
    check(
        &[
            ("health.json", HEALTH),
            ("groups.json", GROUPS),
            ("listeners.json", LISTENERS),
            ("lb.json", BALANCER),
        ],
        r#"
        [[service]]
        name = "registry-443"
        port = 443
        vip = "10.20.0.10"
        replicas = ["10.20.1.11", "10.20.1.12"]
        [service.probe]
        scheme = "https"
        path = "/health"
        status = ["200", "401"]
        interval = "10s"
        timeout = "6s"
        rise = 3
        fall = 4
        [[service]]
        name = "registry-80"
        port = 80
        vip = "10.20.0.10"
        replicas = ["10.20.1.11", "10.20.1.12"]
        [service.probe]
        scheme = "tcp"
        port = 8081
        interval = "30s"
        timeout = "10s"
        rise = 5
        fall = 2
        [[replica]]
        name = "10.20.1.11"
        address = "10.20.1.11"
        [[replica]]
        name = "10.20.1.12"
        address = "10.20.1.12"
        "#,
        &[
            "out 9 dtr-lb asks itself",
            "differs 16 weight 0",
            "differs 31 mode \"nat\" is written",
            "fault 6 silent connections end after 5m 50s",
            "out! 37 dtr-lb balances TCP, not UDP",
            "differs 19 --vip",
        ],
    );
}

#[test]
fn attributes() {
    let attributes = r#"{
    "Attributes": [
        {
            "Key": "stickiness.enabled",
            "Value": "true"
        },
        {
            "Value": "source_ip",
            "Key": "stickiness.type"
        },
        { "Key": "slow_start.duration_seconds", "Value": "60" },
        { "Key": "preserve_client_ip.enabled", "Value": "true" },
        { "Key": "proxy_protocol_v2.enabled", "Value": "true" },
        { "Key": "target_failover.on_unhealthy", "Value": "no_rebalance" },
        { "Key": "deregistration_delay.timeout_seconds", "Value": "300" },
        { "Key": "never.heard_of", "Value": "x" }
    ]
}
{ "Attributes": [ { "Key": "tcp.idle_timeout.seconds", "Value": "6000" } ] }
{ "Attributes": [ { "Key": "deletion_protection.enabled", "Value": "true" }, { "Key": "access_logs.s3.enabled", "Value": "false" } ] }
"#;
    let files =
        [("attributes.json", attributes), ("l.json", LISTENERS), ("g.json", GROUPS), ("h.json", HEALTH)];
    let import = expected::read(&files, &Given::default());
    let config = expected::bare(&import.config);
    for line in ["idle_timeout = \"1h 40m\"", "affinity = \"source-ip\"", "slow_start = \"1m\""] {
        assert!(config.contains(line), "{config}");
    }
    expected::hold(
        &import.report,
        &[
            "taken 3 affinity",
            "taken 7 ",
            "taken 11 slow_start",
            "differs 12 Mode \"dnat\"",
            "out! 13 PROXY protocol",
            "differs 14 datapath.on_down",
            "differs 15 replica drain",
            "out! 16 does not know this attribute",
            "taken 19 datapath.idle_timeout",
            "out 20 nothing about balancing",
            "out! 37 not UDP",
        ],
    );
    for (name, text) in files {
        expected::accounted(&import.report, name, text);
    }
}

#[test]
fn an_application_load_balancer() {
    let text = r#"{
  "LoadBalancers": [ { "LoadBalancerArn": "a", "LoadBalancerName": "web", "Type": "application" } ],
  "Listeners": [
    {
      "ListenerArn": "l1", "LoadBalancerArn": "a", "Port": 443,
      "Protocol": "HTTPS",
      "SslPolicy": "ELBSecurityPolicy-2016-08",
      "DefaultActions": [
        {
          "Type": "forward",
          "ForwardConfig": {
            "TargetGroups": [
              { "TargetGroupArn": "blue", "Weight": 3 },
              { "TargetGroupArn": "green", "Weight": 1 }
            ]
          }
        }
      ]
    },
    {
      "ListenerArn": "l2", "LoadBalancerArn": "a", "Port": 80,
      "Protocol": "HTTP",
      "DefaultActions": [
        {
          "Type": "redirect",
          "RedirectConfig": { "Protocol": "HTTPS", "StatusCode": "HTTP_301" }
        }
      ]
    }
  ],
  "Rules": [
    {
      "Priority": "1",
      "Conditions": [ { "Field": "path-pattern", "Values": [ "/v2/*" ] } ],
      "Actions": [ { "Type": "forward", "TargetGroupArn": "blue" } ],
      "IsDefault": false
    },
    { "Priority": "default", "Conditions": [], "Actions": [ { "Type": "forward" } ], "IsDefault": true }
  ],
  "TargetGroups": [
    { "TargetGroupArn": "blue", "TargetGroupName": "blue", "Protocol": "HTTPS", "Port": 8443, "TargetType": "ip", "HealthCheckProtocol": "HTTPS" },
    { "TargetGroupArn": "green", "TargetGroupName": "green", "Protocol": "HTTPS", "Port": 8443, "TargetType": "ip", "HealthCheckProtocol": "HTTPS" }
  ]
}
{ "TargetGroupArn": "green", "TargetHealthDescriptions": [ { "Target": { "Id": "10.0.0.2", "Port": 8443 } } ] }
{ "TargetGroupArn": "blue", "TargetHealthDescriptions": [ { "Target": { "Id": "10.0.0.1", "Port": 8443 } } ] }
"#;
    check(
        &[("alb.json", text)],
        r#"
        [[service]]
        name = "web-443"
        port = 443
        vip = "198.51.100.11"
        replica_port = 8443
        replicas = ["10.0.0.1", "10.0.0.2"]
        [service.probe]
        scheme = "https"
        path = "/"
        status = ["200"]
        interval = "30s"
        timeout = "5s"
        rise = 5
        fall = 2
        [[replica]]
        name = "10.0.0.1"
        address = "10.0.0.1"
        weight = 3
        [[replica]]
        name = "10.0.0.2"
        address = "10.0.0.2"
        weight = 1
        "#,
        &[
            "differs 1 single requests",
            "fault 5 silent connections end after 1m",
            "out! 6 clients see the targets' certificates",
            "out 7 of TLS that the load balancer ends",
            "out! 26 dtr-lb answers nothing itself",
            "out! 34 whatever they ask for",
            "out! 35 whatever they ask for",
            "differs 45 weight of 1 is shared",
            "differs 46 weight of 3 is shared",
        ],
    );
}

#[test]
fn what_is_missing_is_named() {
    let import = expected::read(&[("g.json", GROUPS)], &Given::default());
    expected::hold(
        &import.report,
        &[
            "fault! 5 describe-target-health",
            "fault! 7 describe-listeners",
            "fault! 26 describe-target-health",
            "fault! 28 describe-listeners",
            "differs 31 mode",
        ],
    );
    let import = expected::read(&[("l.json", LISTENERS), ("e.json", super::DOCUMENT)], &Given::default());
    expected::hold(
        &import.report,
        &[
            "fault! 10 describe-target-groups",
            "fault! 13 describe-target-groups",
            "fault! 27 describe-target-groups",
            "fault! 36 describe-target-groups",
            "fault! 30 is no address",
            "fault! 33 is no address",
            "out! 41 security groups",
        ],
    );
}

#[test]
fn two_load_balancers_with_one_port_have_their_own_addresses() {
    let text = r#"{ "LoadBalancers": [
  { "LoadBalancerArn": "a", "LoadBalancerName": "one", "Type": "network", "AvailabilityZones": [ { "LoadBalancerAddresses": [ { "IpAddress": "192.0.2.1" } ] } ] },
  { "LoadBalancerArn": "b", "LoadBalancerName": "two", "Type": "network", "AvailabilityZones": [ { "LoadBalancerAddresses": [ { "IpAddress": "192.0.2.2" } ] } ] }
],
"Listeners": [
  { "LoadBalancerArn": "a", "Port": 80, "Protocol": "TCP", "DefaultActions": [ { "TargetGroupArn": "t" } ] },
  { "LoadBalancerArn": "b", "Port": 80, "Protocol": "TCP", "DefaultActions": [ { "TargetGroupArn": "t" } ] }
],
"TargetGroups": [ { "TargetGroupArn": "t", "Port": 80, "Protocol": "TCP", "HealthCheckProtocol": "TCP" } ],
"TargetHealthDescriptions": [ { "Target": { "Id": "10.0.0.1" } } ] }
"#;
    let import = expected::read(&[("nlb.json", text)], &Given::default());
    let vips: Vec<_> = import.config.lines().filter(|line| line.starts_with("vip")).collect();
    assert_eq!(vips, ["vip = \"192.0.2.1\"", "vip = \"192.0.2.2\""]);
    expected::accounted(&import.report, "nlb.json", text);
}
