//! Parsers that only this crate sees, for fuzzing: each takes any input and checks what must hold whatever it is.

use std::net::Ipv4Addr;

use hickory_proto::op::Message;
use puffer_core::Timestamp;
use puffer_core::ec2::{Cidr, MetadataOptions};

use crate::dns;
use crate::metadata::{InstanceMetadata, has_path};

/// Every answer is a DNS message that a client takes, to the question that was asked.
pub fn dns(packet: &[u8]) {
    for udp in [true, false] {
        let Some(answer) = dns::reply_of_one_name(packet, udp) else { continue };
        let (Ok(asked), Ok(answered)) = (Message::from_vec(packet), Message::from_vec(&answer)) else {
            panic!("question or answer is no DNS message: b\"{}\"", answer.escape_ascii());
        };
        assert_eq!(asked.metadata.id, answered.metadata.id);
        let room = asked.edns.as_ref().map_or(512, |e| usize::from(e.max_payload()).max(512));
        assert!(!udp || answer.len() <= room, "{} bytes where {room} fit", answer.len());
    }
}

/// Every path is looked up.
pub fn metadata_path(path: &str) {
    let Some(block) = Cidr::new(Ipv4Addr::new(172, 31, 0, 0), 16) else { return };
    let text = str::to_owned;
    let instance = InstanceMetadata {
        instance_id: text("i-1"),
        image_id: text("ami-1"),
        instance_type: text("t2.micro"),
        ami_launch_index: 0,
        reservation_id: text("r-1"),
        hostname: text("ip-172-31-0-9.ec2.internal"),
        private_ip: Ipv4Addr::new(172, 31, 0, 9),
        public_ip: None,
        mac: text("02:00:00:00:00:01"),
        interface_id: text("eni-1"),
        subnet_id: text("subnet-1"),
        subnet_cidr: block,
        vpc_id: text("vpc-1"),
        vpc_cidr: block,
        zone: text("us-east-1a"),
        zone_id: text("use1-az1"),
        region: text("us-east-1"),
        account: text("123456789012"),
        security_groups: vec![text("default")],
        security_group_ids: vec![text("sg-1")],
        key: Some((text("mine"), text("ssh-ed25519 AAAA mine"))),
        user_data: Some(b"#!/bin/sh".to_vec()),
        tags: [(text("Name"), text("web")), (text("a/b"), text(""))].into(),
        options: MetadataOptions { tags: true, ..MetadataOptions::default() },
        is_spot: false,
        interruption: None,
        rebalance_at: None,
        target_lifecycle_state: None,
        architecture: text("x86_64"),
        instance_profile: Some("arn:aws:iam::123456789012:instance-profile/web".into()),
        launched_at: Timestamp::from_secs(0),
    };
    assert!(has_path(&instance, path) || !path.trim_matches('/').is_empty(), "the top is always there");
}
