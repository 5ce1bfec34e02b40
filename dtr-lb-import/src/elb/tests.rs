//! What AWS prints, as operators paste it.

mod network;
mod properties;

use std::net::IpAddr;

use super::is_one;
use crate::{Format, Given, expected};

/// The document's, as it stands: cut out of a list.
const DOCUMENT: &str = r#"{
            "Subnets": [
                "subnet-XXXXXXXX",
                "subnet-YYYYYYYY",
                "subnet-ZZZZZZZZ"
            ],
            "CanonicalHostedZoneNameID": "XXXXXXXXXXX",
            "CanonicalHostedZoneName": "XXXXXXXXX.us-west-XXX.elb.amazonaws.com",
            "ListenerDescriptions": [
                {
                    "Listener": {
                        "InstancePort": 443,
                        "LoadBalancerPort": 443,
                        "Protocol": "TCP",
                        "InstanceProtocol": "TCP"
                    },
                    "PolicyNames": []
                }
            ],
            "HealthCheck": {
                "HealthyThreshold": 2,
                "Interval": 10,
                "Target": "HTTPS:443/health",
                "Timeout": 2,
                "UnhealthyThreshold": 4
            },
            "VPCId": "vpc-XXXXXX",
            "BackendServerDescriptions": [],
            "Instances": [
                {
                    "InstanceId": "i-XXXXXXXXX"
                },
                {
                    "InstanceId": "i-XXXXXXXXX"
                },
                {
                    "InstanceId": "i-XXXXXXXXX"
                }
            ],
            "DNSName": "XXXXXXXXXXXX.us-west-2.elb.amazonaws.com",
            "SecurityGroups": [
                "sg-XXXXXXXXX"
            ],
            "Policies": {
                "LBCookieStickinessPolicies": [],
                "AppCookieStickinessPolicies": [],
                "OtherPolicies": []
            },
            "LoadBalancerName": "ELB-DTR",
            "CreatedTime": "2017-02-13T21:40:15.400Z",
            "AvailabilityZones": [
                "us-west-2c",
                "us-west-2a",
                "us-west-2b"
            ],
            "Scheme": "internet-facing",
            "SourceSecurityGroup": {
                "OwnerAlias": "XXXXXXXXXXXX",
                "GroupName":  "XXXXXXXXXXXX"
            }
        },
        
"#;

fn check(files: &[(&str, &str)], config: &str, rows: &[&str]) {
    expected::check(Format::Elb, files, config, rows);
}

#[test]
fn which_texts_are_ones() {
    for text in [
        DOCUMENT,
        "{\"LoadBalancerDescriptions\": []}",
        "\"ListenerDescriptions\" : [",
        "$ aws elbv2 describe-target-health\n{\n \"TargetHealthDescriptions\": []}",
        "{\"Attributes\": [{\"Key\": \"deregistration_delay.timeout_seconds\", \"Value\": \"30\"}]}",
    ] {
        assert!(is_one(text), "{text}");
    }
    for text in [
        "{\"Resources\": {\"A\": {\"Type\": \"AWS::ElasticLoadBalancingV2::Listener\", \"Properties\": {\"DefaultActions\": []}}}}",
        "resource \"aws_lb\" \"a\" {\n  name = \"Listeners\"\n}",
        "{\"terraform_version\": \"1.9\", \"LoadBalancerArn\": 1}",
        "log_format a '{\"Listeners\"}';",
        "{}",
        "",
    ] {
        assert!(!is_one(text), "{text}");
    }
}

#[test]
fn the_document_s_sample_as_it_stands() {
    check(
        &[("elb.json", DOCUMENT)],
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "ELB-DTR"
        port = 443
        vip = "198.51.100.11"
        replicas = ["i-XXXXXXXXX", "i-XXXXXXXXX-2", "i-XXXXXXXXX-3"]
        [service.probe]
        scheme = "https"
        path = "/health"
        status = ["200"]
        interval = "10s"
        timeout = "2s"
        rise = 2
        fall = 4
        [[replica]]
        name = "i-XXXXXXXXX"
        address = "192.0.2.11"
        [[replica]]
        name = "i-XXXXXXXXX-2"
        address = "192.0.2.12"
        [[replica]]
        name = "i-XXXXXXXXX-3"
        address = "192.0.2.13"
        "#,
        &[
            "out 1 networks of its own host",
            "fault 13 no service at port 80",
            "taken 23 200 alone is healthy",
            "fault! 30 give --replica 'i-XXXXXXXXX=ADDRESS'",
            "fault! 33 i-XXXXXXXXX-2 is no address",
            "fault! 36 i-XXXXXXXXX-3 is no address",
            "differs 40 lead to the VIP",
            "out! 41 describe-security-groups",
            "fault 49 silent connections end after 1m",
        ],
    );
}

#[test]
fn the_document_s_sample_with_addresses() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let given = Given {
        vips: vec![address("10.0.0.10")],
        replicas: ["10.0.0.11", "10.0.0.12", "10.0.0.13"].map(|text| (String::new(), address(text))).to_vec(),
        ..Given::default()
    };
    let import = expected::read(&[("elb.json", DOCUMENT)], &given);
    let config = expected::bare(&import.config);
    for line in [
        "vip = \"10.0.0.10\"",
        "address = \"10.0.0.11\"",
        "address = \"10.0.0.12\"",
        "address = \"10.0.0.13\"",
    ] {
        assert!(config.contains(line), "{config}");
    }
    expected::hold(
        &import.report,
        &["fault 13 no service at port 80", "fault 49 silent connections", "out! 41 security groups"],
    );
}

#[test]
fn a_whole_output_with_attributes_instances_and_security_groups() {
    check(
        &[
            (
                "attributes.json",
                r#"{
    "LoadBalancerAttributes": {
        "CrossZoneLoadBalancing": {
            "Enabled": true
        },
        "AccessLog": { "Enabled": false },
        "ConnectionDraining": { "Enabled": true, "Timeout": 300 },
        "ConnectionSettings": {
            "IdleTimeout": 3600
        }
    }
}
"#,
            ),
            (
                "instances.json",
                r#"{
    "Reservations": [
        {
            "OwnerId": "123456789012",
            "Instances": [
                {
                    "InstanceId": "i-0aaa",
                    "PrivateIpAddress": "10.0.1.11",
                    "State": {
                        "Code": 16,
                        "Name": "running"
                    },
                    "BrandNewMember": 1
                },
                {
                    "InstanceId": "i-0bbb",
                    "PrivateIpAddress": "10.0.1.12"
                }
            ]
        }
    ]
}
"#,
            ),
            (
                "elb.json",
                r#"$ aws elb describe-load-balancers --load-balancer-names registry
{
    "LoadBalancerDescriptions": [
        {
            "LoadBalancerName": "registry",
            "ListenerDescriptions": [
                {
                    "Listener": { "Protocol": "TCP", "LoadBalancerPort": 80, "InstanceProtocol": "TCP", "InstancePort": 8080 },
                    "PolicyNames": []
                },
                {
                    "Listener": {
                        "Protocol": "SSL",
                        "LoadBalancerPort": 443,
                        "InstanceProtocol": "SSL",
                        "InstancePort": 8443,
                        "SSLCertificateId": "arn:aws:acm:x"
                    }
                },
                {
                    "Listener": {
                        "Protocol": "HTTPS",
                        "LoadBalancerPort": 8443,
                        "InstanceProtocol": "HTTP",
                        "InstancePort": 8080
                    }
                }
            ],
            "Policies": {
                "LBCookieStickinessPolicies": [
                    { "PolicyName": "sticky", "CookieExpirationPeriod": 60 }
                ]
            },
            "BackendServerDescriptions": [
                {
                    "InstancePort": 8080,
                    "PolicyNames": [ "proxy-protocol" ]
                }
            ],
            "Instances": [ { "InstanceId": "i-0aaa" }, { "InstanceId": "i-0bbb" } ],
            "HealthCheck": {
                "Target": "TCP:8080",
                "Interval": 30,
                "Timeout": 5,
                "UnhealthyThreshold": 2,
                "HealthyThreshold": 10
            },
            "SecurityGroups": [ "sg-1" ]
        }
    ]
}
"#,
            ),
            (
                "groups.json",
                r#"{
    "SecurityGroups": [
        {
            "GroupId": "sg-1",
            "IpPermissions": [
                { "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [ { "CidrIp": "10.0.0.0/8" } ] },
                { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [ { "CidrIp": "0.0.0.0/0" } ] }
            ]
        }
    ]
}
"#,
            ),
        ],
        r#"
        [datapath]
        idle_timeout = "1h"
        all_down = "refuse"
        [[service]]
        name = "registry-80"
        port = 80
        vip = "198.51.100.11"
        replica_port = 8080
        affinity = "source-ip"
        replicas = ["i-0aaa", "i-0bbb"]
        allow = ["10.0.0.0/8"]
        deny = ["0.0.0.0/0", "::/0"]
        [service.probe]
        scheme = "tcp"
        interval = "30s"
        timeout = "5s"
        rise = 10
        fall = 2
        [[service]]
        name = "registry-443"
        port = 443
        vip = "198.51.100.11"
        replica_port = 8443
        affinity = "source-ip"
        replicas = ["i-0aaa", "i-0bbb"]
        [service.probe]
        scheme = "tcp"
        port = 8080
        interval = "30s"
        timeout = "5s"
        rise = 10
        fall = 2
        [[replica]]
        name = "i-0aaa"
        address = "10.0.1.11"
        [[replica]]
        name = "i-0bbb"
        address = "10.0.1.12"
        "#,
        &[
            "differs 3 wherever they are",
            "taken 9 idle_timeout",
            "out 13 BrandNewMember",
            "out 1 text beside the JSON",
            "out! 13 clients see the instances' certificates",
            "out! 17 clients see the replicas' certificate",
            "out! 22 dtr-lb ends no TLS",
            "differs 30 dtr-lb sees no cookies",
            "out! 37 PROXY protocol",
            "taken 5 allow",
        ],
    );
}

#[test]
fn members_without_their_object_and_http() {
    check(
        &[(
            "elb.json",
            r#""ListenerDescriptions": [
  { "Listener": { "Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80 } }
],
"HealthCheck": {
  "Target": "HTTP:80",
  "Interval": 5
},
"Instances": [
  { "InstanceId": "<WEB_1>" }
],
"Unheard": { "Of":
  1 }
"#,
        )],
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "elb"
        port = 80
        vip = "198.51.100.11"
        replicas = ["WEB_1"]
        [service.probe]
        scheme = "http"
        path = "/"
        status = ["200"]
        interval = "5s"
        timeout = "5s"
        rise = 10
        fall = 2
        [[replica]]
        name = "WEB_1"
        address = "192.0.2.11"
        "#,
        &[
            "fault 1 silent connections end after 1m",
            "differs 2 adds no X-Forwarded-For",
            "fault! 9 <WEB_1> is no address",
            "out! 11 does not know \"Unheard\"",
        ],
    );
}
