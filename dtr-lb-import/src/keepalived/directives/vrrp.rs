//! Keywords at the top of a file, of `global_defs`, and of VRRP.

use super::{
    Context::{
        Authentication, Bfd, GarpGroup, Globals, Script, Ssl, SyncGroup, Top, TrackFile, TrackProcess, Vrrp,
    },
    Group,
    Inside::{Keywords, Nothing, Values},
    Outcome::{Decides, Differs, LeftOut, Taken},
    group,
};

const STAYS: &str = "keepalived goes on doing this: it stays in keepalived.conf";
const CHECKERS: &str = "it is for keepalived's checks, which go with the virtual_server blocks";
const PROCESS: &str = "a setting of keepalived's own processes: it stays in keepalived.conf";
const ALERTS: &str =
    "dtr-lb sends no mail: it logs each change, `dtr-lb events` lists them, and alerts come from /metrics";
const NOTIFY: &str = "dtr-lb runs no commands: `dtr-lb events` follows what changes, and /metrics has it";

pub(super) const GROUPS: &[Group] = &[
    // The top.
    group(&[Top], Taken, "", Nothing, "virtual_server virtual_server_group"),
    group(&[Top], Differs, "VRRP stays keepalived's work, beside dtr-lb", Keywords(Vrrp), "vrrp_instance"),
    group(&[Top], Differs, STAYS, Keywords(SyncGroup), "vrrp_sync_group"),
    group(&[Top], Differs, STAYS, Keywords(Script), "vrrp_script"),
    group(&[Top], Differs, STAYS, Keywords(TrackFile), "track_file vrrp_track_file"),
    group(&[Top], Differs, STAYS, Keywords(TrackProcess), "track_process vrrp_track_process"),
    group(&[Top], Taken, STAYS, Keywords(GarpGroup), "garp_group"),
    group(&[Top], Taken, STAYS, Keywords(Bfd), "bfd_instance"),
    group(&[Top], Taken, STAYS, Keywords(Globals), "global_defs"),
    group(&[Top], LeftOut, "dtr-lb's probes have no context of TLS in common", Keywords(Ssl), "SSL"),
    group(
        &[Top],
        Taken,
        STAYS,
        Values,
        "interface_up_down_delays linkbeat_interfaces static_addresses static_ipaddress static_routes \
         static_rules static_track_group track_group",
    ),
    group(
        &[Top, Globals],
        Taken,
        PROCESS,
        Nothing,
        "child_wait_time instance linkbeat_use_polling namespace_with_ipsets net_namespace \
         net_namespace_ipvs use_pid_dir",
    ),
    group(
        &[Top],
        Decides,
        "what it includes is not read by itself: give those files as well, all are one job",
        Nothing,
        "include includea includeb includem includer includew",
    ),
    // global_defs.
    group(
        &[Globals],
        Taken,
        PROCESS,
        Nothing,
        "bfd_cpu_affinity bfd_no_swap bfd_priority bfd_process_name bfd_rlimit_rtime bfd_rlimit_rttime \
         bfd_rt_priority config_save_dir data_use_instance dbus_no_interface_name dbus_service_name \
         default_interface disable_local_igmp dynamic_interfaces enable_dbus enable_script_security \
         enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 enable_snmp_vrrp \
         enable_traps fifo_write_vrrp_states_on_reload include_check json_version log_unknown_vrids \
         max_auto_priority min_auto_priority_delay nftables nftables_counters nftables_ifindex \
         nftables_priority process_monitor_rcv_bufs process_monitor_rcv_bufs_force process_name \
         process_names random_seed reload_check_config reload_file reload_repeat reload_time_file \
         router_id script_user set_supplementary_groups shutdown_script shutdown_script_timeout \
         snmp_socket startup_script startup_script_timeout state_dump_file stats_dump_file \
         tmp_config_directory umask use_symlink_paths v3_checksum_as_v2 vmac_addr_prefix vmac_prefix \
         vrrp_check_unicast_src vrrp_cpu_affinity vrrp_delay_after_boot vrrp_down_timer_adverts \
         vrrp_garp_extra_if vrrp_garp_interval vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat \
         vrrp_garp_master_delay vrrp_garp_master_refresh vrrp_garp_master_refresh_repeat \
         vrrp_garp_master_repeat vrrp_gna_interval vrrp_higher_prio_send_advert vrrp_ipsets vrrp_iptables \
         vrrp_lower_prio_no_advert vrrp_mcast_group4 vrrp_mcast_group6 vrrp_min_garp \
         vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs \
         vrrp_netlink_monitor_rcv_bufs_force vrrp_no_swap vrrp_notify_priority_changes vrrp_priority \
         vrrp_process_name vrrp_rlimit_rtime vrrp_rlimit_rttime vrrp_rt_priority vrrp_rx_bufs_multiplier \
         vrrp_rx_bufs_policy vrrp_skip_check_adv_addr vrrp_startup_delay vrrp_strict vrrp_version",
    ),
    group(
        &[Globals],
        Taken,
        STAYS,
        Nothing,
        "no_email_faults notification_email_from notify_fifo notify_fifo_script smtp_alert \
         smtp_alert_vrrp smtp_connect_timeout smtp_helo_name smtp_server vrrp_notify_fifo \
         vrrp_notify_fifo_script",
    ),
    group(&[Globals], Taken, STAYS, Values, "notification_email"),
    group(
        &[Globals],
        LeftOut,
        CHECKERS,
        Nothing,
        "checker_cpu_affinity checker_no_swap checker_priority checker_process_name checker_rlimit_rtime \
         checker_rlimit_rttime checker_rt_priority lvs_flush lvs_flush_on_stop lvs_flush_onstop \
         lvs_netlink_cmd_rcv_bufs lvs_netlink_cmd_rcv_bufs_force lvs_netlink_monitor_rcv_bufs \
         lvs_netlink_monitor_rcv_bufs_force nftables_ipvs nftables_ipvs_priority \
         nftables_ipvs_start_fwmark rs_init_notifies",
    ),
    group(
        &[Globals],
        Differs,
        ALERTS,
        Nothing,
        "checker_log_all_failures no_checker_emails smtp_alert_checker",
    ),
    group(&[Globals], LeftOut, NOTIFY, Nothing, "lvs_notify_fifo lvs_notify_fifo_script"),
    group(
        &[Globals],
        Differs,
        "dtr-lb has /metrics (Prometheus) instead of SNMP",
        Nothing,
        "enable_snmp_checker snmp_rs_stats_update_interval snmp_vs_stats_update_interval",
    ),
    group(
        &[Globals],
        Differs,
        "IPVS's sync daemon does not know dtr-lb's connections; balancers of dtr-lb share them by [ha]",
        Nothing,
        "lvs_sync_daemon lvs_sync_daemon_interface",
    ),
    group(&[Globals], Taken, "datapath.idle_timeout", Nothing, "lvs_timeouts"),
    // SSL.
    group(
        &[Ssl],
        LeftOut,
        "probes are written without a look at certificates; to have them verified, set service.probe.verify to this file",
        Nothing,
        "ca",
    ),
    group(
        &[Ssl],
        Decides,
        "dtr-lb's probes show no certificate of their own: servers that ask for one refuse them",
        Nothing,
        "certificate key",
    ),
    group(&[Ssl], LeftOut, "", Nothing, "password"),
    // VRRP.
    group(
        &[Vrrp],
        Taken,
        STAYS,
        Nothing,
        "accept advert_int check_unicast_src debug dont_track_primary down_timer_adverts garp_extra_if \
         garp_lower_prio_delay garp_lower_prio_repeat garp_master_delay garp_master_refresh \
         garp_master_refresh_repeat garp_master_repeat higher_prio_send_advert interface \
         kernel_rx_buf_size linkbeat_use_polling lower_prio_no_advert lvs_sync_daemon_interface \
         mcast_dst_ip mcast_src_ip native_ipv6 no_accept nopreempt notify_priority_changes \
         old_unicast_checksum preempt preempt_delay priority promote_secondaries skip_check_adv_addr \
         smtp_alert state strict_mode timer_expired_backup track_src_ip unicast_fault_no_peer \
         unicast_src_ip unicast_ttl use_ipvlan use_vmac use_vmac_addr v3_checksum_as_v2 version \
         virtual_router_id vmac_xmit_base vrf",
    ),
    group(
        &[Vrrp, SyncGroup],
        Taken,
        STAYS,
        Nothing,
        "global_tracking notify notify_backup notify_deleted notify_fault notify_master \
         notify_master_rx_lower_pri notify_stop sync_group_tracking_weight",
    ),
    group(&[SyncGroup], Taken, STAYS, Nothing, "notify_priority_changes smtp_alert"),
    group(
        &[Vrrp, SyncGroup],
        Taken,
        STAYS,
        Values,
        "group track_bfd track_file track_interface track_process track_script unicast_peer \
         virtual_routes virtual_rules",
    ),
    group(
        &[Vrrp],
        Taken,
        "the VIPs; keepalived goes on moving them",
        Values,
        "virtual_ipaddress virtual_ipaddress_excluded",
    ),
    group(&[Vrrp], Taken, STAYS, Keywords(Authentication), "auth_hmac authentication"),
    group(
        &[Authentication],
        Taken,
        STAYS,
        Nothing,
        "active_key anti_replay auth_pass auth_type key mode time_window",
    ),
    group(&[Script], Taken, STAYS, Nothing, "fall init_fail interval rise script timeout user weight"),
    group(&[TrackFile], Taken, STAYS, Nothing, "file init_file weight"),
    group(
        &[TrackProcess],
        Taken,
        STAYS,
        Nothing,
        "delay fork_delay full_command param_match process quorum quorum_max terminate_delay weight",
    ),
    group(&[GarpGroup], Taken, STAYS, Nothing, "garp_interval gna_interval interface"),
    group(&[GarpGroup], Taken, STAYS, Values, "interfaces"),
    group(
        &[Bfd],
        Taken,
        STAYS,
        Nothing,
        "checker hoplimit idle_tx max_hops min_rx min_tx multihop multiplier neighbor_ip neighbour_ip \
         passive source_ip ttl vrrp weight",
    ),
];
