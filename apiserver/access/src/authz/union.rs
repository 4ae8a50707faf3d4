//! The modes in order. Members of `system:masters` are allowed before any is asked, so that a broken role cannot lock
//! the administrator out.

use std::sync::Arc;

use model::user::{MASTERS, UserInfo};

use super::{Attributes, Authorizer, Decision, Rules};

/// See the module.
pub struct Union {
    modes: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    /// These modes, asked in this order.
    pub fn new(modes: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { modes }
    }
}

impl Authorizer for Union {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for mode in &self.modes {
            match mode.authorize(attributes) {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for mode in &self.modes {
            let rules = mode.rules_for(user, namespace);
            all.rules.extend(rules.rules);
            all.incomplete |= rules.incomplete;
            all.errors.extend(rules.errors);
        }
        all
    }
}

/// `--authorization-mode=AlwaysAllow`.
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        Rules { rules: super::rbac::Rule::everything(), ..Rules::default() }
    }
}

/// `--authorization-mode=AlwaysDeny`.
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_decides_decides() {
        let user = UserInfo { name: "x".into(), ..UserInfo::default() };
        let question = Attributes::resource(&user, "get", "", "pods");
        let union = |modes: Vec<Arc<dyn Authorizer>>| Union::new(modes).authorize(&question);
        assert_eq!(union(vec![Arc::new(AlwaysDeny), Arc::new(AlwaysAllow)]), Decision::Allow(String::new()));
        assert_eq!(union(vec![Arc::new(AlwaysDeny)]), Decision::NoOpinion("Everything is forbidden.".into()));
        let root = UserInfo { groups: vec![MASTERS.into()], ..UserInfo::default() };
        assert!(Union::new(vec![]).authorize(&Attributes { user: &root, ..question }).allowed());
    }
}
