//! The members of network and application load balancers, their listeners and targets, and of what EC2 prints beside.

use super::{
    Context::{
        Action, Attribute, Balancer, ForwardConfig, Health, Instance, Listener, Matcher, Reservation, Rule,
        SecurityGroup, Target, TargetGroup, WeightedGroup, Zone, ZoneAddress,
    },
    Group,
    Inside::{Objects, Whole},
    group,
};
use crate::outcome::Outcome::{Decides, Differs, LeftOut, Taken};

const NOT_BALANCING: &str = "AWS's own; it says nothing about balancing";
const NETWORK: &str = "dtr-lb serves in the networks of its own host";
const TLS: &str =
    "of TLS that the load balancer ends; dtr-lb passes it through, and the replicas' own counts";
const CLIENTS: &str = "who is let in: allow";
const SNAPSHOT: &str = "how it is at present: dtr-lb asks itself";
const OF_INSTANCE: &str = "of the instance, not of its balancing";

pub(super) const GROUPS: &[Group] = &[
    group(Balancer, Taken, "", Whole, "LoadBalancerArn LoadBalancerName"),
    group(Balancer, Taken, "", Whole, "Type IpAddressType"),
    group(
        Balancer,
        Differs,
        "clients come by this name: let it, or yours that leads to it, lead to the VIP when dtr-lb takes over",
        Whole,
        "DNSName",
    ),
    group(
        Balancer,
        LeftOut,
        NOT_BALANCING,
        Whole,
        "CanonicalHostedZoneId CreatedTime CustomerOwnedIpv4Pool EnablePrefixForIpv6SourceNat IpamPools State Tags",
    ),
    group(Balancer, LeftOut, NETWORK, Whole, "VpcId"),
    group(Balancer, Differs, "who reaches the VIP depends on where it is routed", Whole, "Scheme"),
    group(Balancer, Taken, "", Whole, "SecurityGroups"),
    group(
        Balancer,
        LeftOut,
        "there is no PrivateLink to dtr-lb",
        Whole,
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic",
    ),
    group(Balancer, Taken, "", Objects(Zone), "AvailabilityZones"),
    group(Zone, LeftOut, NETWORK, Whole, "OutpostId SourceNatIpv6Prefixes SubnetId ZoneName"),
    group(Zone, Taken, "", Objects(ZoneAddress), "LoadBalancerAddresses"),
    group(
        ZoneAddress,
        Differs,
        "the VIP, if this address is moved to dtr-lb's host; else give --vip",
        Whole,
        "IPv6Address IpAddress PrivateIPv4Address",
    ),
    group(ZoneAddress, LeftOut, NOT_BALANCING, Whole, "AllocationId"),
    // Listeners.
    group(Listener, Taken, "", Whole, "ListenerArn LoadBalancerArn Port Protocol"),
    group(Listener, LeftOut, TLS, Whole, "AlpnPolicy Certificates SslPolicy"),
    group(
        Listener,
        Decides,
        "dtr-lb does not ask clients for certificates: the replicas have to",
        Whole,
        "MutualAuthentication",
    ),
    group(Listener, Taken, "", Objects(Action), "DefaultActions"),
    group(Action, Taken, "", Whole, "Order TargetGroupArn Type"),
    group(Action, Taken, "", Objects(ForwardConfig), "ForwardConfig"),
    group(
        Action,
        Decides,
        "dtr-lb answers nothing itself: the replicas have to",
        Whole,
        "AuthenticateCognitoConfig AuthenticateOidcConfig FixedResponseConfig JwtValidationConfig RedirectConfig",
    ),
    group(ForwardConfig, Taken, "", Objects(WeightedGroup), "TargetGroups"),
    group(
        ForwardConfig,
        LeftOut,
        "which of several target groups a client comes back to; affinity = \"source-ip\" keeps it at one replica",
        Whole,
        "TargetGroupStickinessConfig",
    ),
    group(WeightedGroup, Taken, "", Whole, "TargetGroupArn Weight"),
    group(Rule, Taken, "", Whole, "Actions Conditions IsDefault ListenerArn Priority RuleArn Transforms"),
    // Target groups.
    group(
        TargetGroup,
        Taken,
        "",
        Whole,
        "HealthCheckEnabled HealthCheckPort HealthCheckProtocol LoadBalancerArns Port Protocol TargetGroupArn \
         TargetGroupName TargetType",
    ),
    group(TargetGroup, Taken, "path of the probe", Whole, "HealthCheckPath"),
    group(TargetGroup, Taken, "interval of the probe", Whole, "HealthCheckIntervalSeconds"),
    group(TargetGroup, Taken, "timeout of the probe", Whole, "HealthCheckTimeoutSeconds"),
    group(TargetGroup, Taken, "rise of the probe", Whole, "HealthyThresholdCount"),
    group(TargetGroup, Taken, "fall of the probe", Whole, "UnhealthyThresholdCount"),
    group(TargetGroup, Taken, "", Objects(Matcher), "Matcher"),
    group(TargetGroup, LeftOut, NETWORK, Whole, "IpAddressType VpcId"),
    group(TargetGroup, LeftOut, "it is about HTTP, which dtr-lb does not read", Whole, "ProtocolVersion"),
    group(TargetGroup, LeftOut, NOT_BALANCING, Whole, "Tags TargetControlPort"),
    group(Matcher, Taken, "status of the probe", Whole, "HttpCode"),
    group(Matcher, Decides, "dtr-lb does not ask by gRPC", Whole, "GrpcCode"),
    group(Health, Taken, "", Objects(Target), "Target"),
    group(Health, Taken, "", Whole, "HealthCheckPort"),
    group(Health, LeftOut, SNAPSHOT, Whole, "AdministrativeOverride AnomalyDetection TargetHealth"),
    group(Target, Taken, "", Whole, "Id Port"),
    group(Target, LeftOut, NETWORK, Whole, "AvailabilityZone QuicServerId"),
    group(Attribute, Taken, "", Whole, "Key Value"),
    // EC2.
    group(Reservation, Taken, "", Objects(Instance), "Instances"),
    group(Reservation, LeftOut, OF_INSTANCE, Whole, "Groups OwnerId RequesterId ReservationId"),
    group(Instance, Taken, "", Whole, "InstanceId PrivateIpAddress"),
    group(
        Instance,
        LeftOut,
        OF_INSTANCE,
        Whole,
        "AmiLaunchIndex Architecture BlockDeviceMappings BootMode CapacityReservationId \
         CapacityReservationSpecification ClientToken CpuOptions CurrentInstanceBootMode EbsOptimized \
         ElasticGpuAssociations ElasticInferenceAcceleratorAssociations EnaSupport EnclaveOptions HibernationOptions \
         Hypervisor IamInstanceProfile ImageId InstanceLifecycle InstanceType Ipv6Address KernelId KeyName LaunchTime \
         Licenses MaintenanceOptions MetadataOptions Monitoring NetworkInterfaces NetworkPerformanceOptions Operator \
         OutpostArn Placement Platform PlatformDetails PrivateDnsName PrivateDnsNameOptions ProductCodes PublicDnsName \
         PublicIpAddress RamdiskId RootDeviceName RootDeviceType SecurityGroups SourceDestCheck \
         SpotInstanceRequestId SriovNetSupport State StateReason StateTransitionReason SubnetId Tags TpmSupport \
         UsageOperation UsageOperationUpdateTime VirtualizationType VpcId",
    ),
    group(SecurityGroup, Taken, "", Whole, "GroupId GroupName"),
    group(SecurityGroup, Taken, CLIENTS, Whole, "IpPermissions"),
    group(SecurityGroup, LeftOut, "what leaves the load balancer", Whole, "IpPermissionsEgress"),
    group(SecurityGroup, LeftOut, NOT_BALANCING, Whole, "Description OwnerId SecurityGroupArn Tags VpcId"),
];
