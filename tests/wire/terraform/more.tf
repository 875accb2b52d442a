# What lab L0 does not use: instances by hand, an attachment, weighted rules, a launch configuration, attributes.

resource "aws_key_pair" "more" {
  key_name   = "${var.name}-more"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnW4uJuG9bXv1C1Jx8H1rJQ4kS6PVZ0q4Dk2nUVgkS5 somebody"
}

resource "aws_instance" "more" {
  ami                         = var.image_id
  instance_type               = "t3.small"
  subnet_id                   = data.aws_subnets.default.ids[0]
  key_name                    = aws_key_pair.more.key_name
  vpc_security_group_ids      = [aws_security_group.app.id]
  user_data                   = "#!/bin/sh\ntrue\n"
  user_data_replace_on_change = true
  monitoring                  = true
  tags                        = { Name = "${var.name}-more" }
}

resource "aws_lb_target_group" "more" {
  name        = "${var.name}-more"
  port        = 8080
  protocol    = "HTTP"
  vpc_id      = data.aws_vpc.default.id
  target_type = "ip"

  stickiness {
    type            = "lb_cookie"
    cookie_duration = 600
  }
}

resource "aws_lb_target_group_attachment" "more" {
  target_group_arn = aws_lb_target_group.more.arn
  target_id        = aws_instance.more.private_ip
}

resource "aws_lb_listener_rule" "weighted" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 20

  condition {
    host_header {
      values = ["*.example.com"]
    }
  }
  condition {
    http_header {
      http_header_name = "X-Version"
      values           = ["2", "3"]
    }
  }
  action {
    type = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.app.arn
        weight = 9
      }
      target_group {
        arn    = aws_lb_target_group.more.arn
        weight = 1
      }
      stickiness {
        enabled  = true
        duration = 300
      }
    }
  }
}

resource "aws_lb_listener_rule" "redirect" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 30

  condition {
    query_string {
      key   = "old"
      value = "*"
    }
  }
  action {
    type = "redirect"
    redirect {
      host        = "new.example.com"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_launch_configuration" "more" {
  name_prefix     = "${var.name}-more-"
  image_id        = var.image_id
  instance_type   = "t2.micro"
  security_groups = [aws_security_group.app.id]
  user_data       = "#!/bin/sh\ntrue\n"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "more" {
  name                      = "${var.name}-more"
  min_size                  = 0
  max_size                  = 2
  desired_capacity          = 1
  availability_zones        = slice(data.aws_availability_zones.available.names, 0, 1)
  launch_configuration      = aws_launch_configuration.more.name
  protect_from_scale_in     = true
  suspended_processes       = ["AZRebalance"]
  default_cooldown          = 10
  default_instance_warmup   = 20
  wait_for_capacity_timeout = "2m"
  force_delete              = true
}

resource "aws_autoscaling_attachment" "more" {
  autoscaling_group_name = aws_autoscaling_group.more.name
  lb_target_group_arn    = aws_lb_target_group.attached.arn
}

resource "aws_lb_target_group" "attached" {
  name     = "${var.name}-attached"
  port     = 80
  protocol = "HTTP"
  vpc_id   = data.aws_vpc.default.id
}

resource "aws_autoscaling_policy" "simple" {
  name                   = "${var.name}-simple"
  autoscaling_group_name = aws_autoscaling_group.more.name
  adjustment_type        = "PercentChangeInCapacity"
  scaling_adjustment     = -50
  cooldown               = 60
}

resource "aws_cloudwatch_metric_alarm" "ratio" {
  alarm_name          = "${var.name}-ratio"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = 5

  metric_query {
    id          = "ratio"
    expression  = "100 * errors / FILL(requests, 1)"
    label       = "errors in percent"
    return_data = true
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      period      = 60
      stat        = "Sum"
      dimensions  = { LoadBalancer = aws_lb.app.arn_suffix }
    }
  }
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period      = 60
      stat        = "Sum"
      dimensions  = { LoadBalancer = aws_lb.app.arn_suffix }
    }
  }
}

data "aws_instances" "more" {
  instance_tags = { Name = aws_instance.more.tags.Name }
}

data "aws_lb" "app" {
  name = aws_lb.app.name
}

output "found" {
  value = data.aws_instances.more.ids
}
