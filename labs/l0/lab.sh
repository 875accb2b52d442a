#!/usr/bin/env bash
# Lab L0: a web app that scales on CPU, step by step with the ordinary AWS CLI.
#
#   eval "$(puffer env)"            # point the AWS CLI at your server
#   labs/l0/lab.sh all IMAGE_ID     # every step up to the group; IMAGE_ID: the lab's base image
#   labs/l0/lab.sh clean_up
#
# Each step is a function below and can be run by its name. What a step made is remembered in $LAB_STATE, so that the
# next one finds it. Variables that change the lab:
#
#   LAB_NAME     prefix of all names                                 (counter)
#   LAB_TARGET   CPU percentage that the policy holds                (40)
#   LAB_WARMUP   seconds until a new instance counts in the metric   (60)
#   LAB_TAGS     extra group tags, "key=value key=value": puffer:metric-period=1 and so on
set -euo pipefail

LAB_NAME=${LAB_NAME:-counter}
LAB_TARGET=${LAB_TARGET:-40}
LAB_WARMUP=${LAB_WARMUP:-60}
LAB_TAGS=${LAB_TAGS:-}
LAB_STATE=${LAB_STATE:-./${LAB_NAME}.lab}

remember() { printf '%s=%q\n' "$1" "$2" >>"$LAB_STATE"; }
[ -f "$LAB_STATE" ] && . "$LAB_STATE"

# The default VPC's first two subnets, in different zones.
find_network() {
  VPC=$(aws ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId' --output text)
  SUBNETS=$(aws ec2 describe-subnets --filters "Name=vpc-id,Values=$VPC" \
    --query 'sort_by(Subnets,&AvailabilityZone)[:2].SubnetId' --output text | tr '\t' ' ')
  remember VPC "$VPC"
  remember SUBNETS "$SUBNETS"
}

make_key_pair() {
  local file="$LAB_STATE.pem"
  aws ec2 create-key-pair --key-name "$LAB_NAME" --query KeyMaterial --output text >"$file"
  chmod 600 "$file"
}

# HTTP from everywhere (the balancer is in this group too) and SSH.
make_security_group() {
  GROUP_ID=$(aws ec2 create-security-group --group-name "$LAB_NAME" --description "HTTP and SSH" \
    --vpc-id "$VPC" --query GroupId --output text)
  remember GROUP_ID "$GROUP_ID"
  aws ec2 authorize-security-group-ingress --group-id "$GROUP_ID" --protocol tcp --port 80 --cidr 0.0.0.0/0 >/dev/null
  aws ec2 authorize-security-group-ingress --group-id "$GROUP_ID" --protocol tcp --port 22 --cidr 0.0.0.0/0 >/dev/null
}

# The first instance, by hand.
launch_first_instance() {
  FIRST=$(aws ec2 run-instances --image-id "$1" --instance-type t2.micro --key-name "$LAB_NAME" \
    --security-group-ids "$GROUP_ID" --subnet-id "${SUBNETS%% *}" \
    --tag-specifications "ResourceType=instance,Tags=[{Key=Name,Value=$LAB_NAME-first}]" \
    --query 'Instances[0].InstanceId' --output text)
  remember FIRST "$FIRST"
  aws ec2 wait instance-running --instance-ids "$FIRST"
}

# An image of the running instance; the instance itself is not needed any more.
make_image() {
  IMAGE=$(aws ec2 create-image --instance-id "$FIRST" --name "$LAB_NAME" --no-reboot --query ImageId --output text)
  remember IMAGE "$IMAGE"
  aws ec2 wait image-available --image-ids "$IMAGE"
  aws ec2 terminate-instances --instance-ids "$FIRST" >/dev/null
  aws ec2 wait instance-terminated --instance-ids "$FIRST"
}

make_launch_template() {
  aws ec2 create-launch-template --launch-template-name "$LAB_NAME" --version-description "counter 1" \
    --launch-template-data "{\"ImageId\":\"$IMAGE\",\"InstanceType\":\"t2.micro\",\"KeyName\":\"$LAB_NAME\",
      \"SecurityGroupIds\":[\"$GROUP_ID\"],\"Monitoring\":{\"Enabled\":true}}" >/dev/null
}

make_load_balancer() {
  # shellcheck disable=SC2086
  BALANCER=$(aws elbv2 create-load-balancer --name "$LAB_NAME" --type application --scheme internet-facing \
    --subnets $SUBNETS --security-groups "$GROUP_ID" --query 'LoadBalancers[0].LoadBalancerArn' --output text)
  remember BALANCER "$BALANCER"
  TARGETS=$(aws elbv2 create-target-group --name "$LAB_NAME" --protocol HTTP --port 80 --vpc-id "$VPC" \
    --health-check-path /health --health-check-interval-seconds 5 --health-check-timeout-seconds 2 \
    --healthy-threshold-count 2 --query 'TargetGroups[0].TargetGroupArn' --output text)
  remember TARGETS "$TARGETS"
  aws elbv2 modify-target-group-attributes --target-group-arn "$TARGETS" \
    --attributes Key=deregistration_delay.timeout_seconds,Value=10 >/dev/null
  aws elbv2 create-listener --load-balancer-arn "$BALANCER" --protocol HTTP --port 80 \
    --default-actions "Type=forward,TargetGroupArn=$TARGETS" >/dev/null
  aws elbv2 wait load-balancer-available --load-balancer-arns "$BALANCER"
  DNS_NAME=$(aws elbv2 describe-load-balancers --load-balancer-arns "$BALANCER" \
    --query 'LoadBalancers[0].DNSName' --output text)
  remember DNS_NAME "$DNS_NAME"
}

# One to five instances in two zones, checked by the balancer, held at the target CPU.
make_group() {
  local tags=("Key=Name,Value=$LAB_NAME,PropagateAtLaunch=true") tag
  for tag in $LAB_TAGS; do tags+=("Key=${tag%%=*},Value=${tag#*=},PropagateAtLaunch=false"); done
  aws autoscaling create-auto-scaling-group --auto-scaling-group-name "$LAB_NAME" \
    --launch-template "LaunchTemplateName=$LAB_NAME,Version=\$Latest" --min-size 1 --max-size 5 --desired-capacity 1 \
    --vpc-zone-identifier "${SUBNETS// /,}" --target-group-arns "$TARGETS" \
    --health-check-type ELB --health-check-grace-period 60 --tags "${tags[@]}"
  aws autoscaling put-scaling-policy --auto-scaling-group-name "$LAB_NAME" --policy-name "$LAB_NAME-cpu" \
    --policy-type TargetTrackingScaling --estimated-instance-warmup "$LAB_WARMUP" \
    --target-tracking-configuration "{\"PredefinedMetricSpecification\":
      {\"PredefinedMetricType\":\"ASGAverageCPUUtilization\"},\"TargetValue\":$LAB_TARGET}" >/dev/null
}

all() {
  find_network
  make_key_pair
  make_security_group
  launch_first_instance "$1"
  make_image
  make_launch_template
  make_load_balancer
  make_group
  echo "http://$DNS_NAME/?n=1000"
}

delete_group() {
  local left tries=0
  left=$(aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$LAB_NAME" \
    --query 'length(AutoScalingGroups)' --output text)
  [ "$left" != 0 ] || return 0
  aws autoscaling delete-auto-scaling-group --auto-scaling-group-name "$LAB_NAME" --force-delete
  while [ "$left" != 0 ]; do
    left=$(aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$LAB_NAME" \
      --query 'length(AutoScalingGroups)' --output text)
    tries=$((tries + 1))
    [ "$tries" -le 60 ] || { echo "the group is still there" >&2; return 1; }
    [ "$left" = 0 ] || sleep 1
  done
}

# Runs a command; that there is nothing to remove (any more) is fine.
unless_gone() {
  local told
  told=$("$@" 2>&1) && return 0
  case $told in
    *NotFound* | *"not found"* | *"does not exist"* | *InvalidAMIID.Unavailable*) ;;
    *) echo "$told" >&2; return 1 ;;
  esac
}

# May be run again if it was interrupted.
clean_up() {
  delete_group
  unless_gone aws elbv2 delete-load-balancer --load-balancer-arn "$BALANCER"
  aws elbv2 wait load-balancers-deleted --load-balancer-arns "$BALANCER"
  unless_gone aws elbv2 delete-target-group --target-group-arn "$TARGETS"
  unless_gone aws ec2 delete-launch-template --launch-template-name "$LAB_NAME"
  unless_gone aws ec2 deregister-image --image-id "$IMAGE"
  unless_gone aws ec2 delete-security-group --group-id "$GROUP_ID"
  unless_gone aws ec2 delete-key-pair --key-name "$LAB_NAME"
  rm -f "$LAB_STATE" "$LAB_STATE.pem"
}

step=${1:?"a step: all IMAGE_ID, clean_up, or the name of one function"}
shift
"$step" "$@"
