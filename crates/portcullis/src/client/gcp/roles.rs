//! The guide's two roles, and the commands that grant what is missing of them.
//!
//! The commands name every permission, so that they can be pasted where no file of ours is, such as Cloud Shell. They are
//! read from the guide's own files, so that the two cannot differ.

use portcullis_core::cloud::trouble::{Kind, Place, Trouble};

/// One of the roles.
#[derive(Debug)]
pub(super) struct Role {
    /// Its id in the project
    id: &'static str,
    /// The guide's file
    file: &'static str,
    text: &'static str,
    is_bound_to_name: bool,
}

/// What is done to the rule itself.
static OF_RULE: Role = Role {
    id: "portcullis",
    file: "docs/guide/gcp-role.yaml",
    text: include_str!("../../../../../docs/guide/gcp-role.yaml"),
    is_bound_to_name: true,
};

/// What cannot be bound to a rule's name.
static OF_PROJECT: Role = Role {
    id: "portcullisProject",
    file: "docs/guide/gcp-role-project.yaml",
    text: include_str!("../../../../../docs/guide/gcp-role-project.yaml"),
    is_bound_to_name: false,
};

/// What the names of the rules begin with that `gcp selftest` makes.
pub(super) const SCRATCH: &str = "portcullis-selftest-";

/// The role that has this permission. One that neither has can only be the project's: nothing else is asked of a rule.
pub(super) fn of(permission: &str) -> &'static Role {
    if OF_RULE.permissions().any(|own| own == permission) {
        &OF_RULE
    } else {
        &OF_PROJECT
    }
}

impl Role {
    fn permissions(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter_map(|line| line.strip_prefix("- "))
    }

    fn title(&self) -> &'static str {
        let title = self.text.lines().find_map(|line| line.strip_prefix("title: "));
        title.unwrap_or(self.id)
    }

    /// The commands that make it and bind it, on lines of their own.
    pub(super) fn grant(&self, place: &Place, missing: &[&str]) -> String {
        let (project, rule, id) = (place.project(), &place.rule, self.id);
        let condition = if self.is_bound_to_name {
            format!("\"title={rule},{}\"", named(project, rule))
        } else {
            "None".to_owned()
        };
        format!(
            "{id}, a role of the guide ({file}), has {it}. As an owner of the project, in Cloud Shell for one:\n\
             {make}\n\
             {bind}\n\
             Where the role is there already: gcloud iam roles update {id} --project={project} --add-permissions={missing}\n\
             A new grant takes minutes to hold.",
            file = self.file,
            it = if missing.len() == 1 { "it" } else { "them" },
            make = self.make(project),
            bind = self.bind(place, &condition),
            missing = missing.join(","),
        )
    }

    fn make(&self, project: &str) -> String {
        let (id, title, all) = (self.id, self.title(), self.permissions().collect::<Vec<_>>().join(","));
        format!("gcloud iam roles create {id} --project={project} --title='{title}' --stage=GA --permissions={all}")
    }

    fn bind(&self, place: &Place, condition: &str) -> String {
        let (project, account, id) = (place.project(), place.account(), self.id);
        format!(
            "gcloud projects add-iam-policy-binding {project} --member=serviceAccount:{account} \
             --role=projects/{project}/roles/{id} --condition={condition}"
        )
    }
}

/// An expression that holds for rules whose names begin so.
fn named(project: &str, start: &str) -> String {
    format!("expression=resource.name.startsWith('projects/{project}/global/firewalls/{start}')")
}

/// What mends a trouble, by the guide's roles where a permission is missing.
pub(super) fn mend(trouble: &Trouble, place: &Place) -> Option<String> {
    match trouble.permission() {
        Some(permission) => Some(of(permission).grant(place, &[permission])),
        None => trouble.mend(place),
    }
}

/// The same for a rule of `gcp selftest`, which a binding to another name does not permit: a second binding, which ends
/// by itself at this time.
pub(super) fn mend_scratch(trouble: &Trouble, place: &Place, end: &str) -> Option<String> {
    let is_of_rule = trouble
        .permission()
        .is_none_or(|permission| of(permission).is_bound_to_name);
    if trouble.kind != Kind::Permission || !is_of_rule {
        return mend(trouble, place);
    }
    let named = named(place.project(), SCRATCH);
    let condition = format!("\"title={SCRATCH}until,{named} && request.time < timestamp('{end}')\"");
    Some(format!(
        "the guide's binding (step 2) permits the rule of its name alone, and this one is called {rule}. As an owner of the \
         project, in Cloud Shell for one, for the time of the test:\n\
         {bind}\n\
         It ends by itself at {end}. Without the role: {make}\n\
         A new grant takes minutes to hold. Nothing of it is needed for: portcullis gcp selftest --rule NAME, with the rule \
         that is bound; it tries less.",
        rule = place.rule,
        bind = OF_RULE.bind(place, &condition),
        make = OF_RULE.make(place.project()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(rule: &str) -> Place {
        Place {
            project: Some("my-project".into()),
            rule: rule.into(),
            account: Some("portcullis@my-project.iam.gserviceaccount.com".into()),
            ..Place::default()
        }
    }

    fn lacks(permission: &str) -> Trouble {
        Trouble::without_answer(
            Kind::Permission,
            &format!("Required '{permission}' permission for 'it'"),
        )
    }

    #[test]
    fn what_grants_a_permission() {
        let check = |permission: &str, parts: &[&str]| {
            let mend = mend(&lacks(permission), &place("block-ip")).unwrap();
            for part in parts {
                assert!(mend.contains(part), "{part}: {mend}");
            }
        };
        check(
            "compute.firewalls.update",
            &[
                "(docs/guide/gcp-role.yaml)",
                "\ngcloud iam roles create portcullis --project=my-project --title='portcullis, the rule' --stage=GA \
                 --permissions=compute.firewalls.get,compute.firewalls.update,compute.firewalls.create,compute.firewalls.delete\n",
                "\ngcloud projects add-iam-policy-binding my-project \
                 --member=serviceAccount:portcullis@my-project.iam.gserviceaccount.com --role=projects/my-project/roles/portcullis \
                 --condition=\"title=block-ip,expression=resource.name.startsWith('projects/my-project/global/firewalls/block-ip')\"\n",
                "gcloud iam roles update portcullis --project=my-project --add-permissions=compute.firewalls.update\n",
            ],
        );
        check(
            "compute.networks.updatePolicy",
            &[
                "(docs/guide/gcp-role-project.yaml)",
                "--role=projects/my-project/roles/portcullisProject --condition=None\n",
            ],
        );
        let nobody = Place {
            account: None,
            ..place("block-ip")
        };
        let mend = mend(&lacks("compute.firewalls.get"), &nobody).unwrap();
        assert!(mend.contains("--member=serviceAccount:SERVICE_ACCOUNT "), "{mend}");
    }

    #[test]
    fn what_permits_a_rule_of_the_test() {
        let scratch = place("portcullis-selftest-01234567");
        let mend = |permission: &str| mend_scratch(&lacks(permission), &scratch, "2026-11-23T11:00:00Z").unwrap();
        let text = mend("compute.firewalls.create");
        let part = "--role=projects/my-project/roles/portcullis --condition=\"title=portcullis-selftest-until,\
                    expression=resource.name.startsWith('projects/my-project/global/firewalls/portcullis-selftest-') \
                    && request.time < timestamp('2026-11-23T11:00:00Z')\"\n";
        assert!(text.contains(part), "{text}");
        // What is no matter of the name is granted as for any rule.
        assert!(mend("compute.networks.updatePolicy").contains("roles/portcullisProject --condition=None"));
        let off = Trouble::without_answer(Kind::ApiOff, "");
        assert!(
            mend_scratch(&off, &scratch, "")
                .unwrap()
                .starts_with("gcloud services enable")
        );
    }
}
