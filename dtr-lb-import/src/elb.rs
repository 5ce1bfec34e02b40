//! Reads what the AWS command line prints of load balancers, as JSON: classic ones (`aws elb describe-load-balancers`) and those of
//! the second kind (`aws elbv2 describe-load-balancers`, `describe-listeners`, `describe-target-groups`, `describe-target-health`
//! and their attributes), with `aws ec2 describe-instances` and `describe-security-groups` beside them.
//!
//! One file says only a part: names and ARNs tie them together, in any order. So they are gathered, and made sense of when all
//! files are read.

mod attributes;
mod classic;
mod fields;
mod json;
mod listeners;
mod model;
mod security;
mod targets;
#[cfg(test)]
mod tests;
mod tree;

use crate::{
    SyntaxError,
    job::Job,
    report::{FileId, Ledger},
};

pub use fields::known;

/// What is read, until all files are.
#[derive(Debug, Default)]
pub struct Gathered {
    files: Vec<Vec<(fields::Context, tree::Value)>>,
}

/// Members that stand in nothing else.
const SIGNS: [&str; 16] = [
    "BackendServerDescriptions",
    "CanonicalHostedZoneNameID",
    "CrossZoneLoadBalancing",
    "DefaultActions",
    "IpPermissions",
    "ListenerDescriptions",
    "ListenerArn",
    "Listeners",
    "LoadBalancerArn",
    "LoadBalancerAttributes",
    "LoadBalancerDescriptions",
    "LoadBalancers",
    "Reservations",
    "TargetGroupArn",
    "TargetHealth",
    "TargetHealthDescriptions",
];

/// Beginnings of attributes' names.
const ATTRIBUTES: [&str; 8] = [
    "access_logs.s3.",
    "deletion_protection.",
    "deregistration_delay.",
    "idle_timeout.",
    "load_balancing.",
    "proxy_protocol_v2.",
    "stickiness.",
    "tcp.idle_timeout.",
];

/// Whether a text looks like one. What describes such a load balancer to CloudFormation or Terraform is none.
pub fn is_one(text: &str) -> bool {
    if ["\"AWS::", "AWSTemplateFormatVersion", "\"terraform_version\""]
        .iter()
        .any(|other| text.contains(other))
    {
        return false;
    }
    text.split('"').zip(text.split('"').skip(1)).any(|(word, after)| {
        let is_key = after.trim_start().starts_with(':');
        (is_key && SIGNS.contains(&word)) || ATTRIBUTES.iter().any(|attribute| word.starts_with(attribute))
    })
}

/// Reads a file. [`finish`] brings it into the job.
///
/// # Errors
/// There is no object in it.
pub fn read(text: &str, file: FileId, ledger: &mut Ledger, job: &mut Job) -> Result<(), SyntaxError> {
    let document = json::read(text);
    let objects = tree::of(document, text, file, fields::shape, ledger);
    if objects.is_empty() {
        return Err(SyntaxError { line: 1, why: "there is no JSON object in it".to_owned() });
    }
    job.aws.files.push(objects);
    Ok(())
}

/// Makes services of all that was read.
pub fn finish(job: &mut Job, ledger: &mut Ledger) {
    let Gathered { files } = std::mem::take(&mut job.aws);
    let model = model::Model::of(&files, ledger);
    job.known_hosts.extend(model.hosts());
    classic::services(&model, job, ledger);
    listeners::services(&model, job, ledger);
}
