//! Names of ELB's resources: ARNs as AWS builds them, and the parts of them that CloudWatch uses as dimensions.

/// Where a resource lives; the beginning of its ARN.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Region.
    pub region: &'a str,
    /// Account id.
    pub account: &'a str,
}

/// What every ARN of this service holds between the partition and the region.
const SERVICE: &str = "elasticloadbalancing";

impl Place<'_> {
    fn arn(self, resource: &str) -> String {
        format!("arn:aws:{SERVICE}:{}:{}:{resource}", self.region, self.account)
    }

    /// ARN of an application load balancer; `id` is 16 hexadecimal digits.
    pub fn load_balancer(self, name: &str, id: &str) -> String {
        self.arn(&format!("loadbalancer/app/{name}/{id}"))
    }

    /// ARN of a classic load balancer, which its name alone tells from others.
    pub fn classic_load_balancer(self, name: &str) -> String {
        self.arn(&format!("loadbalancer/{name}"))
    }

    /// ARN of a target group; `id` is 16 hexadecimal digits.
    pub fn target_group(self, name: &str, id: &str) -> String {
        self.arn(&format!("targetgroup/{name}/{id}"))
    }
}

/// ARN of a listener of `load_balancer`; none if that is no load balancer's ARN.
pub fn listener(load_balancer: &str, id: &str) -> Option<String> {
    let (head, tail) = load_balancer.split_once(":loadbalancer/")?;
    Some(format!("{head}:listener/{tail}/{id}"))
}

/// ARN of a rule of `listener`; none if that is no listener's ARN.
pub fn rule(listener: &str, id: &str) -> Option<String> {
    let (head, tail) = listener.split_once(":listener/")?;
    Some(format!("{head}:listener-rule/{tail}/{id}"))
}

/// The name of the classic load balancer whose ARN this is.
pub fn classic_name(arn: &str) -> Option<&str> {
    let (_, name) = arn.split_once(":loadbalancer/")?;
    (!name.contains('/')).then_some(name)
}

/// `app/<name>/<id>`: the `LoadBalancer` dimension. Text that is no ARN stays as it is.
pub fn load_balancer_dimension(arn: &str) -> &str {
    arn.split_once(":loadbalancer/").map_or(arn, |(_, tail)| tail)
}

/// `targetgroup/<name>/<id>`: the `TargetGroup` dimension. Text that is no ARN stays as it is.
pub fn target_group_dimension(arn: &str) -> &str {
    arn.find("targetgroup/").map_or(arn, |at| &arn[at..])
}

/// Kind of a resource by its ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArnKind {
    LoadBalancer,
    Listener,
    Rule,
    TargetGroup,
}

/// What `arn` names, if it is an ARN of this service.
pub fn kind_of(arn: &str) -> Option<ArnKind> {
    let mut parts = arn.splitn(6, ':');
    let head = [parts.next()?, parts.next()?, parts.next()?];
    let resource = parts.nth(2)?;
    if head[0] != "arn" || head[2] != SERVICE {
        return None;
    }
    match resource.split_once('/')?.0 {
        "loadbalancer" => Some(ArnKind::LoadBalancer),
        "listener" => Some(ArnKind::Listener),
        "listener-rule" => Some(ArnKind::Rule),
        "targetgroup" => Some(ArnKind::TargetGroup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let place = Place { region: "us-east-1", account: "123456789012" };
        let lb = place.load_balancer("web", "50dc6c495c0c9188");
        assert_eq!(
            lb,
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188"
        );
        let l = listener(&lb, "f2f7dc8efc522ab2").unwrap();
        assert!(l.ends_with(":listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2"));
        let r = rule(&l, "9683b2d02a6cabee").unwrap();
        assert!(r.ends_with(":listener-rule/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"));
        let tg = place.target_group("t", "0123456789abcdef");
        let classic = place.classic_load_balancer("old");
        assert!(classic.ends_with(":loadbalancer/old"));
        assert_eq!([&classic, &lb, &tg].map(|a| classic_name(a)), [Some("old"), None, None]);
        assert_eq!(load_balancer_dimension(&lb), "app/web/50dc6c495c0c9188");
        assert_eq!(target_group_dimension(&tg), "targetgroup/t/0123456789abcdef");
        let kinds = [&lb, &l, &r, &tg].map(|a| kind_of(a));
        use ArnKind::*;
        assert_eq!(kinds, [Some(LoadBalancer), Some(Listener), Some(Rule), Some(TargetGroup)]);
        assert_eq!(kind_of("arn:aws:ec2:us-east-1:1:instance/i-1"), None);
        assert_eq!(listener(&tg, "x"), None);
    }
}
