# Lab L0 as Terraform resources: the load balancer, the group behind it and its policy.
#
#   eval "$(puffer env)"            # point the provider at your server
#   terraform init
#   terraform apply -var image_id=ami-…
#
# The provider needs no settings: it takes endpoint, region and keys from the environment, as all AWS tools do.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.31"
    }
  }
}

provider "aws" {
  default_tags {
    tags = { lab = "l0" }
  }
}

variable "image_id" {
  description = "Image with the web app"
  type        = string
}

variable "name" {
  description = "Prefix of all names"
  type        = string
  default     = "counter"
}

variable "min_size" {
  type    = number
  default = 1
}

variable "max_size" {
  type    = number
  default = 5
}

variable "target_cpu" {
  description = "CPU percentage that the policy holds"
  type        = number
  default     = 40
}

variable "health_check_type" {
  description = "ELB replaces instances that the load balancer finds unhealthy; EC2 only those that do not run"
  type        = string
  default     = "ELB"
}

variable "group_tags" {
  description = "More tags of the group, such as { \"puffer:metric-period\" = \"1\" }"
  type        = map(string)
  default     = {}
}

data "aws_availability_zones" "available" {
  state = "available"
}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
  filter {
    name   = "availability-zone"
    values = slice(data.aws_availability_zones.available.names, 0, 2)
  }
}

# HTTP from everywhere to the balancer, and from the balancer alone to the instances.
resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "HTTP from everywhere"
  vpc_id      = data.aws_vpc.default.id

  ingress {
    from_port   = 80
    to_port     = 80
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "app" {
  name        = "${var.name}-app"
  description = "HTTP from the balancer"
  vpc_id      = data.aws_vpc.default.id
}

resource "aws_vpc_security_group_ingress_rule" "app" {
  security_group_id            = aws_security_group.app.id
  referenced_security_group_id = aws_security_group.balancer.id
  from_port                    = 80
  to_port                      = 80
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "app" {
  security_group_id = aws_security_group.app.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_launch_template" "app" {
  name                   = var.name
  description            = "The counter"
  image_id               = var.image_id
  instance_type          = "t2.micro"
  update_default_version = true
  vpc_security_group_ids = [aws_security_group.app.id]
  user_data              = base64encode("#!/bin/sh\ntrue\n")

  monitoring {
    enabled = true
  }
  metadata_options {
    http_tokens = "required"
  }
  tag_specifications {
    resource_type = "instance"
    tags          = { Type = "app" }
  }
}

resource "aws_lb" "app" {
  name               = var.name
  load_balancer_type = "application"
  subnets            = data.aws_subnets.default.ids
  security_groups    = [aws_security_group.balancer.id]
  idle_timeout       = 30
}

resource "aws_lb_target_group" "app" {
  name                 = var.name
  port                 = 80
  protocol             = "HTTP"
  vpc_id               = data.aws_vpc.default.id
  deregistration_delay = 10

  health_check {
    path              = "/health"
    interval          = 5
    timeout           = 2
    healthy_threshold = 2
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.app.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.app.arn
  }
}

resource "aws_lb_listener_rule" "secret" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 10

  condition {
    path_pattern {
      values = ["/secret*"]
    }
  }
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no"
      status_code  = "403"
    }
  }
}

resource "aws_autoscaling_group" "app" {
  name                      = var.name
  min_size                  = var.min_size
  max_size                  = var.max_size
  vpc_zone_identifier       = data.aws_subnets.default.ids
  target_group_arns         = [aws_lb_target_group.app.arn]
  health_check_type         = var.health_check_type
  health_check_grace_period = 60
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances"]
  termination_policies      = ["OldestInstance", "Default"]

  launch_template {
    id      = aws_launch_template.app.id
    version = "$Latest"
  }
  tag {
    key                 = "Name"
    value               = var.name
    propagate_at_launch = true
  }
  dynamic "tag" {
    for_each = var.group_tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }
}

resource "aws_autoscaling_policy" "cpu" {
  name                      = "${var.name}-cpu"
  autoscaling_group_name    = aws_autoscaling_group.app.name
  policy_type               = "TargetTrackingScaling"
  estimated_instance_warmup = 60

  target_tracking_configuration {
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
    target_value = var.target_cpu
  }
}

resource "aws_autoscaling_policy" "errors" {
  name                    = "${var.name}-errors"
  autoscaling_group_name  = aws_autoscaling_group.app.name
  policy_type             = "StepScaling"
  adjustment_type         = "ChangeInCapacity"
  metric_aggregation_type = "Average"

  step_adjustment {
    scaling_adjustment          = 1
    metric_interval_lower_bound = 0
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors"
  alarm_description   = "Targets answer 5xx"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  dimensions          = { LoadBalancer = aws_lb.app.arn_suffix }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 2
  threshold           = 10
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.errors.arn]
}

output "url" {
  value = "http://${aws_lb.app.dns_name}/?n=1000"
}

output "target_group_arn" {
  value = aws_lb_target_group.app.arn
}
